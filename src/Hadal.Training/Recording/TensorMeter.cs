using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Hadal.Formats;
using Hadal.Numerics;
using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Training.Recording;

/// <summary>
/// Measures one tensor: hash, largest magnitude, zeros, squares and sketch of all elements, counts of what the format loses, scales, and the error of a sample. The
/// arithmetic of formats is that of <see cref="TileQuantizer"/>. Every sum has one fixed order, so equal tensors have equal statistics on every machine. Buffers are
/// made once.
/// </summary>
sealed class TensorMeter
{
    const int Tile = TileQuantizer.Tile;

    /// <summary>Pieces of at most 128 elements (rows of the tensor, where the tensor is stored) whose error is measured.</summary>
    const int Sampled = 32;

    readonly Checksum64 _hash = new();
    float[] _largest = [], _scales = [], _low = [], _high = [], _decoded = [];
    long _piece, _sampleEvery;

    /// <summary>Turns the sample: every recorded step looks at other pieces.</summary>
    internal long Turn { get; set; }

    /// <summary>Adds an operand of a product to the statistics and returns the hash of its bits.</summary>
    /// <param name="s">What is added to.</param>
    /// <param name="x">F32 [rows, columns] in host memory.</param>
    /// <param name="format">How the product quantises it.</param>
    /// <param name="alongTokens">True: the contraction runs down the rows.</param>
    /// <param name="offsets">I32 [groups + 1] rows of the groups, or absent.</param>
    /// <param name="section">Rows and columns after which tiles and blocks begin anew, where a weight joins several matrices; 0 for none.</param>
    /// <param name="delayed">Magnitude a delayed scale is taken from; 0 for a current scale.</param>
    internal ulong Operand(TensorStatistics s, Tensor x, QuantizationFormat format, bool alongTokens, Tensor offsets, (int Rows, int Columns) section = default, float delayed = 0)
    {
        int rows = offsets.IsEmpty ? x.Rows : Math.Clamp(offsets.AsSpan<int>()[^1], 0, x.Rows);
        long zeros = s.Zeros;
        ulong hash = Scan(s, x, rows, out float largest);
        Losses(s, x, rows, format, alongTokens, offsets, section, delayed > 0 && float.IsFinite(largest) ? delayed : largest, s.Zeros - zeros, sample: true);
        return hash;
    }

    /// <summary>Adds a tensor that was stored, whose error is that of the stored codes.</summary>
    internal ulong Kept(TensorStatistics s, Tensor x, QuantizationFormat format, Tensor codes, Tensor scales, Tensor rowCount)
    {
        int rows = rowCount.IsEmpty ? x.Rows : Math.Clamp(rowCount.AsSpan<int>()[0], 0, x.Rows);
        long zeros = s.Zeros;
        ulong hash = Scan(s, x, rows, out float largest);
        Losses(s, x, rows, format, alongTokens: false, default, default, largest, s.Zeros - zeros, sample: false);
        if (!codes.IsEmpty) SampleStored(s, x, rows, format, codes, scales);
        return hash;
    }

    /// <summary>Hash of plain bytes.</summary>
    internal ulong Bytes(ReadOnlySpan<byte> bytes)
    {
        _hash.Reset();
        _hash.Append(bytes);
        return _hash.Value;
    }

    void Reserve(int columns)
    {
        if (_largest.Length >= columns) return;
        int length = (columns + Tile - 1) / Tile * Tile;
        _largest = new float[length];
        _scales = new float[length];
        _low = new float[length];
        _high = new float[length];
        _decoded = new float[length];
    }

    ulong Scan(TensorStatistics s, Tensor x, int rows, out float largest)
    {
        Reserve(x.Columns);
        _hash.Reset();
        uint top = 0;
        bool whole = x.IsContiguous && rows > 0;
        if (whole) _hash.Append(MemoryMarshal.AsBytes<float>(x.Slice(0, rows).AsSpan<float>()));
        for (int r = 0; r < rows; r++)
        {
            ReadOnlySpan<float> row = x.Row<float>(r);
            if (!whole) _hash.Append(MemoryMarshal.AsBytes(row));
            top = Math.Max(top, ScanRow(s, row, (uint)r));
        }

        largest = BitConverter.UInt32BitsToSingle(top);
        s.Elements += (long)rows * x.Columns;
        s.Largest = Math.Max(s.Largest, largest); // lets NaN through
        return _hash.Value;
    }

    static Vector512<uint> Lanes { get; } = Vector512.Create(
        0x9E3779B1u, 0x3C6EF362u, 0xDAA66D13u, 0x78DDE6C4u, 0x17156075u, 0xB54CDA26u, 0x538453D7u, 0xF1BBCD88u,
        0x8FF34739u, 0x2E2AC0EAu, 0xCC623A9Bu, 0x6A99B44Cu, 0x08D12DFDu, 0xA708A7AEu, 0x4540215Fu, 0xE3779B10u);

    /// <summary>Returns the bits of the row's largest magnitude.</summary>
    static uint ScanRow(TensorStatistics s, ReadOnlySpan<float> row, uint index)
    {
        Vector512<float> squares = Vector512<float>.Zero, sketch = Vector512<float>.Zero;
        Vector512<uint> top = Vector512<uint>.Zero, zeros = Vector512<uint>.Zero, lanes = Lanes;
        uint seed = index * 0x85EBCA77u;
        int padding = -row.Length & 15;
        Span<float> last = stackalloc float[16];
        for (int i = 0; i < row.Length; i += 16)
        {
            Vector512<float> x;
            if (i + 16 <= row.Length)
            {
                x = Vector512.Create(row.Slice(i, 16));
            }
            else
            {
                last.Clear();
                row[i..].CopyTo(last);
                x = Vector512.Create<float>(last);
            }

            Vector512<uint> bits = x.AsUInt32(), magnitude = bits & Vector512.Create(0x7FFF_FFFFu);
            top = Vector512.Max(top, magnitude);
            zeros -= Vector512.Equals(magnitude, Vector512<uint>.Zero);
            squares += x * x;
            Vector512<uint> signs = (lanes + Vector512.Create(seed + (uint)i)) * Vector512.Create(0x9E3779B1u);
            signs = (signs ^ (signs >>> 15)) * Vector512.Create(0x85EBCA77u);
            sketch += (bits ^ (signs & Vector512.Create(0x8000_0000u))).AsSingle();
        }

        s.Zeros += Vector512.Sum(zeros) - padding;
        double sum = 0;
        for (int lane = 0; lane < 16; lane++)
        {
            sum += squares[lane];
            s.Sketch[lane] += sketch[lane];
        }

        s.Squares += sum;
        uint largest = 0;
        for (int lane = 0; lane < 16; lane++) largest = Math.Max(largest, top[lane]);
        if (largest >= 0x7F80_0000u)
            foreach (float value in row)
                if (!float.IsFinite(value)) s.NonFinite++;
        return largest;
    }

    /// <summary>What the format makes of the values: scales, underflow, saturation, and (not for stored tensors) the error of a sample.</summary>
    void Losses(TensorStatistics s, Tensor x, int rows, QuantizationFormat format, bool alongTokens, Tensor offsets, (int Rows, int Columns) section, float largest, long zeros, bool sample)
    {
        if (format.Number == NumberFormat.F32 || rows == 0) return;
        long pieces = Math.Max(1, (long)rows * TileQuantizer.TileCount(x.Columns));
        _sampleEvery = sample ? Math.Max(1, pieces / Sampled) : 0;
        _piece = _sampleEvery == 0 ? 0 : Turn % _sampleEvery;
        if (format.Number == NumberFormat.BF16 || format.Granularity == Granularity.Tensor)
        {
            float scale = format.Number == NumberFormat.BF16 ? 1 : TileScale.ForE4M3(largest, format.Scale);
            if (format.Number != NumberFormat.BF16) s.AddScale(scale);
            for (int r = 0; r < rows; r++)
                for (int c = 0; c < x.Columns; c += Tile) Piece(s, x.Row<float>(r).Slice(c, Math.Min(Tile, x.Columns - c)), format, scale);
        }
        else if (!alongTokens)
        {
            int height = format.Granularity == Granularity.Block ? Tile : 1;
            int extent = section.Columns == 0 ? x.Columns : section.Columns, matrix = section.Rows == 0 ? rows : section.Rows;
            for (int r = 0; r < rows;)
            {
                int end = Math.Min(r + height, ((r / matrix) + 1) * matrix);
                for (int first = 0; first < x.Columns; first += extent)
                    for (int c = 0; c < extent; c += Tile) Cell(s, x, r, end, first + c, Math.Min(Tile, extent - c), format);
                r = end;
            }
        }
        else if (offsets.IsEmpty)
        {
            Down(s, x, 0, rows, format);
        }
        else
        {
            ReadOnlySpan<int> groups = offsets.AsSpan<int>();
            for (int g = 0; g + 1 < groups.Length; g++) Down(s, x, Math.Clamp(groups[g], 0, rows), Math.Clamp(groups[g + 1], 0, rows), format);
        }

        s.Underflows -= zeros; // zeros are not above the threshold either, and were counted
    }

    void Cell(TensorStatistics s, Tensor x, int row, int end, int column, int width, QuantizationFormat format)
    {
        float largest = 0;
        for (int r = row; r < end; r++) largest = Math.Max(largest, TileScale.LargestMagnitude(x.Row<float>(r).Slice(column, width)));
        float scale = format.Number == NumberFormat.E5M6 ? TileScale.ForE5M6(largest) : TileScale.ForE4M3(largest, format.Scale);
        s.AddScale(scale);
        for (int r = row; r < end; r++) Piece(s, x.Row<float>(r).Slice(column, width), format, scale);
    }

    /// <summary>At most 128 elements of a row that share a scale.</summary>
    void Piece(TensorStatistics s, ReadOnlySpan<float> piece, QuantizationFormat format, float scale)
    {
        (float low, float high) = Bounds(format.Number, scale);
        Vector512<float> lowest = Vector512.Create(low), highest = Vector512.Create(high);
        Vector512<uint> under = Vector512<uint>.Zero, over = Vector512<uint>.Zero;
        int i = 0;
        for (; i + 16 <= piece.Length; i += 16)
        {
            Vector512<float> magnitude = Vector512.Abs(Vector512.Create(piece.Slice(i, 16)));
            under -= Vector512.LessThanOrEqual(magnitude, lowest).AsUInt32();
            over -= Vector512.GreaterThan(magnitude, highest).AsUInt32();
        }

        long underflows = Vector512.Sum(under), saturations = Vector512.Sum(over);
        for (; i < piece.Length; i++)
        {
            float magnitude = Math.Abs(piece[i]);
            if (magnitude <= low) underflows++;
            if (magnitude > high) saturations++;
        }

        s.Underflows += underflows;
        s.Saturations += saturations;
        if (_sampleEvery == 0 || ++_piece % _sampleEvery != 0) return;
        Span<float> decoded = _decoded.AsSpan(0, piece.Length);
        if (format.Number == NumberFormat.BF16)
        {
            GridRounding.ToBF16(piece, decoded);
        }
        else
        {
            GridRounding.ToE4M3(piece, scale, decoded);
            foreach (ref float value in decoded) value *= scale;
        }

        Compare(s, piece, decoded);
    }

    /// <summary>Rows [row, end) of one group, scales down the columns.</summary>
    void Down(TensorStatistics s, Tensor x, int row, int end, QuantizationFormat format)
    {
        int columns = x.Columns;
        for (; row < end; row += Tile)
        {
            int stop = Math.Min(end, row + Tile);
            Span<float> scales = _scales.AsSpan(0, columns), low = _low.AsSpan(0, columns), high = _high.AsSpan(0, columns), largest = _largest.AsSpan(0, columns);
            largest.Clear();
            for (int r = row; r < stop; r++) GridRounding.Largest(x.Row<float>(r), largest);
            if (format.Granularity == Granularity.Block)
            {
                for (int c = 0; c < columns; c += Tile)
                {
                    Span<float> block = largest.Slice(c, Math.Min(Tile, columns - c));
                    block.Fill(TileScale.LargestMagnitude(block));
                    s.AddScale(TileScale.ForE4M3(block[0], format.Scale));
                }
            }

            for (int c = 0; c < columns; c++)
            {
                scales[c] = TileScale.ForE4M3(largest[c], format.Scale);
                (low[c], high[c]) = Bounds(NumberFormat.E4M3, scales[c]);
                if (format.Granularity != Granularity.Block) s.AddScale(scales[c]);
            }

            for (int r = row; r < stop; r++) DownRow(s, x.Row<float>(r), low, high, scales);
        }
    }

    void DownRow(TensorStatistics s, ReadOnlySpan<float> row, ReadOnlySpan<float> low, ReadOnlySpan<float> high, ReadOnlySpan<float> scales)
    {
        Vector512<uint> under = Vector512<uint>.Zero, over = Vector512<uint>.Zero;
        int i = 0;
        for (; i + 16 <= row.Length; i += 16)
        {
            Vector512<float> magnitude = Vector512.Abs(Vector512.Create(row.Slice(i, 16)));
            under -= Vector512.LessThanOrEqual(magnitude, Vector512.Create(low.Slice(i, 16))).AsUInt32();
            over -= Vector512.GreaterThan(magnitude, Vector512.Create(high.Slice(i, 16))).AsUInt32();
        }

        long underflows = Vector512.Sum(under), saturations = Vector512.Sum(over);
        for (; i < row.Length; i++)
        {
            float magnitude = Math.Abs(row[i]);
            if (magnitude <= low[i]) underflows++;
            if (magnitude > high[i]) saturations++;
        }

        s.Underflows += underflows;
        s.Saturations += saturations;
        long before = _piece / _sampleEvery;
        _piece += TileQuantizer.TileCount(row.Length);
        if (_piece / _sampleEvery == before) return;
        Span<float> decoded = _decoded.AsSpan(0, row.Length);
        GridRounding.ToE4M3(row, scales, decoded);
        for (int c = 0; c < decoded.Length; c++) decoded[c] *= scales[c];
        Compare(s, row, decoded);
    }

    /// <summary>Values up to the first become zero (half of the smallest step, ties to even), values above the second are clipped by more than half a step.</summary>
    static (float Low, float High) Bounds(NumberFormat format, float scale)
    {
        if (format == NumberFormat.BF16) return (1.1754944e-38f / 256, BitConverter.UInt32BitsToSingle(0x7F7F_7FFF));
        if (float.IsNaN(scale)) return (0, float.PositiveInfinity);
        return format == NumberFormat.E5M6 ? (scale * (1f / (1 << 21)), scale * 130_560f) : (scale * (1f / 1024), scale * 464f);
    }

    void SampleStored(TensorStatistics s, Tensor x, int rows, QuantizationFormat format, Tensor codes, Tensor scales)
    {
        int every = Math.Max(1, rows / Math.Max(1, Sampled * Tile / Math.Max(Tile, x.Columns)));
        Span<float> decoded = _decoded.AsSpan(0, x.Columns);
        for (int r = (int)(Turn % every); r < rows; r += every)
        {
            switch (format.Number)
            {
                case NumberFormat.BF16:
                    BF16.ToSingle(codes.Row<BF16>(r), decoded);
                    break;
                case NumberFormat.E5M6:
                    TileQuantizer.DequantizeRowsE5M6(codes.Row<byte>(r), scales.Row<float>(r), 1, x.Columns, decoded, x.Columns);
                    break;
                default:
                    ReadOnlySpan<float> row = format.Granularity switch { Granularity.Tile => scales.Row<float>(r), Granularity.Block => scales.Row<float>(r / Tile), _ => scales.AsSpan<float>() };
                    for (int c = 0; c < x.Columns; c += Tile)
                    {
                        int width = Math.Min(Tile, x.Columns - c);
                        TileQuantizer.DecodeScaled(codes.Row<E4M3>(r).Slice(c, width), format.Granularity == Granularity.Tensor ? row[0] : row[c / Tile], decoded.Slice(c, width));
                    }

                    break;
            }

            Compare(s, x.Row<float>(r), decoded);
        }
    }

    static void Compare(TensorStatistics s, ReadOnlySpan<float> x, ReadOnlySpan<float> stored)
    {
        double error = 0, squares = 0;
        for (int i = 0; i < x.Length; i++)
        {
            double difference = (double)stored[i] - x[i];
            error += difference * difference;
            squares += (double)x[i] * x[i];
        }

        s.Sampled += x.Length;
        s.ErrorSquares += error;
        s.SampledSquares += squares;
    }
}
