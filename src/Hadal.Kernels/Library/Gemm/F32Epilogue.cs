using Hadal.Kernels.Dsl;

namespace Hadal.Kernels.Library.Gemm;

/// <summary>
/// Stores fragments to a float32 matrix, or adds them to it, straight from the registers: the four threads of a row's 8 columns cover one 32-byte sector.
/// Where the row length is odd, elements go one by one.
/// </summary>
sealed class F32Epilogue
{
    readonly ConsumerScope _scope;
    readonly U64 _d;
    readonly int _columns, _tileN;
    readonly bool _columnTail, _accumulate;

    /// <param name="scope">The multiplying warpgroups.</param>
    /// <param name="d">The matrix, dense rows.</param>
    /// <param name="columns">Columns of a row.</param>
    /// <param name="tileN">Columns of a fragment.</param>
    /// <param name="columnTail">A fragment may reach beyond the last column.</param>
    /// <param name="accumulate">Adds instead of storing.</param>
    public F32Epilogue(ConsumerScope scope, U64 d, int columns, int tileN, bool columnTail, bool accumulate) =>
        (_scope, _d, _columns, _tileN, _columnTail, _accumulate) = (scope, d, columns, tileN, columnTail, accumulate);

    /// <summary>Writes a fragment whose first row is <paramref name="firstRow"/>; rows from <paramref name="rowEnd"/> on, when given, are left out.</summary>
    public void Write(Fragment tile, U32 firstRow, U32 column, U32? rowEnd)
    {
        U32 row = firstRow + _scope.FragmentRow(), at = column + ((_scope.Lane & 3) << 1);
        U64 address = _d + row.MultiplyWide(_columns * 4) + at.MultiplyWide(4);
        for (int half = 0; half < 2; half++)
        {
            Predicate? rowInside = rowEnd is { } end ? row + 8 * half < end : null;
            for (int group = 0; group < _tileN / 8; group++)
            {
                int element = 4 * group + 2 * half;
                long offset = ((long)8 * half * _columns + 8 * group) * 4;
                F32[] pair = [tile.Element(element), tile.Element(element + 1)];
                if (_columns % 2 == 0) Write(address, pair, offset, Inside(rowInside, at + 8 * group));
                else
                    for (int e = 0; e < 2; e++) Write(address, [pair[e]], offset + 4 * e, Inside(rowInside, at + (8 * group + e)));
            }
        }
    }

    void Write(U64 address, ReadOnlySpan<F32> numbers, long offset, Predicate? where)
    {
        if (_accumulate) _scope.Add(address, numbers, offset, where);
        else _scope.Store(address, numbers, offset, where: where);
    }

    Predicate? Inside(Predicate? row, U32 column)
    {
        if (!_columnTail) return row;
        Predicate inside = column < _scope.Constant(_columns);
        return row is { } r ? r & inside : inside;
    }
}
