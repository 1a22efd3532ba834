namespace Hadal.Numerics;

public static partial class TileQuantizer
{
    /// <summary>Bytes of one row of packed E5M6 codes: every row begins on a byte of its own.</summary>
    public static int E5M6RowLength(int columns) => E5M6.PackedLength(columns);

    /// <summary>
    /// 1×128 tiles to packed E5M6 with power-of-two scales (V3 §3.3.3: the input of the attention output projection, kept for backward). x / scale is exact, unless it is
    /// subnormal in binary32, so the one rounding is that to E5M6.
    /// </summary>
    /// <param name="x">[rows, columns], rows <paramref name="rowStride"/> apart.</param>
    /// <param name="rows">Number of rows.</param>
    /// <param name="columns">Number of columns.</param>
    /// <param name="rowStride">Elements from one row to the next.</param>
    /// <param name="packed">[rows, <see cref="E5M6RowLength"/>] bytes, dense.</param>
    /// <param name="scales">[rows, ⌈columns/128⌉], dense.</param>
    /// <returns>Position r·columns + c of the first non-finite element, or −1. Its tile gets scale NaN and codes 0: a NaN is never encoded.</returns>
    public static long QuantizeRowsE5M6(ReadOnlySpan<float> x, int rows, int columns, int rowStride, Span<byte> packed, Span<float> scales)
    {
        int tiles = TileCount(columns);
        int rowLength = E5M6RowLength(columns);
        CheckMatrix(x.Length, rows, columns, rowStride);
        SpanCheck.Fits((long)rows * rowLength, packed.Length, nameof(packed));
        SpanCheck.Fits((long)rows * tiles, scales.Length, nameof(scales));
        Span<float> scaled = stackalloc float[Tile];
        long fault = -1;
        for (int r = 0; r < rows; r++)
            for (int t = 0; t < tiles; t++)
            {
                int start = t * Tile;
                int length = Math.Min(Tile, columns - start);
                ReadOnlySpan<float> tile = x.Slice(r * rowStride + start, length);
                float scale = TileScale.ForE5M6(TileScale.LargestMagnitude(tile));
                scales[r * tiles + t] = scale;
                if (float.IsNaN(scale))
                {
                    scaled[..length].Clear();
                    if (fault < 0) fault = (long)r * columns + start + FirstNonFinite(tile);
                }
                else
                {
                    for (int i = 0; i < length; i++) scaled[i] = tile[i] / scale;
                }
                // 128 values are 192 bytes, so tiles of a row meet on byte boundaries.
                E5M6.Pack(scaled[..length], packed[(r * rowLength + start / 2 * 3)..]);
            }
        return fault;
    }

    /// <summary>Back from packed E5M6: y = float(code)·scale, exact unless it leaves the range of normal binary32. Layouts as in <see cref="QuantizeRowsE5M6"/>.</summary>
    public static void DequantizeRowsE5M6(ReadOnlySpan<byte> packed, ReadOnlySpan<float> scales, int rows, int columns, Span<float> y, int rowStride)
    {
        int tiles = TileCount(columns);
        int rowLength = E5M6RowLength(columns);
        CheckMatrix(y.Length, rows, columns, rowStride);
        SpanCheck.Fits((long)rows * rowLength, packed.Length, nameof(packed));
        SpanCheck.Fits((long)rows * tiles, scales.Length, nameof(scales));
        for (int r = 0; r < rows; r++)
            for (int t = 0; t < tiles; t++)
            {
                int start = t * Tile;
                Span<float> tile = y.Slice(r * rowStride + start, Math.Min(Tile, columns - start));
                E5M6.Unpack(packed[(r * rowLength + start / 2 * 3)..], tile);
                float scale = scales[r * tiles + t];
                for (int i = 0; i < tile.Length; i++) tile[i] *= scale;
            }
    }
}
