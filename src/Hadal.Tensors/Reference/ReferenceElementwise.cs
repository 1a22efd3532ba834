using Hadal.Tensors.Operations;
using Hadal.Tensors.Operations.Checks;

namespace Hadal.Tensors.Reference;

/// <summary>Element by element and row by row, in double.</summary>
sealed class ReferenceElementwise : IElementwiseOperations
{
    public void Copy(Tensor x, Tensor y)
    {
        ElementwiseChecks.Copy(x, y);
        if (x.DType != DType.I32)
        {
            Values.Read(x).Store(y);
            return;
        }

        for (int row = 0; row < x.Rows; row++) x.Row<int>(row).CopyTo(y.Row<int>(row));
    }

    public void Fill(Tensor y, double value)
    {
        Require.Present(y);
        if (y.DType == DType.I32)
        {
            for (int row = 0; row < y.Rows; row++) y.Row<int>(row).Fill(checked((int)value));
            return;
        }

        var filled = new Values(y.Rows, y.Columns);
        for (int i = 0; i < filled.Length; i++) filled[i] = value;
        filled.Store(y);
    }

    public void Add(Tensor a, Tensor b, Tensor y)
    {
        ElementwiseChecks.Add(a, b, y);
        Values left = Values.Read(a), right = Values.Read(b);
        for (int i = 0; i < left.Length; i++) left[i] += right[i];
        left.Store(y);
    }

    public void Scale(Tensor x, double factor, Tensor y)
    {
        ElementwiseChecks.Scale(x, y);
        Values values = Values.Read(x);
        for (int i = 0; i < values.Length; i++) values[i] *= factor;
        values.Store(y);
    }

    public void RepeatRows(Tensor x, int repeatEach, Tensor y)
    {
        ElementwiseChecks.RepeatRows(x, repeatEach, y);
        Values source = Values.Read(x);
        var result = new Values(y.Rows, y.Columns);
        for (int row = 0; row < y.Rows; row++)
            source.Row(repeatEach > 0 ? row / repeatEach : row % x.Rows).CopyTo(result.Row(row));
        result.Store(y);
    }

    public void SumRowGroups(Tensor x, int groupSize, Tensor y, bool accumulate)
    {
        ElementwiseChecks.SumRowGroups(x, groupSize, y);
        Values source = Values.Read(x), result = Values.For(y, accumulate);
        for (int row = 0; row < x.Rows; row++)
            for (int c = 0; c < x.Columns; c++) result[row / groupSize, c] += source[row, c];
        result.Store(y);
    }

    public void RmsNorm(Tensor x, Tensor weight, double epsilon, Tensor y, Tensor inverseRms)
    {
        ElementwiseChecks.RmsNorm(x, weight, y, inverseRms);
        Values values = Values.Read(x), w = Values.Read(weight);
        var inverse = new Values(1, x.Rows);
        for (int r = 0; r < x.Rows; r++)
        {
            double sumOfSquares = 0;
            for (int c = 0; c < x.Columns; c++) sumOfSquares += values[r, c] * values[r, c];
            inverse[r] = 1 / Math.Sqrt((sumOfSquares / x.Columns) + epsilon);
            for (int c = 0; c < x.Columns; c++) values[r, c] *= inverse[r] * w[c];
        }

        values.Store(y);
        if (!inverseRms.IsEmpty) inverse.Store(inverseRms.Reshape(x.Rows));
    }

    public void RmsNormBackwardInput(Tensor dy, Tensor x, Tensor weight, Tensor inverseRms, Tensor dx, bool accumulate)
    {
        ElementwiseChecks.RmsNormBackwardInput(dy, x, weight, inverseRms, dx);
        Values gradient = Values.Read(dy), values = Values.Read(x), w = Values.Read(weight), inverse = Values.Read(inverseRms);
        Values result = Values.For(dx, accumulate);
        for (int r = 0; r < x.Rows; r++)
        {
            double mean = 0;
            for (int c = 0; c < x.Columns; c++) mean += gradient[r, c] * w[c] * values[r, c] / x.Columns;
            for (int c = 0; c < x.Columns; c++)
                result[r, c] += inverse[r] * ((gradient[r, c] * w[c]) - (values[r, c] * inverse[r] * inverse[r] * mean));
        }

        result.Store(dx);
    }

    public void RmsNormBackwardWeight(Tensor dy, Tensor x, Tensor inverseRms, Tensor dWeight, bool accumulate)
    {
        ElementwiseChecks.RmsNormBackwardWeight(dy, x, inverseRms, dWeight);
        Values gradient = Values.Read(dy), values = Values.Read(x), inverse = Values.Read(inverseRms), result = Values.For(dWeight, accumulate);
        for (int r = 0; r < x.Rows; r++)
            for (int c = 0; c < x.Columns; c++) result[c] += gradient[r, c] * values[r, c] * inverse[r];
        result.Store(dWeight);
    }

    public void Rope(Tensor x, Tensor positions, Tensor table, bool inverse, Tensor y)
    {
        ElementwiseChecks.Rope(x, positions, table, y);
        Values values = Values.Read(x), angles = Values.Read(table);
        int[] position = Values.ReadIntegers(positions);
        int rowsPerToken = x.Rank == 3 ? x[1] : 1;
        for (int row = 0; row < x.Rows; row++)
        {
            int p = position[row / rowsPerToken];
            Require.That((uint)p < (uint)table.Rows, $"Position {p} is outside the table of {table.Rows} positions.");
            for (int pair = 0; pair < x.Columns; pair += 2)
            {
                double cos = angles[p, pair], sin = inverse ? -angles[p, pair + 1] : angles[p, pair + 1];
                (double a, double b) = (values[row, pair], values[row, pair + 1]);
                values[row, pair] = (a * cos) - (b * sin);
                values[row, pair + 1] = (a * sin) + (b * cos);
            }
        }

        values.Store(y);
    }

    public void SwiGlu(Tensor gateUp, Tensor rowWeight, Tensor rowCount, Tensor y)
    {
        ElementwiseChecks.SwiGlu(gateUp, rowWeight, rowCount, y);
        int rows = RowsInUse(rowCount, y.Rows), intermediate = y.Columns;
        if (rows == 0) return;
        Values source = Values.Read(gateUp.Reshape(y.Rows, 2 * intermediate).Slice(0, rows));
        Values? weight = rowWeight.IsEmpty ? null : Values.Read(rowWeight);
        var result = new Values(rows, intermediate);
        for (int r = 0; r < rows; r++)
            for (int i = 0; i < intermediate; i++)
                result[r, i] = source[r, i] * Sigmoid(source[r, i]) * source[r, intermediate + i] * (weight is null ? 1 : weight[r]);
        result.Store(y.Reshape(y.Rows, intermediate).Slice(0, rows));
    }

    public void SwiGluBackward(Tensor dy, Tensor gateUp, Tensor rowWeight, Tensor rowCount, Tensor dGateUp, Tensor dRowWeight)
    {
        ElementwiseChecks.SwiGluBackward(dy, gateUp, rowWeight, rowCount, dGateUp, dRowWeight);
        int rows = RowsInUse(rowCount, dy.Rows), intermediate = dy.Columns;
        if (rows == 0) return;
        Values source = Values.Read(gateUp.Reshape(dy.Rows, 2 * intermediate).Slice(0, rows));
        Values gradient = Values.Read(dy.Reshape(dy.Rows, intermediate).Slice(0, rows));
        Values? weight = rowWeight.IsEmpty ? null : Values.Read(rowWeight);
        Values result = new(rows, 2 * intermediate), weightResult = new(1, rows);
        for (int r = 0; r < rows; r++)
        {
            for (int i = 0; i < intermediate; i++)
            {
                double gate = source[r, i], up = source[r, intermediate + i], sigmoid = Sigmoid(gate), silu = gate * sigmoid;
                double weighted = gradient[r, i] * (weight is null ? 1 : weight[r]);
                result[r, i] = weighted * up * (sigmoid + (silu * (1 - sigmoid)));
                result[r, intermediate + i] = weighted * silu;
                weightResult[r] += gradient[r, i] * silu * up;
            }
        }

        result.Store(dGateUp.Reshape(dy.Rows, 2 * intermediate).Slice(0, rows));
        if (!dRowWeight.IsEmpty) weightResult.Store(dRowWeight.Reshape(dy.Rows).Slice(0, rows));
    }

    /// <summary>1/(1 + e^−x).</summary>
    internal static double Sigmoid(double x) => 1 / (1 + Math.Exp(-x));

    /// <summary>The rows that exist in a worst-case buffer.</summary>
    internal static int RowsInUse(Tensor rowCount, int capacity)
    {
        if (rowCount.IsEmpty) return capacity;
        int rows = rowCount.AsSpan<int>()[0];
        Require.That((uint)rows <= (uint)capacity, $"rowCount is {rows}; the buffer holds {capacity} rows.");
        return rows;
    }
}
