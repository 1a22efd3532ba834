using Hadal.Parallel.Drawing;
#if PLOTS
using SkiaSharp;
#endif

namespace Hadal.Cli.Drawing;

/// <summary>A drawing as a PNG, two pixels a point.</summary>
static class Picture
{
#if PLOTS
    const float PixelsPerPoint = 2;

    // A picture wider than this is beyond what viewers open.
    const double MostPixels = 30_000;
#endif

    /// <summary>Draws it.</summary>
    /// <returns>The bytes of the file; null in builds without a drawing library (native ahead-of-time).</returns>
    public static byte[]? TryDraw(ScheduleDrawing drawing) => TryDraw(drawing.Width, drawing.Height, drawing.Draw);

    /// <summary>Draws anything.</summary>
    /// <inheritdoc cref="TryDraw(ScheduleDrawing)"/>
    public static byte[]? TryDraw(double width, double height, Action<IDrawingSurface> draw)
    {
#if PLOTS
        float scale = (float)Math.Min(PixelsPerPoint, MostPixels / Math.Max(width, height));
        using var bitmap = new SKBitmap((int)Math.Ceiling(width * scale), (int)Math.Ceiling(height * scale));
        using var canvas = new SKCanvas(bitmap);
        canvas.Scale(scale);
        using (var surface = new Surface(canvas)) draw(surface);
        canvas.Flush();
        using SKData data = bitmap.Encode(SKEncodedImageFormat.Png, 100);
        return data.ToArray();
#else
        _ = (width, height, draw);
        return null;
#endif
    }

#if PLOTS
    sealed class Surface(SKCanvas canvas) : IDrawingSurface, IDisposable
    {
        readonly SKTypeface _plain = SKTypeface.FromFamilyName("DejaVu Sans"), _bold = SKTypeface.FromFamilyName("DejaVu Sans", SKFontStyle.Bold);
        readonly SKPaint _paint = new() { IsAntialias = true };

        public void Box(double x, double y, double width, double height, string fill, double radius = 0, string? note = null)
        {
            _paint.Style = SKPaintStyle.Fill;
            _paint.Color = SKColor.Parse(fill);
            canvas.DrawRoundRect((float)x, (float)y, (float)width, (float)height, (float)radius, (float)radius, _paint);
        }

        public void Line(double x1, double y1, double x2, double y2, string color, double width)
        {
            _paint.Style = SKPaintStyle.Stroke;
            _paint.StrokeWidth = (float)width;
            _paint.Color = SKColor.Parse(color);
            canvas.DrawLine((float)x1, (float)y1, (float)x2, (float)y2, _paint);
        }

        public void Text(double x, double y, string text, double size, string color, TextAnchor anchor = TextAnchor.Start, bool bold = false)
        {
            using var font = new SKFont(bold ? _bold : _plain, (float)size) { Subpixel = true };
            _paint.Style = SKPaintStyle.Fill;
            _paint.Color = SKColor.Parse(color);
            canvas.DrawText(text, (float)x, (float)y, anchor switch { TextAnchor.Middle => SKTextAlign.Center, TextAnchor.End => SKTextAlign.Right, _ => SKTextAlign.Left }, font, _paint);
        }

        public void Dispose()
        {
            _plain.Dispose();
            _bold.Dispose();
            _paint.Dispose();
        }
    }
#endif
}
