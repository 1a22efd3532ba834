namespace Hadal.Numerics;

public static partial class TileQuantizer
{
    /// <summary>
    /// 128×1 tiles: each tile is 128 consecutive rows of one column. The result is stored transposed, [columns, rows], so that a tile is contiguous and lies along the
    /// contraction of the weight gradient (training: K = tokens). Equal to transposing and calling <see cref="QuantizeRows"/>.
    /// </summary>
    /// <param name="x">[rows, columns], rows <paramref name="rowStride"/> apart.</param>
    /// <param name="rows">Number of rows (tokens).</param>
    /// <param name="columns">Number of columns (channels).</param>
    /// <param name="rowStride">Elements from one row to the next.</param>
    /// <param name="kind">Plain or power-of-two scales.</param>
    /// <param name="codes">[columns, rows], dense.</param>
    /// <param name="scales">[columns, ⌈rows/128⌉], dense.</param>
    /// <returns>Position r·columns + c in <paramref name="x"/> of the first non-finite element in column-major order, or −1.</returns>
    public static long QuantizeColumns(ReadOnlySpan<float> x, int rows, int columns, int rowStride, ScaleKind kind, Span<E4M3> codes, Span<float> scales)
    {
        int tiles = TileCount(rows);
        CheckMatrix(x.Length, rows, columns, rowStride);
        SpanCheck.Fits((long)rows * columns, codes.Length, nameof(codes));
        SpanCheck.Fits((long)columns * tiles, scales.Length, nameof(scales));
        Span<float> tile = stackalloc float[Tile];
        long fault = -1;
        for (int c = 0; c < columns; c++)
            for (int t = 0; t < tiles; t++)
            {
                int start = t * Tile;
                int length = Math.Min(Tile, rows - start);
                for (int i = 0; i < length; i++) tile[i] = x[(start + i) * rowStride + c];
                float scale = QuantizeTile(tile[..length], kind, codes.Slice(c * rows + start, length));
                scales[c * tiles + t] = scale;
                if (float.IsNaN(scale) && fault < 0) fault = (long)(start + FirstNonFinite(tile[..length])) * columns + c;
            }
        return fault;
    }

    /// <summary>
    /// Re-tiling 1×128 → 128×1 (V3 §3.5.2), as its definition: dequantise in binary32, transpose, quantise again. Source layouts as in <see cref="QuantizeRows"/>,
    /// result layouts as in <see cref="QuantizeColumns"/>.
    /// </summary>
    /// <returns>As <see cref="QuantizeColumns"/>; a source tile whose scale is NaN counts as non-finite.</returns>
    public static long Retile(ReadOnlySpan<E4M3> codes, ReadOnlySpan<float> scales, int rows, int columns, ScaleKind kind, Span<E4M3> transposed, Span<float> transposedScales)
    {
        int rowTiles = TileCount(columns), tiles = TileCount(rows);
        SpanCheck.Fits((long)rows * columns, codes.Length, nameof(codes));
        SpanCheck.Fits((long)rows * rowTiles, scales.Length, nameof(scales));
        SpanCheck.Fits((long)rows * columns, transposed.Length, nameof(transposed));
        SpanCheck.Fits((long)columns * tiles, transposedScales.Length, nameof(transposedScales));
        Span<float> tile = stackalloc float[Tile];
        long fault = -1;
        for (int c = 0; c < columns; c++)
            for (int t = 0; t < tiles; t++)
            {
                int start = t * Tile;
                int length = Math.Min(Tile, rows - start);
                for (int i = 0; i < length; i++) tile[i] = codes[(start + i) * columns + c].ToSingle() * scales[(start + i) * rowTiles + c / Tile];
                float scale = QuantizeTile(tile[..length], kind, transposed.Slice(c * rows + start, length));
                transposedScales[c * tiles + t] = scale;
                if (float.IsNaN(scale) && fault < 0) fault = (long)(start + FirstNonFinite(tile[..length])) * columns + c;
            }
        return fault;
    }
}
