namespace Hadal.Parallel.Drawing;

/// <summary>Where a text stands relative to its point.</summary>
public enum TextAnchor
{
    /// <summary>It begins there.</summary>
    Start,

    /// <summary>Its middle is there.</summary>
    Middle,

    /// <summary>It ends there.</summary>
    End,
}

/// <summary>What a drawing needs of a picture format: boxes, lines and texts, in points from the upper left corner, colours as #rrggbb.</summary>
public interface IDrawingSurface
{
    /// <summary>A filled box.</summary>
    /// <param name="x">Left.</param>
    /// <param name="y">Top.</param>
    /// <param name="width">Width.</param>
    /// <param name="height">Height.</param>
    /// <param name="fill">Colour.</param>
    /// <param name="radius">Of the corners.</param>
    /// <param name="note">What a format that can shows when one points at the box.</param>
    void Box(double x, double y, double width, double height, string fill, double radius = 0, string? note = null);

    /// <summary>A line.</summary>
    void Line(double x1, double y1, double x2, double y2, string color, double width);

    /// <summary>A line of text on its base line.</summary>
    void Text(double x, double y, string text, double size, string color, TextAnchor anchor = TextAnchor.Start, bool bold = false);
}
