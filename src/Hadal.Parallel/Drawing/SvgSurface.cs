using System.Globalization;
using System.Security;
using System.Text;

namespace Hadal.Parallel.Drawing;

/// <summary>A drawing as an SVG document that stands alone.</summary>
/// <param name="width">Points.</param>
/// <param name="height">Points.</param>
/// <param name="title">For screen readers and window titles.</param>
public sealed class SvgSurface(double width, double height, string title) : IDrawingSurface
{
    readonly StringBuilder _body = new();

    /// <inheritdoc/>
    public void Box(double x, double y, double width, double height, string fill, double radius = 0, string? note = null)
    {
        Append($"<rect x=\"{x:0.##}\" y=\"{y:0.##}\" width=\"{width:0.##}\" height=\"{height:0.##}\" fill=\"{fill}\"");
        if (radius > 0) Append($" rx=\"{radius:0.##}\"");
        _body.Append(note is null ? "/>\n" : $"><title>{SecurityElement.Escape(note)}</title></rect>\n");
    }

    /// <inheritdoc/>
    public void Line(double x1, double y1, double x2, double y2, string color, double width) =>
        Append($"<line x1=\"{x1:0.##}\" y1=\"{y1:0.##}\" x2=\"{x2:0.##}\" y2=\"{y2:0.##}\" stroke=\"{color}\" stroke-width=\"{width:0.##}\"/>\n");

    /// <inheritdoc/>
    public void Text(double x, double y, string text, double size, string color, TextAnchor anchor = TextAnchor.Start, bool bold = false)
    {
        Append($"<text x=\"{x:0.##}\" y=\"{y:0.##}\" font-size=\"{size:0.##}\" fill=\"{color}\"");
        if (anchor != TextAnchor.Start) _body.Append(anchor == TextAnchor.Middle ? " text-anchor=\"middle\"" : " text-anchor=\"end\"");
        if (bold) _body.Append(" font-weight=\"600\"");

        // Boxes keep their notes: a text lets the pointer through.
        _body.Append(" pointer-events=\"none\">").Append(SecurityElement.Escape(text)).Append("</text>\n");
    }

    /// <summary>The document.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:0.##} {height:0.##}\" width=\"{width:0.##}\" height=\"{height:0.##}\" role=\"img\" font-family=\"'DejaVu Sans', 'Segoe UI', Helvetica, Arial, sans-serif\">\n<title>{SecurityElement.Escape(title)}</title>\n{_body}</svg>\n");

    void Append(FormattableString text) => _body.Append(text.ToString(CultureInfo.InvariantCulture));
}
