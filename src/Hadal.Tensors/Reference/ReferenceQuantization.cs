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

    public PreparedWeight Prepare(ReadOnlySpan<Tensor> groups, ProductUses uses, QuantizationFormat format, int matrixRows = 0, Tensor maxima = default)
    {
        QuantizationChecks.Prepared(groups, format, matrixRows, maxima);
        var weight = new Views(groups, uses, format, matrixRows, maxima);
        Refresh(weight);
        return weight;
    }

    public void Refresh(PreparedWeight weight)
    {
        // Weights are quantised when they are used: always up to date. What was seen of them is told here.
        if (weight is not Views views) return;
        for (int g = 0; g < views.Groups.Length; g++)
        {
            Values values = Values.Read(views.Groups[g]);
            DelayedScale.Magnitude(views.Maxima(g), Largest(values, 0, values.Rows));
        }
    }

    public void Forward(Tensor x, PreparedWeight weight, ProductFormat format, Tensor y, bool accumulate = false, Tensor maxima = default)
    {
        MatrixChecks.Forward(x, weight, y);
        Values result = Values.For(y, accumulate), source = Values.Read(x);
        Multiply(Rows(source, 0, x.Rows, format.Left, Magnitude(source, 0, x.Rows, format.Left, maxima), 0), Weight(weight, 0, format, forward: true), format, result, 0);
        result.Store(y);
    }

    public void BackwardInput(Tensor dy, PreparedWeight weight, ProductFormat format, Tensor dx, bool accumulate = false, Tensor maxima = default)
    {
        MatrixChecks.BackwardInput(dy, weight, dx);
        Values result = Values.For(dx, accumulate), source = Values.Read(dy);
        Scaled left = Rows(source, 0, dy.Rows, format.Left, Magnitude(source, 0, dy.Rows, format.Left, maxima), MatrixRows(weight));
        Multiply(left, Weight(weight, 0, format, forward: false), format, result, 0);
        result.Store(dx);
    }

    public void BackwardWeight(Tensor dy, Tensor x, ProductFormat format, Tensor dWeight, bool accumulate, Tensor dyMaxima = default, Tensor xMaxima = default)
    {
        MatrixChecks.BackwardWeight(dy, x, dWeight);
        QuantizationChecks.Product(format);
        Values result = Values.For(dWeight, accumulate), gradient = Values.Read(dy), source = Values.Read(x);
        Multiply(
            Columns(gradient, 0, dy.Rows, format.Left, Magnitude(gradient, 0, dy.Rows, format.Left, dyMaxima), 0),
            Columns(source, 0, x.Rows, format.Right, Magnitude(source, 0, x.Rows, format.Right, xMaxima), 0), format, result, 0);
        result.Store(dWeight);
    }

    public void GroupedForward(Tensor x, Tensor offsets, PreparedWeight weight, ProductFormat format, Tensor y, Tensor maxima = default)
    {
        MatrixChecks.GroupedForward(x, offsets, weight, y);
        Grouped(x, offsets, weight, format, y, forward: true, maxima);
    }

    public void GroupedBackwardInput(Tensor dy, Tensor offsets, PreparedWeight weight, ProductFormat format, Tensor dx, Tensor maxima = default)
    {
        MatrixChecks.GroupedBackwardInput(dy, offsets, weight, dx);
        Grouped(dy, offsets, weight, format, dx, forward: false, maxima);
    }

    public void GroupedBackwardWeight(Tensor dy, Tensor x, Tensor offsets, ProductFormat format, Tensor dWeight, bool accumulate, Tensor dyMaxima = default, Tensor xMaxima = default)
    {
        MatrixChecks.GroupedBackwardWeight(dy, x, offsets, dWeight);
        QuantizationChecks.Product(format);
        Values result = Values.For(dWeight, accumulate), gradient = Values.Read(dy), source = Values.Read(x);
        int[] offset = ReferenceMatrix.ReadOffsets(offsets, x.Rows);
        float ofGradient = Magnitude(gradient, offset[0], offset[^1], format.Left, dyMaxima), ofSource = Magnitude(source, offset[0], offset[^1], format.Right, xMaxima);
        for (int g = 0; g + 1 < offset.Length; g++)
            Multiply(Columns(gradient, offset[g], offset[g + 1], format.Left, ofGradient, 0), Columns(source, offset[g], offset[g + 1], format.Right, ofSource, 0), format, result, g * dWeight[1]);
        result.Store(dWeight);
    }

    static void Grouped(Tensor from, Tensor offsets, PreparedWeight weight, ProductFormat format, Tensor to, bool forward, Tensor maxima)
    {
        Values source = Values.Read(from), result = Values.Read(to);
        int[] offset = ReferenceMatrix.ReadOffsets(offsets, from.Rows);
        float magnitude = Magnitude(source, offset[0], offset[^1], format.Left, maxima);
        for (int g = 0; g < weight.Groups.Length; g++)
        {
            for (int r = offset[g]; r < offset[g + 1]; r++) result.Row(r).Clear();
            Multiply(Rows(source, offset[g], offset[g + 1], format.Left, magnitude, forward ? 0 : MatrixRows(weight)), Weight(weight, g, format, forward), format, result, offset[g]);
        }

        result.Store(to);
    }

    static Scaled Weight(PreparedWeight weight, int group, ProductFormat format, bool forward)
    {
        var views = weight as Views;
        QuantizationChecks.Weight(weight, views?.Format ?? QuantizationFormat.F32, format);
        Values values = Values.Read(weight.Groups[group]);
        Span<float> maxima = views is null ? [] : views.Maxima(group);

        // Looking is not recording: only the first of the maxima is needed.
        float magnitude = DelayedScale.Magnitude(maxima.IsEmpty ? maxima : maxima[..1], Largest(values, 0, values.Rows));
        int matrix = MatrixRows(weight);
        return forward
            ? Scaled.Make(values.Rows, values.Columns, (o, d) => values[o, d], format.Right, magnitude, Sections.Of(values.Rows, matrix), Sections.Of(values.Columns, 0))
            : Columns(values, 0, values.Rows, format.Right, magnitude, matrix);
    }

    static int MatrixRows(PreparedWeight weight) => weight is Views { Format.Granularity: Granularity.Block } views ? views.MatrixRows : 0;

    static Scaled Rows(Values x, int start, int end, QuantizationFormat format, float magnitude, int matrix) =>
        Scaled.Make(end - start, x.Columns, (o, d) => x[start + o, d], format, magnitude, Sections.Of(end - start, 0), Sections.Of(x.Columns, matrix));

    static Scaled Columns(Values x, int start, int end, QuantizationFormat format, float magnitude, int matrix) =>
        Scaled.Make(x.Columns, end - start, (o, d) => x[start + d, o], format, magnitude, Sections.Of(x.Columns, 0), Sections.Of(end - start, matrix));

    /// <summary>What one scale of all rows is taken from.</summary>
    static float Magnitude(Values x, int start, int end, QuantizationFormat format, Tensor maxima)
    {
        QuantizationChecks.Maxima(maxima);
        return DelayedScale.Magnitude(DelayedScale.Of(format, maxima), Largest(x, start, end));
    }

    static float Largest(Values x, int start, int end)
    {
        float largest = 0;
        for (int r = start; r < end; r++)
            foreach (double value in x.Row(r)) largest = Math.Max(largest, Math.Abs((float)value));
        return largest;
    }

    /// <summary>result[firstRow + r, c] += Σ over the tiles of the contraction.</summary>
    static void Multiply(Scaled a, Scaled b, ProductFormat format, Values result, int firstRow)
    {
        bool core = format.Accumulation is Accumulation.TensorCore or Accumulation.TensorCorePromoted;
        bool promotes = format.Accumulation is Accumulation.Promoted or Accumulation.TensorCorePromoted;
        int tiles = promotes ? a.Tiles.Count : Math.Min(a.Depth, 1);
        for (int r = 0; r < a.Outer; r++)
        {
            ReadOnlySpan<double> left = a.Row(r);
            for (int c = 0; c < b.Outer; c++)
            {
                ReadOnlySpan<double> right = b.Row(c);
                double sum = result[firstRow + r, c];
                for (int tile = 0; tile < tiles; tile++)
                {
                    int start = promotes ? a.Tiles.Start(tile) : 0, length = promotes ? a.Tiles.Extent(tile) : a.Depth;
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
    sealed class Scaled(int outer, int depth, Sections tiles, double[] codes, float[] scales, bool hasScales)
    {
        public int Outer => outer;

        public int Depth => depth;

        /// <summary>Tiles of the contraction.</summary>
        public Sections Tiles => tiles;

        public ReadOnlySpan<double> Row(int o) => codes.AsSpan(o * depth, depth);

        public double Scale(int o, int d) => hasScales ? scales[(o * tiles.Count) + tiles.TileOf(d)] : 1;

        public static Scaled Make(int outer, int depth, Func<int, int, double> element, QuantizationFormat format, float magnitude, Sections outerBlocks, Sections tiles)
        {
            double[] codes = new double[outer * depth];
            for (int o = 0; o < outer; o++)
                for (int d = 0; d < depth; d++) codes[(o * depth) + d] = element(o, d);
            if (format.Number == NumberFormat.BF16)
                foreach (ref double code in codes.AsSpan()) code = BF16.FromDouble(code).ToSingle();
            if (format.Number != NumberFormat.E4M3) return new Scaled(outer, depth, tiles, codes, [], hasScales: false);

            // Largest magnitudes of what shares a scale: one row's tile, a block's rows, or everything.
            int Shared(int o) => format.Granularity == Granularity.Block ? outerBlocks.TileOf(o) : o;
            float[] largest = new float[outer * tiles.Count];
            for (int o = 0; o < outer; o++)
            {
                for (int d = 0; d < depth; d++)
                {
                    ref float entry = ref largest[(Shared(o) * tiles.Count) + tiles.TileOf(d)];
                    entry = format.Granularity == Granularity.Tensor ? magnitude : Math.Max(entry, Math.Abs((float)codes[(o * depth) + d]));
                }
            }

            float[] scales = new float[outer * tiles.Count];
            for (int o = 0; o < outer; o++)
                for (int t = 0; t < tiles.Count; t++) scales[(o * tiles.Count) + t] = TileScale.ForE4M3(largest[(Shared(o) * tiles.Count) + t], format.Scale);
            for (int o = 0; o < outer; o++)
            {
                for (int d = 0; d < depth; d++)
                {
                    float scale = scales[(o * tiles.Count) + tiles.TileOf(d)];
                    ref double code = ref codes[(o * depth) + d];
                    code = float.IsNaN(scale) ? 0 : E4M3.FromSingle((float)code / scale).ToSingle();
                }
            }

            return new Scaled(outer, depth, tiles, codes, scales, hasScales: true);
        }
    }

    sealed class Views(ReadOnlySpan<Tensor> groups, ProductUses uses, QuantizationFormat format, int matrixRows, Tensor maxima) : PreparedWeight(groups, uses)
    {
        public QuantizationFormat Format => format;

        public int MatrixRows => matrixRows;

        /// <summary>Of one group; empty with current scales.</summary>
        public Span<float> Maxima(int group)
        {
            Span<float> all = DelayedScale.Of(format, maxima);
            return all.IsEmpty ? all : all.Slice(2 * group, 2);
        }

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
