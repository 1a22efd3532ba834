namespace Hadal.Tensors.Operations.Checks;

/// <summary>Shapes that <see cref="IElementwiseOperations"/> asks for; one method an operation.</summary>
static class ElementwiseChecks
{
    public static void Copy(Tensor x, Tensor y)
    {
        Require.Present(x);
        if (x.DType == DType.I32 || y.DType == DType.I32)
            Require.That(x.DType == y.DType && x.Rows == y.Rows && x.Columns == y.Columns, $"Integers are copied to integers of the same shape; {x} to {y} was asked.");
        else
            Require.Shape(y, x.Rows, x.Columns);
    }

    public static void Add(Tensor a, Tensor b, Tensor y)
    {
        Require.Shape(a, y.Rows, y.Columns);
        Require.Shape(b, y.Rows, y.Columns);
    }

    public static void Scale(Tensor x, Tensor y) => Require.Shape(y, x.Rows, x.Columns);

    public static void RepeatRows(Tensor x, int repeatEach, Tensor y)
    {
        Require.Shape(y, y.Rows, x.Columns);
        Require.That(repeatEach >= 0, $"repeatEach is {repeatEach}; expected 0 (cycle over the rows) or the number of copies.");
        Require.That(repeatEach == 0 || y.Rows <= (long)x.Rows * repeatEach, $"{y} has more rows than {repeatEach} copies of each row of {x}.");
        Require.That(x.Rows > 0 || y.Rows == 0, $"{x} has no rows to repeat.");
    }

    public static void SumRowGroups(Tensor x, int groupSize, Tensor y)
    {
        Require.That(groupSize > 0, $"groupSize is {groupSize}; expected at least 1.");
        Require.That(x.Columns == y.Columns && x.Rows == (long)y.Rows * groupSize, $"{x} in groups of {groupSize} rows does not give {y}.");
    }

    public static void RmsNorm(Tensor x, Tensor weight, Tensor y, Tensor inverseRms)
    {
        Require.Vector(weight, x.Columns);
        Require.Shape(y, x.Rows, x.Columns);
        Require.VectorOrAbsent(inverseRms, x.Rows);
    }

    public static void RmsNormBackwardInput(Tensor dy, Tensor x, Tensor weight, Tensor inverseRms, Tensor dx)
    {
        Require.Shape(dy, x.Rows, x.Columns);
        Require.Vector(weight, x.Columns);
        Require.Vector(inverseRms, x.Rows);
        Require.Shape(dx, x.Rows, x.Columns);
    }

    public static void RmsNormBackwardWeight(Tensor dy, Tensor x, Tensor inverseRms, Tensor dWeight)
    {
        Require.Shape(dy, x.Rows, x.Columns);
        Require.Vector(inverseRms, x.Rows);
        Require.Vector(dWeight, x.Columns);
    }

    public static void Rope(Tensor x, Tensor positions, Tensor table, Tensor y)
    {
        Require.That(x.Rank is 2 or 3, $"x is {x}; expected [tokens, heads, dim] or [tokens, dim].");
        Require.Integers(positions, x[0]);
        Require.Shape(y, x.Rows, x.Columns);
        Require.Shape(table, table.Rows, x.Columns);
        Require.That(x.Columns % 2 == 0, $"x is {x}; rotated dimensions come in pairs.");
    }

    public static void SwiGlu(Tensor gateUp, Tensor rowWeight, Tensor rowCount, Tensor y)
    {
        Require.Shape(gateUp, y.Rows, 2 * y.Columns);
        Require.VectorOrAbsent(rowWeight, y.Rows);
        Require.IntegersOrAbsent(rowCount, 1);
    }

    public static void SwiGluBackward(Tensor dy, Tensor gateUp, Tensor rowWeight, Tensor rowCount, Tensor dGateUp, Tensor dRowWeight)
    {
        Require.Shape(gateUp, dy.Rows, 2 * dy.Columns);
        Require.Shape(dGateUp, dy.Rows, 2 * dy.Columns);
        Require.VectorOrAbsent(rowWeight, dy.Rows);
        Require.IntegersOrAbsent(rowCount, 1);
        Require.VectorOrAbsent(dRowWeight, dy.Rows);
    }
}
