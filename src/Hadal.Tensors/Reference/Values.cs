namespace Hadal.Tensors.Reference;

/// <summary>
/// A tensor's elements as doubles, [rows, columns] of its flattened view. Operands are read into it whole before anything is stored, so an
/// output may be the same tensor as an input.
/// </summary>
sealed class Values
{
    readonly double[] _elements;

    /// <summary>Zeros.</summary>
    public Values(int rows, int columns)
    {
        Rows = rows;
        Columns = columns;
        _elements = new double[checked(rows * columns)];
    }

    public int Rows { get; }

    public int Columns { get; }

    public int Length => _elements.Length;

    /// <summary>Element <paramref name="column"/> of row <paramref name="row"/>.</summary>
    public ref double this[int row, int column] => ref _elements[(row * Columns) + column];

    /// <summary>Element by its place in the flattened tensor.</summary>
    public ref double this[int place] => ref _elements[place];

    /// <summary>One row.</summary>
    public Span<double> Row(int row) => _elements.AsSpan(row * Columns, Columns);

    /// <summary>All elements of <paramref name="tensor"/>, exactly.</summary>
    public static Values Read(Tensor tensor)
    {
        var values = new Values(tensor.Rows, tensor.Columns);
        for (int row = 0; row < tensor.Rows; row++) ElementConversion.Load(tensor, row, values.Row(row));
        return values;
    }

    /// <summary>Zeros to be computed, or with <paramref name="accumulate"/> what <paramref name="output"/> already holds.</summary>
    public static Values For(Tensor output, bool accumulate) => accumulate ? Read(output) : new Values(output.Rows, output.Columns);

    /// <summary>The elements of an I32 tensor.</summary>
    public static int[] ReadIntegers(Tensor tensor) => tensor.AsSpan<int>().ToArray();

    /// <summary>Writes the elements, each rounded once to the element type of <paramref name="tensor"/>.</summary>
    public void Store(Tensor tensor)
    {
        for (int row = 0; row < Rows; row++) ElementConversion.Store(Row(row), tensor, row);
    }
}
