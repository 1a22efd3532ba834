using System.Text.Json.Nodes;
using Markdig;
using Markdig.Extensions.EmphasisExtras;
using Markdig.Extensions.Mathematics;
using Markdig.Extensions.Tables;
using Markdig.Extensions.TaskLists;
using Markdig.Helpers;
using Markdig.Parsers;
using Markdig.Parsers.Inlines;
using Markdig.Syntax;
using Markdig.Syntax.Inlines;

namespace Hadal.Server.Web.Text;

/// <summary>A block of a text: where it begins in it, and its element.</summary>
/// <param name="Start">Offset in UTF-16 units.</param>
/// <param name="Node">A text, or an array of a name, attributes or none, and children.</param>
sealed record TextBlock(int Start, JsonNode Node);

/// <summary>
/// A model's Markdown as a tree of elements that the page builds one by one: there is no markup on the way, neither the model's (it stays text) nor ours. The names are few: p, h, strong,
/// em, del, code, pre, a, br, hr, blockquote, ul, ol, li, table and its parts, formula and those of MathML.
/// </summary>
static class MarkdownTree
{
    static readonly MarkdownPipeline Pipeline = Build();

    /// <summary>Reads a text. One that the parser refuses, for it is nested too deeply, is a single paragraph.</summary>
    public static IReadOnlyList<TextBlock> Read(string text)
    {
        MarkdownDocument document;
        try
        {
            document = Markdown.Parse(text, Pipeline);
        }
        catch (ArgumentException)
        {
            return [new TextBlock(0, Element("p", [text]))];
        }

        var blocks = new List<TextBlock>();
        foreach (Block block in document)
        {
            if (Of(block) is { } node) blocks.Add(new TextBlock(Math.Clamp(block.Span.Start, 0, text.Length), node));
        }

        return blocks;
    }

    static MarkdownPipeline Build()
    {
        MarkdownPipelineBuilder builder = new MarkdownPipelineBuilder().DisableHtml().UsePipeTables().UseTaskLists().UseAutoLinks().UseMathematics().UsePreciseSourceLocation()
            .UseSoftlineBreakAsHardlineBreak().UseEmphasisExtras(EmphasisExtraOptions.Strikethrough);
        builder.InlineParsers.InsertBefore<EscapeInlineParser>(new BracketFormulaParser());
        return builder.Build();
    }

    internal static JsonArray Element(string name, IEnumerable<JsonNode?> children, JsonObject? attributes = null)
    {
        var element = new JsonArray(name);
        if (attributes is not null) element.Add(attributes);
        foreach (JsonNode? child in children)
        {
            if (child is not null) element.Add(child);
        }

        return element;
    }

    static JsonNode? Of(Block block) => block switch
    {
        HeadingBlock heading => Element("h", Inlines(heading.Inline), new JsonObject { ["depth"] = heading.Level }),
        ParagraphBlock paragraph => Element("p", Inlines(paragraph.Inline)),
        ThematicBreakBlock => Element("hr", []),
        MathBlock math => Formula(math.Lines.ToString(), display: true),
        FencedCodeBlock code => Element("pre", [code.Lines.ToString()], new JsonObject { ["language"] = Language(code) }),
        CodeBlock code => Element("pre", [code.Lines.ToString()], new JsonObject { ["language"] = "" }),
        QuoteBlock quote => Element("blockquote", quote.Select(Of)),
        ListBlock list => Element(list.IsOrdered ? "ol" : "ul", list.OfType<ListItemBlock>().Select(item => Item(item, list.IsLoose)), Start(list)),
        Table table => Element("table", table.OfType<TableRow>().Select(row => Row(row, table))),
        LinkReferenceDefinitionGroup => null,
        LeafBlock { Inline: { } inline } => Element("p", Inlines(inline)),
        LeafBlock leaf => Element("p", [leaf.Lines.ToString()]),
        ContainerBlock container => Element("blockquote", container.Select(Of)),
        _ => null,
    };

    static JsonObject? Start(ListBlock list) =>
        list.IsOrdered && int.TryParse(list.OrderedStart, out int start) && start != 1 ? new JsonObject { ["start"] = start } : null;

    // What stands behind ``` up to the first space: csharp, C#, c++.
    static string Language(FencedCodeBlock code) => code.Info is { Length: > 0 and <= 40 } info ? info : "";

    static JsonArray Item(ListItemBlock item, bool loose)
    {
        JsonObject? attributes = item.Descendants<TaskList>().FirstOrDefault(task => task.Parent?.ParentBlock?.Parent == item) is { } found ? new JsonObject { ["task"] = found.Checked ? "done" : "open" } : null;

        // A tight item holds its text without a paragraph around it.
        IEnumerable<JsonNode?> children = item.SelectMany(block => !loose && block is ParagraphBlock paragraph ? Inlines(paragraph.Inline) : [Of(block)]);
        return Element("li", children, attributes);
    }

    static JsonArray Row(TableRow row, Table table)
    {
        var cells = row.OfType<TableCell>().Select((cell, column) =>
        {
            TableColumnAlign? align = column < table.ColumnDefinitions.Count ? table.ColumnDefinitions[column].Alignment : null;
            JsonObject? attributes = align is TableColumnAlign.Right or TableColumnAlign.Center ? new JsonObject { ["align"] = align is TableColumnAlign.Right ? "right" : "center" } : null;
            return Element(row.IsHeader ? "th" : "td", cell.SelectMany(block => block is ParagraphBlock paragraph ? Inlines(paragraph.Inline) : [Of(block)]), attributes);
        });
        return Element("tr", cells);
    }

    static IEnumerable<JsonNode?> Inlines(ContainerInline? container)
    {
        if (container is null) return [];
        var nodes = new List<JsonNode?>();
        foreach (Inline inline in container)
        {
            JsonNode? node = Of(inline);
            if (node is JsonValue value && nodes.LastOrDefault() is JsonValue before) nodes[^1] = JsonValue.Create(before.GetValue<string>() + value.GetValue<string>());
            else nodes.Add(node);
        }

        return nodes;
    }

    static JsonNode? Of(Inline inline) => inline switch
    {
        LiteralInline literal => JsonValue.Create(literal.Content.ToString()),
        CodeInline code => Element("code", [code.Content]),
        LineBreakInline => Element("br", []),
        MathInline math => Formula(math.Content.ToString(), math.DelimiterCount > 1),
        TaskList => null,
        AutolinkInline auto => Element("a", [auto.Url], new JsonObject { ["href"] = auto.IsEmail ? "mailto:" + auto.Url : auto.Url }),
        LinkInline { IsImage: true } picture => Element("a", ["Picture: ", .. Described(picture)], new JsonObject { ["href"] = picture.Url ?? "" }),
        LinkInline link => Element("a", Inlines(link), new JsonObject { ["href"] = link.Url ?? "" }),
        EmphasisInline emphasis => Element(emphasis.DelimiterChar is '~' ? "del" : emphasis.DelimiterCount > 1 ? "strong" : "em", Inlines(emphasis)),
        HtmlEntityInline entity => JsonValue.Create(entity.Transcoded.ToString()),
        HtmlInline html => JsonValue.Create(html.Tag),
        DelimiterInline delimiter => Element("span", [delimiter.ToLiteral(), .. Inlines(delimiter)]),
        ContainerInline container => Element("span", Inlines(container)),
        _ => null,
    };

    static IEnumerable<JsonNode?> Described(LinkInline picture) => picture.FirstChild is null ? [picture.Url ?? ""] : Inlines(picture);

    static JsonArray Formula(string source, bool display)
    {
        source = source.Trim();
        var attributes = new JsonObject { ["source"] = source };
        if (display) attributes["display"] = true;
        return Element("formula", [FormulaReader.Read(source, display)], attributes);
    }

    /// <summary><c>\(…\)</c> within a line and <c>\[…\]</c> on lines of its own, as models like to write them.</summary>
    sealed class BracketFormulaParser : InlineParser
    {
        public BracketFormulaParser() => OpeningCharacters = ['\\'];

        public override bool Match(InlineProcessor processor, ref StringSlice slice)
        {
            char open = slice.PeekChar();
            if (open is not ('(' or '[')) return false;
            string text = slice.Text;
            int start = slice.Start + 2, end = start > slice.End ? -1 : text.IndexOf(open is '(' ? "\\)" : "\\]", start, slice.End - start + 1, StringComparison.Ordinal);
            if (end < 0) return false;
            processor.Inline = new MathInline
            {
                Delimiter = '$',
                DelimiterCount = open is '(' ? 1 : 2,
                Content = new StringSlice(text, start, end - 1),
                Span = new SourceSpan(processor.GetSourcePosition(slice.Start, out int line, out int column), processor.GetSourcePosition(end + 1)),
                Line = line,
                Column = column,
            };
            slice.Start = end + 2;
            return true;
        }
    }
}
