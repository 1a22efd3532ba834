using System.Net;
using System.Text;

namespace Hadal.Cli.Drawing;

/// <summary>A page that stands alone: no script, no font, no picture from elsewhere; light and dark, on a phone and on a desk.</summary>
sealed class HtmlPage(string title)
{
    readonly StringBuilder _body = new();

    /// <summary>Text with its special characters escaped.</summary>
    public static string Escape(string text) => WebUtility.HtmlEncode(text);

    /// <summary>A paragraph of plain text.</summary>
    public HtmlPage Paragraph(string text, string kind = "") => Raw($"<p{(kind.Length > 0 ? $" class=\"{kind}\"" : "")}>{Escape(text)}</p>");

    /// <summary>A heading inside the page.</summary>
    public HtmlPage Heading(string text) => Raw($"<h2>{Escape(text)}</h2>");

    /// <summary>A table; the first row is its head. Columns from <paramref name="firstNumber"/> on are numbers, on the right.</summary>
    public HtmlPage Table(IEnumerable<IReadOnlyList<string>> rows, int firstNumber)
    {
        _body.Append("<div class=\"scroll\"><table>\n");
        bool head = true;
        foreach (IReadOnlyList<string> row in rows)
        {
            _body.Append("<tr>");
            for (int c = 0; c < row.Count; c++)
                _body.Append(head ? "<th" : "<td").Append(c >= firstNumber ? " class=\"n\">" : ">").Append(Escape(row[c])).Append(head ? "</th>" : "</td>");
            _body.Append("</tr>\n");
            head = false;
        }

        _body.Append("</table></div>\n");
        return this;
    }

    /// <summary>A drawing, once for desks and once for phones.</summary>
    public HtmlPage Drawing(Func<double, string> svg)
    {
        _body.Append("<figure class=\"wide\">").Append(svg(1080)).Append("</figure><figure class=\"narrow\">").Append(svg(350)).Append("</figure>\n");
        return this;
    }

    /// <summary>HTML as it is.</summary>
    public HtmlPage Raw(string html)
    {
        _body.Append(html).Append('\n');
        return this;
    }

    /// <summary>The document.</summary>
    public override string ToString() => $$$"""
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="color-scheme" content="light dark">
        <title>{{{Escape(title)}}}</title>
        <style>
        :root{{{{ChartPalette.Light.Variables()}}}}
        @media (prefers-color-scheme:dark){:root{{{{ChartPalette.Dark.Variables()}}}}}
        *{box-sizing:border-box}
        body{margin:0 auto;max-width:1120px;padding:20px;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,"Segoe UI",Helvetica,Arial,sans-serif}
        h1{font-size:1.45rem;line-height:1.25;margin:.2em 0 .5em}
        h2{font-size:1.05rem;margin:1.8em 0 .5em}
        p{max-width:75ch}
        p.lead{font-size:1.05rem}
        p.note{color:var(--faint)}
        .scroll{overflow-x:auto}
        table{border-collapse:collapse;font-size:.87rem;width:100%}
        th,td{text-align:left;padding:4px 10px 4px 0;border-bottom:1px solid var(--rule);vertical-align:top}
        th{font-weight:600;color:var(--faint)}
        .n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
        figure{margin:0}
        svg{display:block;max-width:100%;height:auto}
        .narrow{display:none}
        @media (max-width:700px){body{padding:14px}.wide{display:none}.narrow{display:block}}
        @media print{body{max-width:none}}
        </style>
        </head>
        <body>
        <main>
        <h1>{{{Escape(title)}}}</h1>
        {{{_body}}}</main>
        </body>
        </html>

        """.ReplaceLineEndings("\n");
}
