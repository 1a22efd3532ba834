namespace Hadal.Tensors.Operations.Checks;

/// <summary>Shapes and formats that <see cref="IQuantizationOperations"/> asks for.</summary>
static class QuantizationChecks
{
    public static void Stored(Tensor x, QuantizationFormat format, Tensor codes, Tensor scales, Tensor rowCount)
    {
        string? fault = format.Fault;
        Require.That(fault is null, $"A tensor cannot be stored as {format}: {fault}.");
        Require.That(format.Origin == ScaleOrigin.Current, $"A tensor cannot be stored as {format}: stored tensors have scales of their own values.");
        Require.Present(x);
        Require.That(codes.DType == format.StorageType && codes.Rows == x.Rows && codes.Columns == format.StorageColumns(x.Columns),
            $"codes are {codes}; {x} as {format} needs {format.StorageType}[{x.Rows}, {format.StorageColumns(x.Columns)}].");
        (int rows, int columns) = format.StorageScales(x.Rows, x.Columns);
        if (rows > 0) Require.Shape(scales, rows, columns);
        else Require.That(scales.IsEmpty, $"scales are {scales}; {format} has none.");
        Require.IntegersOrAbsent(rowCount, 1);
    }

    public static void Product(ProductFormat format)
    {
        string? fault = format.Fault;
        Require.That(fault is null, $"The product cannot be computed: {fault}.");
    }

    /// <summary>A weight that can be prepared: format, joined matrices, maxima.</summary>
    public static void Prepared(ReadOnlySpan<Tensor> groups, QuantizationFormat format, int matrixRows, Tensor maxima)
    {
        string? fault = format.Fault;
        Require.That(fault is null, $"A weight cannot be prepared as {format}: {fault}.");
        Require.That(matrixRows >= 0 && (matrixRows == 0 || groups[0].Rows % matrixRows == 0), $"A weight of {groups[0].Rows} outputs cannot be joined of matrices of {matrixRows} rows; matrixRows divides the outputs.");
        if (!maxima.IsEmpty) Require.That(maxima.DType == DType.F32 && maxima.IsContiguous && maxima.Length == 2L * groups.Length, $"maxima are {maxima}; {groups.Length} weights need F32[{groups.Length}, 2].");
    }

    /// <summary>Maxima of an operand.</summary>
    public static void Maxima(Tensor maxima)
    {
        if (!maxima.IsEmpty) Require.That(maxima.DType == DType.F32 && maxima.IsContiguous && maxima.Length is 1 or 2, $"maxima are {maxima}; an operand's are F32[1] or F32[2].");
    }

    public static void Weight(PreparedWeight weight, QuantizationFormat given, ProductFormat format)
    {
        Product(format);
        Require.That(given == format.Right, $"The weight was prepared as {given}; this product takes {format.Right}.");
    }
}
