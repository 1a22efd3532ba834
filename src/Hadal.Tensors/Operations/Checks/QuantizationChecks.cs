namespace Hadal.Tensors.Operations.Checks;

/// <summary>Shapes and formats that <see cref="IQuantizationOperations"/> asks for.</summary>
static class QuantizationChecks
{
    public static void Stored(Tensor x, QuantizationFormat format, Tensor codes, Tensor scales, Tensor rowCount)
    {
        string? fault = format.Fault;
        Require.That(fault is null, $"A tensor cannot be stored as {format}: {fault}.");
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

    public static void Weight(PreparedWeight weight, QuantizationFormat given, ProductFormat format)
    {
        Product(format);
        Require.That(given == format.Right, $"The weight was prepared as {given}; this product takes {format.Right}.");
    }
}
