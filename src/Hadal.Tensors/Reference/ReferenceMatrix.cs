using Hadal.Tensors.Operations;
using Hadal.Tensors.Operations.Checks;

namespace Hadal.Tensors.Reference;

/// <summary>Products with weights: three loops in double, the contraction index ascending.</summary>
sealed class ReferenceMatrix : IMatrixOperations
{
    public PreparedWeight Prepare(ReadOnlySpan<Tensor> groups, ProductUses uses) => new Views(groups, uses);

    public void Refresh(PreparedWeight weight)
    {
        // The prepared form is the views themselves: always up to date.
    }

    public void Forward(Tensor x, PreparedWeight weight, Tensor y, bool accumulate = false)
    {
        MatrixChecks.Forward(x, weight, y);
        Values result = Values.For(y, accumulate);
        TimesTransposed(Values.Read(x), 0, x.Rows, 1, Values.Read(weight.Groups[0]), result);
        result.Store(y);
    }

    public void BackwardInput(Tensor dy, PreparedWeight weight, Tensor dx, bool accumulate = false)
    {
        MatrixChecks.BackwardInput(dy, weight, dx);
        Values result = Values.For(dx, accumulate);
        Times(Values.Read(dy), 0, dy.Rows, 1, Values.Read(weight.Groups[0]), result);
        result.Store(dx);
    }

    public void BackwardWeight(Tensor dy, Tensor x, Tensor dWeight, bool accumulate)
    {
        MatrixChecks.BackwardWeight(dy, x, dWeight);
        Values result = Values.For(dWeight, accumulate);
        AddOuterProducts(Values.Read(dy), Values.Read(x), 0, x.Rows, result, 0);
        result.Store(dWeight);
    }

    public void GroupedForward(Tensor x, Tensor offsets, PreparedWeight weight, Tensor y)
    {
        MatrixChecks.GroupedForward(x, offsets, weight, y);
        Values source = Values.Read(x), result = Values.Read(y);
        int[] offset = ReadOffsets(offsets, x.Rows);
        for (int g = 0; g < weight.Groups.Length; g++)
        {
            Clear(result, offset[g], offset[g + 1]);
            TimesTransposed(source, offset[g], offset[g + 1], 1, Values.Read(weight.Groups[g]), result);
        }

        result.Store(y);
    }

    public void GroupedBackwardInput(Tensor dy, Tensor offsets, PreparedWeight weight, Tensor dx)
    {
        MatrixChecks.GroupedBackwardInput(dy, offsets, weight, dx);
        Values source = Values.Read(dy), result = Values.Read(dx);
        int[] offset = ReadOffsets(offsets, dy.Rows);
        for (int g = 0; g < weight.Groups.Length; g++)
        {
            Clear(result, offset[g], offset[g + 1]);
            Times(source, offset[g], offset[g + 1], 1, Values.Read(weight.Groups[g]), result);
        }

        result.Store(dx);
    }

    public void GroupedBackwardWeight(Tensor dy, Tensor x, Tensor offsets, Tensor dWeight, bool accumulate)
    {
        MatrixChecks.GroupedBackwardWeight(dy, x, offsets, dWeight);
        Values gradient = Values.Read(dy), source = Values.Read(x), result = Values.For(dWeight, accumulate);
        int[] offset = ReadOffsets(offsets, x.Rows);
        for (int g = 0; g < dWeight[0]; g++) AddOuterProducts(gradient, source, offset[g], offset[g + 1], result, g * dWeight[1]);
        result.Store(dWeight);
    }

    public void BatchedForward(Tensor x, PreparedWeight weight, Tensor y)
    {
        MatrixChecks.BatchedForward(x, weight, y);
        Values source = Values.Read(x);
        var result = new Values(y.Rows, y.Columns);
        for (int g = 0; g < weight.Groups.Length; g++)
            TimesTransposed(source, g, x.Rows, weight.Groups.Length, Values.Read(weight.Groups[g]), result);
        result.Store(y);
    }

    public void BatchedBackwardInput(Tensor dy, PreparedWeight weight, Tensor dx)
    {
        MatrixChecks.BatchedBackwardInput(dy, weight, dx);
        Values source = Values.Read(dy);
        var result = new Values(dx.Rows, dx.Columns);
        for (int g = 0; g < weight.Groups.Length; g++)
            Times(source, g, dy.Rows, weight.Groups.Length, Values.Read(weight.Groups[g]), result);
        result.Store(dx);
    }

    /// <summary>y[m, n] += Σ_k x[m, k]·W[n, k] for rows start, start + step, … below end.</summary>
    static void TimesTransposed(Values x, int start, int end, int step, Values weight, Values y)
    {
        for (int m = start; m < end; m += step)
        {
            ReadOnlySpan<double> row = x.Row(m);
            for (int n = 0; n < weight.Rows; n++)
            {
                ReadOnlySpan<double> w = weight.Row(n);
                double sum = y[m, n];
                for (int k = 0; k < row.Length; k++) sum += row[k] * w[k];
                y[m, n] = sum;
            }
        }
    }

    /// <summary>dx[m, k] += Σ_n dy[m, n]·W[n, k] for rows start, start + step, … below end.</summary>
    static void Times(Values dy, int start, int end, int step, Values weight, Values dx)
    {
        for (int m = start; m < end; m += step)
        {
            Span<double> result = dx.Row(m);
            for (int n = 0; n < weight.Rows; n++)
            {
                ReadOnlySpan<double> w = weight.Row(n);
                double factor = dy[m, n];
                for (int k = 0; k < result.Length; k++) result[k] += factor * w[k];
            }
        }
    }

    /// <summary>dW[firstRow + n, k] += Σ_m dy[m, n]·x[m, k] for rows start to end.</summary>
    static void AddOuterProducts(Values dy, Values x, int start, int end, Values dWeight, int firstRow)
    {
        for (int m = start; m < end; m++)
        {
            ReadOnlySpan<double> row = x.Row(m);
            for (int n = 0; n < dy.Columns; n++)
            {
                Span<double> result = dWeight.Row(firstRow + n);
                double factor = dy[m, n];
                for (int k = 0; k < row.Length; k++) result[k] += factor * row[k];
            }
        }
    }

    static void Clear(Values values, int start, int end)
    {
        for (int row = start; row < end; row++) values.Row(row).Clear();
    }

    internal static int[] ReadOffsets(Tensor offsets, int capacity)
    {
        int[] offset = Values.ReadIntegers(offsets);
        for (int g = 1; g < offset.Length; g++)
            Require.That(offset[g] >= offset[g - 1], $"Group offsets descend from {offset[g - 1]} to {offset[g]} at group {g}.");
        Require.That(offset[0] >= 0 && offset[^1] <= capacity, $"Group offsets run from {offset[0]} to {offset[^1]}; the buffer holds {capacity} rows.");
        return offset;
    }

    sealed class Views(ReadOnlySpan<Tensor> groups, ProductUses uses) : PreparedWeight(groups, uses)
    {
        protected override void Dispose(bool disposing)
        {
            // Nothing was copied.
        }
    }
}
