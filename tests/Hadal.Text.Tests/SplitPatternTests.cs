using System.Text;
using System.Text.RegularExpressions;
using CsCheck;

namespace Hadal.Text.Tests;

public sealed class SplitPatternTests
{
    readonly struct Collector(List<string> pieces) : IPieceSink
    {
        public void Piece(ReadOnlySpan<byte> piece) => pieces.Add(Encoding.UTF8.GetString(piece));
    }

    static List<string> Split(PreTokenizer preTokenizer, string text)
    {
        var pieces = new List<string>();
        var sink = new Collector(pieces);
        preTokenizer.Split(Encoding.UTF8.GetBytes(text), ref sink);
        return pieces;
    }

    [Theory]
    [InlineData("12345", "123|45")]
    [InlineData("Hello, world!\n\nYes", "Hello|,| world|!\n\n|Yes")]
    [InlineData("it's  two   spaces ", "it|'s| | two|  | spaces| ")]
    [InlineData("a😀b", "a|😀|b")]
    [InlineData("𝐱𝟏𝟐𝟑𝟒", "𝐱|𝟏𝟐𝟑|𝟒")]
    [InlineData("日本語とEnglish", "日本語と|English")]
    [InlineData("x  12", "x|  |12")]
    [InlineData("e\u0301a \u0301", "e\u0301a| \u0301")]
    [InlineData("\0\u0001abc", "\0|\u0001abc")]
    [InlineData(" \n \t\r\n x", " \n \t\r\n| x")]
    [InlineData("(foo)+==\r\n1", "(foo|)+==\r\n|1")]
    [InlineData("", "")]
    [Implements("V3 §4.1", "A byte-level BPE whose splits are those of the published tokenizer")]
    public void DeepSeeks_splits(string text, string pieces) => Assert.Equal(pieces, string.Join('|', Split(PreTokenizer.DeepSeek, text)));

    [Fact]
    public void Splits_equal_regular_expressions_where_those_are_right()
    {
        string[][] pipelines = [[PreTokenizer.DigitPattern, PreTokenizer.IdeographPattern, PreTokenizer.WordPattern], [PreTokenizer.Gpt2Pattern], [@"\s*a{2,3}[\-x\]]?|\P{L}{2}"]];
        foreach (string[] patterns in pipelines)
        {
            var ours = new PreTokenizer(patterns.Select(pattern => SplitPattern.Parse(pattern, "test")));
            Regex[] expressions = [.. patterns.Select(pattern => new Regex(pattern, RegexOptions.CultureInvariant, TimeSpan.FromSeconds(10)))];
            Generators.BasicText.Sample(text =>
            {
                IEnumerable<string> expected = [text];
                foreach (Regex expression in expressions) expected = [.. expected.SelectMany(piece => Isolate(expression, piece))];
                Assert.Equal(expected.Where(piece => piece.Length > 0), Split(ours, text), StringComparer.Ordinal);
            }, iter: 1500);
        }
    }

    static IEnumerable<string> Isolate(Regex expression, string text)
    {
        int position = 0;
        foreach (Match match in expression.Matches(text))
        {
            if (match.Index > position) yield return text[position..match.Index];
            yield return match.Value;
            position = match.Index + match.Length;
        }
        if (position < text.Length) yield return text[position..];
    }

    [Theory]
    [InlineData("(?i:'s)", "a group")]
    [InlineData("(?=x)a", "a group")]
    [InlineData("a*", "can match nothing")]
    [InlineData("a+?", "lazy")]
    [InlineData("^a", "unescaped '^'")]
    [InlineData("a.b", "unescaped '.'")]
    [InlineData("[a", "without its end")]
    [InlineData("[[:alpha:]]", "nested")]
    [InlineData("[a&&b]", "intersection")]
    [InlineData("\\p{Han}", "\\p{Han}")]
    [InlineData("\\w+", "\\w")]
    [InlineData("a{3,1}", "count")]
    [InlineData("a{99999}", "9999")]
    [InlineData("[z-a]", "range")]
    [InlineData("a|", "can match nothing")]
    [InlineData("a+a+a+a+b", "open counts")]
    [InlineData("\\", "backslash at the end")]
    [InlineData("", "0 characters")]
    public void What_is_not_supported_is_refused_by_name(string pattern, string reason)
    {
        var e = Assert.Throws<TokenizerFormatException>(() => SplitPattern.Parse(pattern, "pre_tokenizer.pattern"));
        Assert.Contains(reason, e.Message, StringComparison.Ordinal);
        Assert.Contains("pre_tokenizer.pattern", e.Message, StringComparison.Ordinal);
        Assert.Contains("Supported", e.Message, StringComparison.Ordinal);
    }
}
