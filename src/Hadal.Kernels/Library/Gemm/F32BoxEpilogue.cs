using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Gemm;

/// <summary>
/// Adds fragments to a float32 matrix through shared memory: a warp lays its 16 rows down in boxes of 32 columns (128-byte swizzle), one of its lanes starts TMA to add
/// them, and the warp goes on. The buffer holds one fragment of each warp; the next one waits until TMA has read it.
/// </summary>
sealed class F32BoxEpilogue
{
    const int BoxRows = 16, BoxColumns = 32, BoxBytes = BoxRows * BoxColumns * 4;
    readonly ConsumerScope _scope;
    readonly TensorMap _d;
    readonly int _boxes;
    readonly U32 _buffer, _element;

    public F32BoxEpilogue(KernelScope kernel, ConsumerScope scope, TensorMap d, int tileN, SharedRegion buffers)
    {
        (_scope, _d, _boxes) = (scope, d, tileN / BoxColumns);
        U32 lane = scope.Lane, row = lane >> 2;
        _buffer = scope.Address(buffers) + kernel.Warp * (_boxes * BoxBytes);

        // Row l/4, columns 2(l mod 4), +1: 16-byte piece (l mod 4) / 2 before the swizzle. Eight rows further the swizzle is the same.
        _element = _buffer + (row << 7) + ((((lane >> 1) & 1) ^ row) << 4) + ((lane & 1) << 3);
    }

    /// <summary>The map of D: boxes as this epilogue lays them down.</summary>
    public static TensorMap Map(KernelScope kernel, string name) => kernel.TensorMap(name, ElementType.F32, BoxRows, BoxColumns, Swizzle.Bytes128);

    /// <summary>Bytes of shared memory the multiplying warps need, 1024-byte aligned.</summary>
    public static int SharedBytes(int warpgroups, int tileN) => 4 * warpgroups * (tileN / BoxColumns) * BoxBytes;

    /// <summary>Adds a fragment whose first row is <paramref name="firstRow"/>; boxes of 16 rows from <paramref name="rowEnd"/> on, when given, are left out.</summary>
    public void Add(Fragment tile, U32 firstRow, U32 column, U32? rowEnd)
    {
        Predicate elected = _scope.Lane.Is(0);
        _scope.If(elected, () => _scope.WaitForBoxes(readOnly: true));
        _scope.WarpSync();
        for (int group = 0; group < _boxes * BoxColumns / 8; group++)
        {
            U32 address = _element ^ (group % 4 << 5);
            for (int half = 0; half < 2; half++)
            {
                int element = 4 * group + 2 * half;
                _scope.StoreShared<F32>(address, [tile.Element(element), tile.Element(element + 1)], group / 4 * BoxBytes + half * 1024);
            }
        }

        _scope.FenceProxyAsync();
        _scope.WarpSync();
        U32 row = firstRow + (_scope.Warp << 4);
        Predicate issues = rowEnd is { } end ? elected & row < end : elected;
        _scope.If(issues, () =>
        {
            for (int box = 0; box < _boxes; box++) _scope.AddBox(_d, _buffer + box * BoxBytes, column + box * BoxColumns, row);
            _scope.CommitBoxes();
        });
        _scope.WarpSync();
    }

    /// <summary>Waits until all that this warp has added is in D.</summary>
    public void Finish()
    {
        _scope.If(_scope.Lane.Is(0), () => _scope.WaitForBoxes(readOnly: false));
        _scope.WarpSync();
    }
}
