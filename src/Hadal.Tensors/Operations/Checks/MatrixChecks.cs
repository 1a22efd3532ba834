namespace Hadal.Tensors.Operations.Checks;

/// <summary>Shapes that <see cref="IMatrixOperations"/> asks for; one method an operation.</summary>
static class MatrixChecks
{
    public static void Forward(Tensor x, PreparedWeight weight, Tensor y)
    {
        Require.That(weight.Groups.Length == 1, $"A plain product takes a weight of one group; this one has {weight.Groups.Length}.");
        Require.Shape(x, y.Rows, weight.Inputs);
        Require.Shape(y, x.Rows, weight.Outputs);
    }

    public static void BackwardInput(Tensor dy, PreparedWeight weight, Tensor dx)
    {
        Require.That(weight.Groups.Length == 1, $"A plain product takes a weight of one group; this one has {weight.Groups.Length}.");
        Require.Shape(dy, dx.Rows, weight.Outputs);
        Require.Shape(dx, dy.Rows, weight.Inputs);
    }

    public static void BackwardWeight(Tensor dy, Tensor x, Tensor dWeight)
    {
        Require.That(dy.Rows == x.Rows, $"dy is {dy} and x is {x}; expected as many rows in both.");
        Require.Shape(dWeight, dy.Columns, x.Columns);
    }

    public static void GroupedForward(Tensor x, Tensor offsets, PreparedWeight weight, Tensor y)
    {
        Require.Integers(offsets, weight.Groups.Length + 1);
        Require.Shape(x, y.Rows, weight.Inputs);
        Require.Shape(y, x.Rows, weight.Outputs);
    }

    public static void GroupedBackwardInput(Tensor dy, Tensor offsets, PreparedWeight weight, Tensor dx)
    {
        Require.Integers(offsets, weight.Groups.Length + 1);
        Require.Shape(dy, dx.Rows, weight.Outputs);
        Require.Shape(dx, dy.Rows, weight.Inputs);
    }

    public static void GroupedBackwardWeight(Tensor dy, Tensor x, Tensor offsets, Tensor dWeight)
    {
        Require.Rank(dWeight, 3);
        Require.Integers(offsets, dWeight[0] + 1);
        Require.That(dy.Rows == x.Rows && dy.Columns == dWeight[1] && x.Columns == dWeight[2],
            $"dy {dy} and x {x} do not give {dWeight}: expected [capacity, N], [capacity, K] and [groups, N, K].");
    }

    public static void BatchedForward(Tensor x, PreparedWeight weight, Tensor y)
    {
        Require.Rank(x, 3);
        Require.Rank(y, 3);
        Require.That(x[0] == y[0] && x[1] == y[1] && x[1] == weight.Groups.Length && x[2] == weight.Inputs && y[2] == weight.Outputs,
            $"x {x} and y {y} do not fit {weight.Groups.Length} groups of {weight.Outputs} outputs and {weight.Inputs} inputs.");
    }

    public static void BatchedBackwardInput(Tensor dy, PreparedWeight weight, Tensor dx)
    {
        Require.Rank(dy, 3);
        Require.Rank(dx, 3);
        Require.That(dx[0] == dy[0] && dx[1] == dy[1] && dx[1] == weight.Groups.Length && dx[2] == weight.Inputs && dy[2] == weight.Outputs,
            $"dy {dy} and dx {dx} do not fit {weight.Groups.Length} groups of {weight.Outputs} outputs and {weight.Inputs} inputs.");
    }
}
