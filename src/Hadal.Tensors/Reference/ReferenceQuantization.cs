using Hadal.Numerics;
using Hadal.Tensors.Operations;
using Hadal.Tensors.Operations.Checks;

namespace Hadal.Tensors.Reference;

/// <summary>Quantisation as <see cref="TileQuantizer"/> defines it, and products of codes and scales as plain loops in double.</summary>
sealed class ReferenceQuantization : IQuantizationOperations
{
    const int Tile = TileQuantizer.Tile;

    public void Encode(Tensor x, QuantizationFormat format, Tensor codes, Tensor scales, Tensor rowCount)
    {
        QuantizationChecks.Stored(x, format, codes, scales, rowCount);
        int rows = ReferenceElementwise.RowsInUse(rowCount, x.Rows), columns = x.Columns;
        if (format.Granularity == Granularity.None)
        {
            Values values = Values.Read(x);
            for (int r = 0; r < rows; r++) ElementConversion.Store(values.Row(r), codes, r);
            return;
        }

        float[] source = Singles(Values.Read(x));
        (int scaleRows, int scaleColumns) = format.StorageScales(rows, columns);
        float[] scale = new float[scaleRows * scaleColumns];
        if (format.Number == NumberFormat.E5M6)
        {
            byte[] packed = new byte[rows * codes.Columns];
            TileQuantizer.QuantizeRowsE5M6(source, rows, columns, columns, packed, scale);
            for (int r = 0; r < rows; r++) packed.AsSpan(r * codes.Columns, codes.Columns).CopyTo(codes.Row<byte>(r));
        }
        else
        {
            E4M3[] code = new E4M3[rows * columns];
            switch (format.Granularity)
            {
                case Granularity.Tile: TileQuantizer.QuantizeRows(source, rows, columns, columns, format.Scale, code, scale); break;
                case Granularity.Block: TileQuantizer.QuantizeBlocks(source, rows, columns, columns, format.Scale, code, scale); break;
                default:
                    scale[0] = TileScale.ForE4M3(TileScale.LargestMagnitude(source.AsSpan(0, rows * columns)), format.Scale);
                    TileQuantizer.EncodeScaled(source.AsSpan(0, rows * columns), scale[0], code);
                    break;
            }

            for (int r = 0; r < rows; r++) code.AsSpan(r * columns, columns).CopyTo(codes.Row<E4M3>(r));
        }

        Values kept = Values.Read(scales);
        for (int i = 0; i < scale.Length; i++) kept[i / scaleColumns, i % scaleColumns] = scale[i];
        kept.Store(scales);
    }

    public void Decode(Tensor codes, Tensor scales, QuantizationFormat format, Tensor y, Tensor rowCount)
    {
        QuantizationChecks.Stored(y, format, codes, scales, rowCount);
        Values result = Values.Read(y);
        Values? scale = format.Granularity == Granularity.None ? null : Values.Read(scales);
        float[] unpacked = new float[y.Columns];
        for (int r = 0; r < ReferenceElementwise.RowsInUse(rowCount, y.Rows); r++)
        {
            if (format.Number != NumberFormat.E5M6) ElementConversion.Load(codes, r, result.Row(r));
            else E5M6.Unpack(codes.Row<byte>(r), unpacked);
            for (int c = 0; c < y.Columns; c++)
            {
                if (format.Number == NumberFormat.E5M6) result[r, c] = unpacked[c];
                if (scale is null) continue;
                double factor = format.Granularity switch { Granularity.Tile => scale[r, c / Tile], Granularity.Block => scale[r / Tile, c / Tile], _ => scale[0] };
                result[r, c] = (float)(result[r, c] * factor);
            }
        }

        result.Store(y);
    }

    public void Round(Tensor x, NumberFormat format, Tensor y)
    {
        Require.Shape(y, x.Rows, x.Columns);
        Require.That(format is NumberFormat.F32 or NumberFormat.BF16, $"Values are rounded to F32 or BF16; {format} was asked.");
        Values values = Values.Read(x);
        if (format == NumberFormat.BF16)
            for (int i = 0; i < values.Length; i++) values[i] = BF16.FromDouble(values[i]).ToSingle();
        values.Store(y);
    }

    public PreparedWeight Prepare(ReadOnlySpan<Tensor> groups, ProductUses uses, QuantizationFormat format)
    {
        string? fault = format.Fault;
        Require.That(fault is null, $"A weight cannot be prepared as {format}: {fault}.");
        return new Views(groups, uses, format);
    }

    public void Refresh(PreparedWeight weight)
    {
        // Weights are quantised when they are used: always up to date.
    }

    public void Forward(Tensor x, PreparedWeight weight, ProductFormat format, Tensor y, bool accumulate = false)
    {
        MatrixChecks.Forward(x, weight, y);
        Values result = Values.For(y, accumulate), source = Values.Read(x);
        Multiply(Rows(source, 0, x.Rows, format.Left, Largest(source, 0, x.Rows)), Weight(weight, 0, format, forward: true), format, result, 0);
        result.Store(y);
    }

    public void BackwardInput(Tensor dy, PreparedWeight weight, ProductFormat format, Tensor dx, bool accumulate = false)
    {
        MatrixChecks.BackwardInput(dy, weight, dx);
        Values result = Values.For(dx, accumulate), source = Values.Read(dy);
        Multiply(Rows(source, 0, dy.Rows, format.Left, Largest(source, 0, dy.Rows)), Weight(weight, 0, format, forward: false), format, result, 0);
        result.Store(dx);
    }

    public void BackwardWeight(Tensor dy, Tensor x, ProductFormat format, Tensor dWeight, bool accumulate)
    {
        MatrixChecks.BackwardWeight(dy, x, dWeight);
        QuantizationChecks.Product(format);
        Values result = Values.For(dWeight, accumulate), gradient = Values.Read(dy), source = Values.Read(x);
        Multiply(Columns(gradient, 0, dy.Rows, format.Left, Largest(gradient, 0, dy.Rows)), Columns(source, 0, x.Rows, format.Right, Largest(source, 0, x.Rows)), format, result, 0);
        result.Store(dWeight);
    }

    public void GroupedForward(Tensor x, Tensor offsets, PreparedWeight weight, ProductFormat format, Tensor y)
    {
        MatrixChecks.GroupedForward(x, offsets, weight, y);
        Grouped(x, offsets, weight, format, y, forward: true);
    }

    public void GroupedBackwardInput(Tensor dy, Tensor offsets, PreparedWeight weight, ProductFormat format, Tensor dx)
    {
        MatrixChecks.GroupedBackwardInput(dy, offsets, weight, dx);
        Grouped(dy, offsets, weight, format, dx, forward: false);
    }

    public void GroupedBackwardWeight(Tensor dy, Tensor x, Tensor offsets, ProductFormat format, Tensor dWeight, bool accumulate)
    {
        MatrixChecks.GroupedBackwardWeight(dy, x, offsets, dWeight);
        QuantizationChecks.Product(format);
        Values result = Values.For(dWeight, accumulate), gradient = Values.Read(dy), source = Values.Read(x);
        int[] offset = ReferenceMatrix.ReadOffsets(offsets, x.Rows);
        float largestGradient = Largest(gradient, offset[0], offset[^1]), largestSource = Largest(source, offset[0], offset[^1]);
        for (int g = 0; g + 1 < offset.Length; g++)
            Multiply(Columns(gradient, offset[g], offset[g + 1], format.Left, largestGradient), Columns(source, offset[g], offset[g + 1], format.Right, largestSource), format, result, g * dWeight[1]);
        result.Store(dWeight);
    }

    static void Grouped(Tensor from, Tensor offsets, PreparedWeight weight, ProductFormat format, Tensor to, bool forward)
    {
        Values source = Values.Read(from), result = Values.Read(to);
        int[] offset = ReferenceMatrix.ReadOffsets(offsets, from.Rows);
        float largest = Largest(source, offset[0], offset[^1]);
        for (int g = 0; g < weight.Groups.Length; g++)
        {
            for (int r = offset[g]; r < offset[g + 1]; r++) result.Row(r).Clear();
            Multiply(Rows(source, offset[g], offset[g + 1], format.Left, largest), Weight(weight, g, format, forward), format, result, offset[g]);
        }

        result.Store(to);
    }

    static Scaled Weight(PreparedWeight weight, int group, ProductFormat format, bool forward)
    {
        QuantizationFormat prepared = weight is Views views ? views.Format : QuantizationFormat.F32;
        QuantizationChecks.Weight(weight, prepared, format);
        Values values = Values.Read(weight.Groups[group]);
        return forward
            ? Rows(values, 0, values.Rows, format.Right, Largest(values, 0, values.Rows))
            : Columns(values, 0, values.Rows, format.Right, Largest(values, 0, values.Rows));
    }

    static Scaled Rows(Values x, int start, int end, QuantizationFormat format, float largest) =>
        Scaled.Make(end - start, x.Columns, (o, d) => x[start + o, d], format, largest);

    static Scaled Columns(Values x, int start, int end, QuantizationFormat format, float largest) =>
        Scaled.Make(x.Columns, end - start, (o, d) => x[start + d, o], format, largest);

    static float Largest(Values x, int start, int end)
    {
        float largest = 0;
        for (int r = start; r < end; r++)
            foreach (double value in x.Row(r)) largest = Math.Max(largest, Math.Abs((float)value));
        return largest;
    }

    /// <summary>result[firstRow + r, c] += Σ over chunks.</summary>
    static void Multiply(Scaled a, Scaled b, ProductFormat format, Values result, int firstRow)
    {
        bool core = format.Accumulation is Accumulation.TensorCore or Accumulation.TensorCorePromoted;
        int chunk = format.Accumulation is Accumulation.Promoted or Accumulation.TensorCorePromoted ? Tile : Math.Max(a.Depth, 1);
        for (int r = 0; r < a.Outer; r++)
        {
            ReadOnlySpan<double> left = a.Row(r);
            for (int c = 0; c < b.Outer; c++)
            {
                ReadOnlySpan<double> right = b.Row(c);
                double sum = result[firstRow + r, c];
                for (int start = 0; start < a.Depth; start += chunk)
                {
                    int length = Math.Min(chunk, a.Depth - start);
                    double partial = core ? TensorCoreProducts.Chain(left.Slice(start, length), right.Slice(start, length)) : 0;
                    for (int d = start; !core && d < start + length; d++) partial += left[d] * right[d];
                    sum += partial * a.Scale(r, start) * b.Scale(c, start);
                }

                result[firstRow + r, c] = format.Output == NumberFormat.BF16 ? BF16.FromDouble(sum).ToSingle() : sum;
            }
        }
    }

    static float[] Singles(Values values)
    {
        float[] singles = new float[values.Length];
        for (int i = 0; i < singles.Length; i++) singles[i] = (float)values[i];
        return singles;
    }

    /// <summary>An operand as codes [outer, depth] and scales, the contraction along depth.</summary>
    sealed class Scaled(int outer, int depth, double[] codes, float[] scales, bool hasScales)
    {
        public int Outer => outer;

        public int Depth => depth;

        public ReadOnlySpan<double> Row(int o) => codes.AsSpan(o * depth, depth);

        public double Scale(int o, int d) => hasScales ? scales[(o * TileQuantizer.TileCount(depth)) + (d / Tile)] : 1;

        public static Scaled Make(int outer, int depth, Func<int, int, double> element, QuantizationFormat format, float largest)
        {
            double[] codes = new double[outer * depth];
            int tiles = TileQuantizer.TileCount(depth);
            float[] scales = new float[outer * tiles];
            for (int o = 0; o < outer; o++)
                for (int d = 0; d < depth; d++) codes[(o * depth) + d] = element(o, d);
            if (format.Number == NumberFormat.BF16)
                foreach (ref double code in codes.AsSpan()) code = BF16.FromDouble(code).ToSingle();
            if (format.Number != NumberFormat.E4M3) return new Scaled(outer, depth, codes, scales, hasScales: false);

            // Largest magnitudes first, then every tile of a block takes the block's.
            foreach (ref float scale in scales.AsSpan()) scale = format.Granularity == Granularity.Tensor ? largest : 0;
            int shared = format.Granularity == Granularity.Block ? Tile : 1;
            for (int o = 0; o < outer && format.Granularity != Granularity.Tensor; o++)
            {
                for (int d = 0; d < depth; d++)
                {
                    ref float magnitude = ref scales[(o / shared * shared * tiles) + (d / Tile)];
                    magnitude = Math.Max(magnitude, Math.Abs((float)codes[(o * depth) + d]));
                }
            }

            for (int o = 0; o < outer; o++)
                for (int t = 0; t < tiles; t++) scales[(o * tiles) + t] = o % shared == 0 ? TileScale.ForE4M3(scales[(o * tiles) + t], format.Scale) : scales[(o / shared * shared * tiles) + t];
            for (int i = 0; i < codes.Length; i++)
            {
                float scale = scales[(i / depth * tiles) + (i % depth / Tile)];
                codes[i] = float.IsNaN(scale) ? 0 : E4M3.FromSingle((float)codes[i] / scale).ToSingle();
            }

            return new Scaled(outer, depth, codes, scales, hasScales: true);
        }
    }

    sealed class Views(ReadOnlySpan<Tensor> groups, ProductUses uses, QuantizationFormat format) : PreparedWeight(groups, uses)
    {
        public QuantizationFormat Format => format;

        protected override void Dispose(bool disposing)
        {
            // Nothing was copied.
        }
    }
}

/// <summary>The modelled tensor core over any length: instructions of 32, the last padded with zeros.</summary>
static class TensorCoreProducts
{
    const int Instruction = 32;

    /// <summary>Σ a·b of values that are E4M3 numbers, from zero.</summary>
    public static float Chain(ReadOnlySpan<double> a, ReadOnlySpan<double> b)
    {
        Span<E4M3> left = stackalloc E4M3[Instruction], right = stackalloc E4M3[Instruction];
        float sum = 0;
        for (int start = 0; start < a.Length; start += Instruction)
        {
            int length = Math.Min(Instruction, a.Length - start);
            left.Clear();
            right.Clear();
            for (int i = 0; i < length; i++) (left[i], right[i]) = (E4M3.FromDouble(a[start + i]), E4M3.FromDouble(b[start + i]));
            sum = TensorCoreAccumulation.Hopper.Accumulate(sum, left, right);
        }

        return sum;
    }
}
