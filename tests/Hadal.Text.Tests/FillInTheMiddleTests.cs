using System.Text;
using CsCheck;

namespace Hadal.Text.Tests;

public sealed class FillInTheMiddleTests
{
    static ulong Random(ulong index) => SplitMix.Mix(index * 0x9E3779B97F4A7C15 + 12345);

    static readonly Tokenizer s_tokenizer = Fixtures.Trained;

    static List<int> Encode(FillInTheMiddle stage, string text, ulong index, out bool rearranged)
    {
        var ids = new List<int>();
        rearranged = stage.Encode(Encoding.UTF8.GetBytes(text), index, ids);
        return ids;
    }

    [Fact]
    [Implements("V3 §4.1", "Fill-in-the-middle as prefix, suffix, middle, applied to a tenth of the documents before packing")]
    public void A_rearranged_document_is_prefix_suffix_middle()
    {
        // Draws: 0 (rearrange), then half, then a quarter of the 8+1 positions: cuts at 4 and 2.
        ulong[] draws = [0, 1ul << 63, 1ul << 62];
        var stage = new FillInTheMiddle(s_tokenizer, 0.1, index => draws[index - 21]);
        List<int> ids = Encode(stage, "abcdefgh", 7, out bool rearranged);
        Assert.True(rearranged);
        Assert.Equal(
            $"{SpecialTokens.BeginOfSentence}{SpecialTokens.FimBegin}ab{SpecialTokens.FimHole}efgh{SpecialTokens.FimEnd}cd{SpecialTokens.EndOfSentence}", s_tokenizer.Decode([.. ids]));
        Assert.Equal(5, ids.Count(id => s_tokenizer.AddedTokens.Any(token => token.Id == id)));
    }

    [Fact]
    public void Nothing_of_a_document_is_lost_and_no_character_is_cut() => Gen.Select(Generators.Text, Gen.ULong[0, 1_000_000]).Sample((text, index) =>
    {
        List<int> ids = Encode(new FillInTheMiddle(s_tokenizer, 1, Random), text, index, out bool rearranged);
        Assert.Equal(text.Length > 0, rearranged);
        int Mark(string name) => ids.IndexOf(s_tokenizer.RequireId(name));
        string Part(int from, int to) => s_tokenizer.Decode([.. ids.Skip(from).Take(to - from)]);
        Assert.Equal(0, Mark(SpecialTokens.BeginOfSentence));
        Assert.Equal(ids.Count - 1, Mark(SpecialTokens.EndOfSentence));
        if (!rearranged) return;
        int hole = Mark(SpecialTokens.FimHole);
        int end = Mark(SpecialTokens.FimEnd);
        Assert.Equal(1, Mark(SpecialTokens.FimBegin));
        Assert.Equal(text, Part(2, hole) + Part(end + 1, ids.Count - 1) + Part(hole + 1, end));
    }, iter: 1000);

    [Fact]
    [Implements("V3 §4.1", "Fill-in-the-middle as prefix, suffix, middle, applied to a tenth of the documents before packing")]
    public void The_rate_is_kept_and_a_document_decides_for_itself()
    {
        var stage = new FillInTheMiddle(s_tokenizer, 0.1, Random);
        int rearranged = 0;
        for (ulong i = 0; i < 20_000; i++)
        {
            List<int> ids = Encode(stage, "some text", i, out bool moved);
            if (moved) rearranged++;
            if (i % 1000 == 0) Assert.Equal(ids, Encode(stage, "some text", i, out _));
        }
        Assert.InRange(rearranged, 1830, 2170); // 2000 ± 4 standard deviations
    }

    [Fact]
    public void Cuts_are_uniform_over_all_positions()
    {
        int[] prefixes = new int[4];
        var stage = new FillInTheMiddle(s_tokenizer, 1, Random);
        for (ulong i = 0; i < 16_000; i++)
        {
            List<int> ids = Encode(stage, "é😀x", i, out _);
            prefixes[s_tokenizer.Decode([.. ids.Skip(2).TakeWhile(id => id != s_tokenizer.RequireId(SpecialTokens.FimHole))]).EnumerateRunes().Count()]++;
        }
        // The smaller of two uniform cuts over 0..3: 7, 5, 3, 1 of 16.
        for (int i = 0; i < 4; i++) Assert.InRange(prefixes[i], 1000 * (7 - 2 * i) - 250, 1000 * (7 - 2 * i) + 250);
    }

    [Fact]
    public void A_rate_of_zero_needs_no_marks_and_wrong_rates_are_refused()
    {
        var stage = new FillInTheMiddle(s_tokenizer, 0, _ => throw new InvalidOperationException("unused"));
        Assert.Throws<InvalidOperationException>(() => Encode(stage, "x", 0, out _)); // the decision is drawn even at rate 0
        Assert.Throws<ArgumentOutOfRangeException>(() => new FillInTheMiddle(s_tokenizer, 1.5, Random));
        Assert.Throws<ArgumentOutOfRangeException>(() => new FillInTheMiddle(s_tokenizer, double.NaN, Random));
        Assert.Throws<InvalidOperationException>(() => new FillInTheMiddle(Tokenizer.Parse(Fixtures.Minimal()), 0.1, Random));
    }

    [Fact]
    [Implements("V3 §4.1", "Some tokens that join punctuation and line ends are split at random in training")]
    public void Joined_punctuation_and_line_ends_are_taken_apart_at_the_rate()
    {
        Tokenizer tokenizer = TokenizerTrainer.Train([string.Join("x", Enumerable.Repeat("a.\n\n b);\n c!!\r\n d\n ", 50))], new() { VocabularySize = 320 });
        string text = string.Concat(Enumerable.Repeat("a.\n\n b);\n c!!\r\n d\n ", 500));
        int[] ids = tokenizer.Encode(text);
        Assert.Equal(ids, Apply(0));
        Assert.True(new PunctuationSplitter(tokenizer, 0, Random).JoinedTokens >= 3);
        int[] all = Apply(1);
        Assert.Equal(text, tokenizer.Decode(all));
        Assert.DoesNotContain(all, id => Encoding.UTF8.GetString(tokenizer.TokenBytes(id)) is ['.' or ';' or '!' or ')', .., '\n']);
        int[] some = Apply(0.3);
        Assert.Equal(text, tokenizer.Decode(some));
        Assert.InRange((some.Length - ids.Length) / (double)(all.Length - ids.Length), 0.25, 0.35);

        int[] Apply(double rate)
        {
            var output = new List<int>();
            new PunctuationSplitter(tokenizer, rate, Random).Apply(ids, 10, output);
            return [.. output];
        }
    }
}
