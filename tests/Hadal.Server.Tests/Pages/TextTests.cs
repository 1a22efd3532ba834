using System.Diagnostics;
using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;
using CsCheck;
using Hadal.Server.Tests.Chat;
using Hadal.Server.Web.Text;

namespace Hadal.Server.Tests.Pages;

/// <summary>Texts as trees of elements: Markdown, and formulas as MathML.</summary>
public sealed class TextTests
{
    static readonly HashSet<string> Names = new("p h strong em del code pre a br hr blockquote ul ol li table tr th td formula span math mrow mi mn mo mtext mspace msup msub msubsup munder mover munderover mfrac msqrt mroot mtable mtr mtd mstyle".Split(' '), StringComparer.Ordinal);

    [Theory]
    [InlineData("Hello **bold** *it* ~~gone~~ `a<b`", """["p","Hello ",["strong","bold"]," ",["em","it"]," ",["del","gone"]," ",["code","a\u003Cb"]]""")]
    [InlineData("## Title", """["h",{"depth":2},"Title"]""")]
    [InlineData("one\ntwo", """["p","one",["br"],"two"]""")]
    [InlineData("- a\n- b", """["ul",["li","a"],["li","b"]]""")]
    [InlineData("3. a\n4. b", """["ol",{"start":3},["li","a"],["li","b"]]""")]
    [InlineData("- a\n\n- b", """["ul",["li",["p","a"]],["li",["p","b"]]]""")]
    [InlineData("- [x] a\n- [ ] b", """["ul",["li",{"task":"done"}," a"],["li",{"task":"open"}," b"]]""")]
    [InlineData("```csharp\nint i;\n```", """["pre",{"language":"csharp"},"int i;"]""")]
    [InlineData("```c++\nint i;", """["pre",{"language":"c\u002B\u002B"},"int i;"]""")]
    [InlineData("> said", """["blockquote",["p","said"]]""")]
    [InlineData("| a | b |\n|---|--:|\n| 1 | 2 |", """["table",["tr",["th","a"],["th",{"align":"right"},"b"]],["tr",["td","1"],["td",{"align":"right"},"2"]]]""")]
    [InlineData("[x](https://e.org/a?b=1)", """["p",["a",{"href":"https://e.org/a?b=1"},"x"]]""")]
    [InlineData("see https://e.org/a now", """["p","see ",["a",{"href":"https://e.org/a"},"https://e.org/a"]," now"]""")]
    [InlineData("![p](https://e.org/x.png)", """["p",["a",{"href":"https://e.org/x.png"},"Picture: ","p"]]""")]
    [InlineData("<script>x()</script>", """["p","\u003Cscript\u003Ex()\u003C/script\u003E"]""")]
    [InlineData("a &amp; b &lt;i&gt;", """["p","a \u0026 b \u003Ci\u003E"]""")]
    [InlineData("costs $5 and $10", """["p","costs $5 and $10"]""")]
    [InlineData(@"so \(x\) is", """["p","so ",["formula",{"source":"x"},["math",["mi","x"]]]," is"]""")]
    [InlineData("$$\nx\n$$", """["formula",{"source":"x","display":true},["math",{"display":"block"},["mi","x"]]]""")]
    [InlineData("\\[\nx\n\\]", """["p",["formula",{"source":"x","display":true},["math",{"display":"block"},["mi","x"]]]]""")]
    public void Markdown_becomes_elements(string text, string expected) => Assert.Equal(expected, Assert.Single(MarkdownTree.Read(text)).Node.ToJsonString());

    [Theory]
    [InlineData("x^2", """["msup",["mi","x"],["mn","2"]]""")]
    [InlineData("x_i^2", """["msubsup",["mi","x"],["mi","i"],["mn","2"]]""")]
    [InlineData("x^{10}-3.5", """["mrow",["msup",["mi","x"],["mn","10"]],["mo","\u2212"],["mn","3.5"]]""")]
    [InlineData(@"\frac12", """["mfrac",["mn","1"],["mn","2"]]""")]
    [InlineData(@"\frac{a}{b+c}", """["mfrac",["mi","a"],["mrow",["mi","b"],["mo","\u002B"],["mi","c"]]]""")]
    [InlineData(@"\sqrt[3]{x}", """["mroot",["mi","x"],["mn","3"]]""")]
    [InlineData(@"\alpha\le\Omega", """["mrow",["mi","\u03B1"],["mo","\u2264"],["mi",{"mathvariant":"normal"},"\u03A9"]]""")]
    [InlineData(@"\sum_{i=1}^n i", """["mrow",["munderover",["mo","\u2211"],["mrow",["mi","i"],["mo","="],["mn","1"]],["mi","n"]],["mi","i"]]""")]
    [InlineData(@"\sin x", """["mrow",["mi","sin"],["mi","x"]]""")]
    [InlineData(@"\left(\frac ab\right]", """["mrow",["mo",{"stretchy":"true"},"("],["mfrac",["mi","a"],["mi","b"]],["mo",{"stretchy":"true"},"]"]]""")]
    [InlineData(@"\mathbb{R}^n", """["msup",["mi","\u211D"],["mi","n"]]""")]
    [InlineData(@"\hat y", """["mover",{"accent":"true"},["mi","y"],["mo",{"stretchy":"false"},"^"]]""")]
    [InlineData(@"\text{if } x", """["mrow",["mtext","if\u00A0"],["mi","x"]]""")]
    [InlineData(@"f'(x)", """["mrow",["msup",["mi","f"],["mo","\u2032"]],["mo",{"stretchy":"false"},"("],["mi","x"],["mo",{"stretchy":"false"},")"]]""")]
    [InlineData(@"\begin{pmatrix}a&b\\c&d\end{pmatrix}", """["mrow",["mo",{"stretchy":"true"},"("],["mtable",{"kind":"matrix"},["mtr",["mtd",["mi","a"]],["mtd",["mi","b"]]],["mtr",["mtd",["mi","c"]],["mtd",["mi","d"]]]],["mo",{"stretchy":"true"},")"]]""")]
    [InlineData(@"\begin{cases}1\\2\end{cases}", """["mrow",["mo",{"stretchy":"true"},"{"],["mtable",{"kind":"cases"},["mtr",["mtd",["mn","1"]]],["mtr",["mtd",["mn","2"]]]]]""")]
    [InlineData(@"a \not= b", """["mrow",["mi","a"],["mo","\u2260"],["mi","b"]]""")]
    [InlineData(@"\unheardof{x}", """["mrow",["mtext","\\unheardof"],["mi","x"]]""")]
    public void Formulas_become_MathML(string source, string expected) =>
        Assert.True(JsonNode.DeepEquals(JsonNode.Parse(expected), FormulaReader.Read(source, display: false)?[1]), $"{source}: {FormulaReader.Read(source, display: false)?[1]?.ToJsonString()}");

    [Theory]
    [InlineData(@"\frac{a}")]
    [InlineData("{x")]
    [InlineData("x}")]
    [InlineData("a & b")]
    [InlineData(@"\left( x")]
    [InlineData(@"\begin{matrix} a")]
    [InlineData(@"\begin{nothing}a\end{nothing}")]
    [InlineData(@"x^")]
    public void A_formula_that_cannot_be_read_stays_as_it_was_written(string source)
    {
        Assert.Null(FormulaReader.Read(source, display: true));
        JsonNode node = MarkdownTree.Read($"$${source}$$")[0].Node;
        Assert.Contains(JsonEncodedText.Encode(source).ToString(), node.ToJsonString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Blocks_say_where_they_begin()
    {
        const string text = "# One\n\nTwo 😀\nstill two\n\n- three\n\n$$x$$\n";
        Assert.Equal([0, 7, text.IndexOf("- three", StringComparison.Ordinal), text.IndexOf("$$x", StringComparison.Ordinal)], MarkdownTree.Read(text).Select(block => block.Start));
    }

    // Whatever is written: names of the list only, every character inside its text, in time.
    [Fact]
    public void Any_text_gives_a_tree_of_known_names()
    {
        string[] pieces = ["*", "**", "_", "`", "```", "\n", "\n\n", "# ", "> ", "- ", "1. ", "|", "|---|", "$", "$$", "\\(", "\\)", "\\[", "\\]", "\\frac", "\\left(", "\\right)", "\\begin{cases}", "\\end{cases}", "{", "}", "^", "_", "&", "\\\\", "[a](", ")",
            "![", "]", "<b>", "</b>", "<!--", "javascript:x", "https://e.org", "a", "b c", "12", "😀", "\ud83d", "\0", "\t", "    ", "~~", "[ ]", "[x]", "&lt;", "\\", "\\unknown", "\\sqrt[", "\\not", "\\text{"];
        Gen.Int[0, pieces.Length - 1].Array[0, 60].Sample(words =>
        {
            foreach (TextBlock block in MarkdownTree.Read(string.Concat(words.Select(word => pieces[word])))) Check(block.Node);
        }, iter: 4000);
    }

    [Theory]
    [InlineData("> ", 4000)]
    [InlineData("- ", 4000)]
    [InlineData("[", 20_000)]
    [InlineData("*a **b ", 20_000)]
    [InlineData("`", 20_000)]
    [InlineData("$", 20_000)]
    [InlineData("\\(", 20_000)]
    [InlineData("{", 7000)]
    [InlineData("|", 20_000)]
    [InlineData("<", 20_000)]
    [InlineData("![](", 8000)]
    public void Deep_and_repetitive_texts_end(string piece, int times)
    {
        string text = string.Concat(Enumerable.Repeat(piece, times));
        long began = Stopwatch.GetTimestamp();
        foreach (TextBlock block in MarkdownTree.Read(text)) Check(block.Node);
        foreach (TextBlock block in MarkdownTree.Read("$$" + text + "$$")) Check(block.Node);
        Assert.True(Stopwatch.GetElapsedTime(began) < TimeSpan.FromMinutes(4), "This takes much longer than its length says.");
    }

    [Fact]
    public async Task Only_who_is_signed_in_has_texts_read_and_only_so_many()
    {
        await using ChatHost host = await ChatHost.StartAsync(new ScriptedEngine());
        using ChatBrowser stranger = host.Browse(), me = await host.SignUpAsync("text@example.org");
        Assert.Equal(HttpStatusCode.Unauthorized, (await stranger.RefusedAsync(HttpMethod.Post, "/app/render", new { texts = new[] { "a" } })).Status);
        string deep = string.Concat(Enumerable.Repeat("> ", 120)) + "deep";
        using HttpResponseMessage answer = await me.TryAsync(HttpMethod.Post, "/app/render", new { texts = new[] { "a\n\nb", "", deep, null } });
        JsonElement documents = JsonDocument.Parse(await answer.Content.ReadAsStringAsync(TestContext.Current.CancellationToken), new JsonDocumentOptions { MaxDepth = 1000 }).RootElement.GetProperty("documents");
        Assert.Equal([2, 0, 1, 0], documents.EnumerateArray().Select(document => document.GetArrayLength()));
        Assert.Equal(3, documents[0][1].GetProperty("start").GetInt32());
        Assert.Equal("texts", (await me.RefusedAsync(HttpMethod.Post, "/app/render", new { texts = Enumerable.Repeat("a", 65) })).Field);
        Assert.Equal("texts", (await me.RefusedAsync(HttpMethod.Post, "/app/render", new { texts = new[] { new string('a', 1_000_001) } })).Field);
    }

    static void Check(JsonNode? node)
    {
        if (node is JsonArray element)
        {
            Assert.Contains(element[0]!.GetValue<string>(), Names);
            foreach (JsonNode? child in element.Skip(1)) Check(child);
        }
        else if (node is JsonObject attributes)
        {
            foreach ((string key, JsonNode? value) in attributes) Assert.True(value is JsonValue, key);
        }
        else
        {
            Assert.IsAssignableFrom<JsonValue>(node);
        }
    }
}
