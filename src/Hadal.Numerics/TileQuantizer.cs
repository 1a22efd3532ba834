using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics;

/// <summary>
/// Fine-grained quantisation of matrices (V3 §3.3.2): tiles of 1×128 (one row, 128 consecutive columns) for activations and their gradients, blocks of 128×128 for weights,
/// tiles of 128×1 along the other dimension for weight gradients.
/// </summary>
/// <remarks>
/// <para>Arithmetic, element by element, in binary32: code = E4M3(x / scale), one correctly rounded division, one rounding to E4M3 (ties to even, saturating); back:
/// value = float(code) · scale, one correctly rounded product. The scale comes from the tile's current largest magnitude (<see cref="TileScale"/>).</para>
/// <para>Matrices are row-major: element (r, c) of a source is x[r·rowStride + c]; codes are dense, [rows, columns]. Scales of 1×128 tiles are dense
/// [rows, ⌈columns/128⌉], those of blocks dense [⌈rows/128⌉, ⌈columns/128⌉]. A tile or block cut by the matrix's edge behaves as if it were padded with zeros:
/// padding changes no maximum and is not stored.</para>
/// <para>NaN and infinity: the quantising methods return the position r·columns + c of the first non-finite element in row-major order, or −1 when there is none. A tile
/// with such an element gets scale NaN and codes 0, so that it comes back as NaN throughout: a fault can be located, and can never pass as ordinary numbers.</para>
/// </remarks>
public static partial class TileQuantizer
{
    /// <summary>Length of a tile, side of a block.</summary>
    public const int Tile = 128;

    /// <summary>⌈length/128⌉: tiles that cover a dimension.</summary>
    public static int TileCount(int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        return (int)(((long)length + Tile - 1) / Tile);
    }

    /// <summary>Quantises one tile of at most 128 consecutive values and returns its scale (NaN, with codes 0, if a value is not finite).</summary>
    public static float QuantizeTile(ReadOnlySpan<float> x, ScaleKind kind, Span<E4M3> codes)
    {
        float scale = TileScale.ForE4M3(TileScale.LargestMagnitude(x), kind);
        EncodeScaled(x, scale, codes);
        return scale;
    }

    /// <summary>1×128 tiles to E4M3. Returns the position of the first non-finite element, or −1.</summary>
    /// <param name="x">[rows, columns], rows <paramref name="rowStride"/> apart.</param>
    /// <param name="rows">Number of rows.</param>
    /// <param name="columns">Number of columns.</param>
    /// <param name="rowStride">Elements from one row to the next, at least <paramref name="columns"/>.</param>
    /// <param name="kind">Plain or power-of-two scales.</param>
    /// <param name="codes">[rows, columns], dense.</param>
    /// <param name="scales">[rows, ⌈columns/128⌉], dense.</param>
    public static long QuantizeRows(ReadOnlySpan<float> x, int rows, int columns, int rowStride, ScaleKind kind, Span<E4M3> codes, Span<float> scales)
    {
        int tiles = TileCount(columns);
        CheckMatrix(x.Length, rows, columns, rowStride);
        SpanCheck.Fits((long)rows * columns, codes.Length, nameof(codes));
        SpanCheck.Fits((long)rows * tiles, scales.Length, nameof(scales));
        long fault = -1;
        for (int r = 0; r < rows; r++)
        {
            ReadOnlySpan<float> row = x.Slice(r * rowStride, columns);
            for (int t = 0; t < tiles; t++)
            {
                int start = t * Tile;
                int length = Math.Min(Tile, columns - start);
                float scale = QuantizeTile(row.Slice(start, length), kind, codes.Slice(r * columns + start, length));
                scales[r * tiles + t] = scale;
                if (float.IsNaN(scale) && fault < 0) fault = (long)r * columns + start + FirstNonFinite(row.Slice(start, length));
            }
        }
        return fault;
    }

    /// <summary>Back from 1×128 tiles: y = float(code)·scale in binary32. Layouts as in <see cref="QuantizeRows"/>.</summary>
    public static void DequantizeRows(ReadOnlySpan<E4M3> codes, ReadOnlySpan<float> scales, int rows, int columns, Span<float> y, int rowStride)
    {
        int tiles = TileCount(columns);
        CheckMatrix(y.Length, rows, columns, rowStride);
        SpanCheck.Fits((long)rows * columns, codes.Length, nameof(codes));
        SpanCheck.Fits((long)rows * tiles, scales.Length, nameof(scales));
        for (int r = 0; r < rows; r++)
            for (int t = 0; t < tiles; t++)
            {
                int start = t * Tile;
                int length = Math.Min(Tile, columns - start);
                DecodeScaled(codes.Slice(r * columns + start, length), scales[r * tiles + t], y.Slice(r * rowStride + start, length));
            }
    }

    /// <summary>128×128 blocks to E4M3. Returns the position of the first non-finite element in row-major order, or −1.</summary>
    /// <param name="x">[rows, columns], rows <paramref name="rowStride"/> apart.</param>
    /// <param name="rows">Number of rows.</param>
    /// <param name="columns">Number of columns.</param>
    /// <param name="rowStride">Elements from one row to the next, at least <paramref name="columns"/>.</param>
    /// <param name="kind">Plain or power-of-two scales.</param>
    /// <param name="codes">[rows, columns], dense.</param>
    /// <param name="scales">[⌈rows/128⌉, ⌈columns/128⌉], dense: the <c>weight_scale_inv</c> of public checkpoints.</param>
    public static long QuantizeBlocks(ReadOnlySpan<float> x, int rows, int columns, int rowStride, ScaleKind kind, Span<E4M3> codes, Span<float> scales)
    {
        int blockRows = TileCount(rows), blockColumns = TileCount(columns);
        CheckMatrix(x.Length, rows, columns, rowStride);
        SpanCheck.Fits((long)rows * columns, codes.Length, nameof(codes));
        SpanCheck.Fits((long)blockRows * blockColumns, scales.Length, nameof(scales));
        long fault = -1;
        for (int br = 0; br < blockRows; br++)
            for (int bc = 0; bc < blockColumns; bc++)
            {
                int firstRow = br * Tile, endRow = Math.Min(firstRow + Tile, rows);
                int start = bc * Tile, length = Math.Min(Tile, columns - start);
                float largest = 0;
                for (int r = firstRow; r < endRow; r++)
                {
                    ReadOnlySpan<float> part = x.Slice(r * rowStride + start, length);
                    float rowLargest = TileScale.LargestMagnitude(part);
                    if (!float.IsFinite(rowLargest))
                    {
                        long position = (long)r * columns + start + FirstNonFinite(part);
                        if (fault < 0 || position < fault) fault = position;
                    }
                    largest = Math.Max(largest, rowLargest); // Math.Max lets NaN through
                }
                float scale = TileScale.ForE4M3(largest, kind);
                scales[br * blockColumns + bc] = scale;
                for (int r = firstRow; r < endRow; r++)
                    EncodeScaled(x.Slice(r * rowStride + start, length), scale, codes.Slice(r * columns + start, length));
            }
        return fault;
    }

    /// <summary>Back from 128×128 blocks: y = float(code)·scale in binary32. Layouts as in <see cref="QuantizeBlocks"/>.</summary>
    public static void DequantizeBlocks(ReadOnlySpan<E4M3> codes, ReadOnlySpan<float> scales, int rows, int columns, Span<float> y, int rowStride)
    {
        int blockRows = TileCount(rows), blockColumns = TileCount(columns);
        CheckMatrix(y.Length, rows, columns, rowStride);
        SpanCheck.Fits((long)rows * columns, codes.Length, nameof(codes));
        SpanCheck.Fits((long)blockRows * blockColumns, scales.Length, nameof(scales));
        for (int r = 0; r < rows; r++)
            for (int bc = 0; bc < blockColumns; bc++)
            {
                int start = bc * Tile;
                int length = Math.Min(Tile, columns - start);
                DecodeScaled(codes.Slice(r * columns + start, length), scales[r / Tile * blockColumns + bc], y.Slice(r * rowStride + start, length));
            }
    }

    /// <summary>codes[i] = E4M3(x[i] / scale). A NaN scale gives codes 0.</summary>
    public static void EncodeScaled(ReadOnlySpan<float> x, float scale, Span<E4M3> codes)
    {
        SpanCheck.Fits(x.Length, codes.Length);
        if (float.IsNaN(scale))
        {
            codes[..x.Length].Clear();
            return;
        }
        ref float from = ref MemoryMarshal.GetReference(x);
        ref byte to = ref Unsafe.As<E4M3, byte>(ref MemoryMarshal.GetReference(codes));
        int i = 0;
        if (Vector512.IsHardwareAccelerated)
        {
            Vector512<float> divisor = Vector512.Create(scale);
            for (; i <= x.Length - 16; i += 16)
                E4M3.EncodeVector(Vector512.LoadUnsafe(ref from, (nuint)i) / divisor).StoreUnsafe(ref to, (nuint)i);
        }
        else if (Vector128.IsHardwareAccelerated)
        {
            Vector256<float> divisor = Vector256.Create(scale);
            for (; i <= x.Length - 8; i += 8)
                Unsafe.WriteUnaligned(ref Unsafe.Add(ref to, i), E4M3.EncodeVector(Vector256.LoadUnsafe(ref from, (nuint)i) / divisor));
        }
        for (; i < x.Length; i++) codes[i] = E4M3.FromSingle(x[i] / scale);
    }

    /// <summary>y[i] = float(codes[i])·scale.</summary>
    public static void DecodeScaled(ReadOnlySpan<E4M3> codes, float scale, Span<float> y)
    {
        SpanCheck.Fits(codes.Length, y.Length);
        ref byte from = ref Unsafe.As<E4M3, byte>(ref MemoryMarshal.GetReference(codes));
        ref float to = ref MemoryMarshal.GetReference(y);
        int i = 0;
        if (Vector512.IsHardwareAccelerated)
        {
            Vector512<float> factor = Vector512.Create(scale);
            for (; i <= codes.Length - 16; i += 16)
                (E4M3.DecodeVector512(Vector128.LoadUnsafe(ref from, (nuint)i)) * factor).StoreUnsafe(ref to, (nuint)i);
        }
        else if (Vector128.IsHardwareAccelerated)
        {
            Vector256<float> factor = Vector256.Create(scale);
            for (; i <= codes.Length - 8; i += 8)
                (E4M3.DecodeVector256(Unsafe.ReadUnaligned<ulong>(ref Unsafe.Add(ref from, i))) * factor).StoreUnsafe(ref to, (nuint)i);
        }
        for (; i < codes.Length; i++) y[i] = codes[i].ToSingle() * scale;
    }

    /// <summary>Index of the first NaN or infinity, or −1.</summary>
    public static int FirstNonFinite(ReadOnlySpan<float> x)
    {
        // Whole vectors first: finite is what has an exponent below the largest.
        int i = 0;
        var exponent = new Vector<uint>(0x7F80_0000);
        ReadOnlySpan<Vector<uint>> vectors = MemoryMarshal.Cast<float, Vector<uint>>(x);
        while (i < vectors.Length && !Vector.EqualsAny(vectors[i] & exponent, exponent)) i++;
        for (i *= Vector<uint>.Count; i < x.Length; i++)
            if (!float.IsFinite(x[i])) return i;
        return -1;
    }

    internal static void CheckMatrix(int length, int rows, int columns, int rowStride)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        ArgumentOutOfRangeException.ThrowIfNegative(columns);
        if (rowStride < columns) throw new ArgumentException($"Rows of {columns} elements cannot be {rowStride} apart: rowStride must be at least the number of columns.", nameof(rowStride));
        if (rows > 0 && columns > 0) SpanCheck.Fits((long)(rows - 1) * rowStride + columns, length, "The matrix");
    }
}
