using System.Numerics;
using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Gemm;

/// <summary>
/// Rounds fragments to BF16 and stores them. Each warp turns its 16 rows by 64 columns through 2 KB of shared memory of its own (stmatrix, 16-byte pieces XORed
/// with the row against bank conflicts), so that rows leave in 16-byte pieces. Where N is no multiple of 8 rows are not 16-byte aligned: elements leave one by one.
/// </summary>
sealed class Bf16Epilogue : IEpilogue
{
    const int BufferBytes = 16 * 128;
    readonly ConsumerScope _scope;
    readonly U64 _d;
    readonly int _n, _tileN;
    readonly bool _columnTail;
    readonly U32 _buffer, _matrixRow;

    public Bf16Epilogue(KernelScope kernel, ConsumerScope scope, U64 d, GemmShape shape, GemmConfig config, SharedRegion buffers)
    {
        (_scope, _d, _n, _tileN) = (scope, d, shape.N, config.TileN);
        _columnTail = shape.N % (config.TileN * config.Cluster) != 0;
        U32 lane = scope.Lane;
        _buffer = scope.Address(buffers) + kernel.Warp * BufferBytes;
        _matrixRow = _buffer + ((lane & 15) << 7) + (((lane >> 4) ^ (lane & 7)) << 4);
    }

    /// <summary>Bytes of shared memory: of warpgroups that share chunks of K only the first ones store.</summary>
    public static int SharedBytes(GemmConfig config) => 4 * config.RowWarpgroups * BufferBytes;

    /// <inheritdoc/>
    public void Store(int wave, Fragment tile, U32 firstRow, U32 column, U32 rowEnd) => Store(tile.Pack, firstRow, column, rowEnd);

    /// <summary>Stores a fragment of which a function gives elements e and e + 1 as BF16.</summary>
    public void Store(Func<int, U32> tile, U32 firstRow, U32 column, U32 rowEnd)
    {
        U32 warpRow = firstRow + (_scope.Warp << 4);
        if (_n % 8 == 0) StorePieces(tile, warpRow, column, rowEnd);
        else StoreElements(tile, warpRow, column, rowEnd);
    }

    /// <inheritdoc/>
    public void Finish()
    {
        // Plain stores are complete when the kernel ends.
    }

    void StorePieces(Func<int, U32> tile, U32 warpRow, U32 column, U32 rowEnd)
    {
        U64 corner = _d + warpRow.MultiplyWide(_n * 2) + column.MultiplyWide(2);
        int columns;
        for (int first = 0; first < _tileN; first += columns)
        {
            // A power of two, so that a warp's lanes divide among whole rows.
            columns = Math.Min(64, 1 << BitOperations.Log2((uint)(_tileN - first)));
            int pieces = columns / 8, rowsAtOnce = 32 / pieces;
            _scope.WarpSync();
            for (int piece = 0; piece < pieces; piece += 2)
            {
                // An odd last piece goes twice: its second place is not read.
                int e = 4 * (first / 8 + piece), next = piece + 1 < pieces ? e + 4 : e;
                _scope.StoreMatrix(_matrixRow ^ (piece << 4), tile(e), tile(e + 2), tile(next), tile(next + 2));
            }

            _scope.WarpSync();
            U32 laneRow = _scope.Lane >> BitOperations.Log2((uint)pieces), lanePiece = _scope.Lane & (pieces - 1);
            U64 address = corner + laneRow.MultiplyWide(_n * 2) + lanePiece.MultiplyWide(16);
            for (int row = 0; row < 16; row += rowsAtOnce)
            {
                // With one piece a row, half the lanes have nothing to store.
                U32 bufferRow = rowsAtOnce > 16 ? laneRow & 15 : laneRow + row;
                U32 from = _buffer + (bufferRow << 7) + ((lanePiece ^ (bufferRow & 7)) << 4);
                U32[] piece = _scope.LoadShared<U32>(4, from);
                Predicate inside = warpRow + laneRow + row < rowEnd;
                if (rowsAtOnce > 16) inside &= laneRow < _scope.Constant(16);
                if (_columnTail) inside &= column + (lanePiece << 3) + first < _scope.Constant(_n);
                _scope.Store<U32>(address, piece, ((long)row * _n + first) * 2, where: inside);
            }
        }
    }

    void StoreElements(Func<int, U32> tile, U32 warpRow, U32 column, U32 rowEnd)
    {
        U32 row = warpRow + (_scope.Lane >> 2), at = column + ((_scope.Lane & 3) << 1);
        U64 address = _d + row.MultiplyWide(_n * 2) + at.MultiplyWide(2);
        for (int half = 0; half < 2; half++)
        {
            Predicate rowInside = row + 8 * half < rowEnd;
            for (int group = 0; group < _tileN / 8; group++)
            {
                U32 pair = tile(4 * group + 2 * half);
                long offset = ((long)8 * half * _n + 8 * group) * 2;
                for (int e = 0; e < 2; e++)
                    _scope.StoreHalf(address, pair, e == 1, offset + 2 * e, rowInside & at + (8 * group + e) < _scope.Constant(_n));
            }
        }
    }
}

/// <summary>Takes finished 64-row fragments to global memory.</summary>
interface IEpilogue
{
    /// <summary>Stores a fragment of the wave whose first row of this warpgroup is <paramref name="firstRow"/>; rows from <paramref name="rowEnd"/> on are left out.</summary>
    void Store(int wave, Fragment tile, U32 firstRow, U32 column, U32 rowEnd);

    /// <summary>After the last tile: waits for what is under way.</summary>
    void Finish();
}

/// <summary>
/// Rounds fragments to BF16 and hands them to the copy engine: each warp has 16 rows of the whole tile in shared memory, in boxes of 64 columns, and its first lane
/// starts their copies. The warp goes on at once; it waits only when it needs the same buffer again, one tile later. Rows and columns outside D are dropped by the
/// engine, so all rows of D belong to the product: dense only.
/// </summary>
sealed class Bf16BoxEpilogue : IEpilogue
{
    const int BoxBytes = 16 * 128;
    readonly KernelScope _kernel;
    readonly ConsumerScope _scope;
    readonly TensorMap _d;
    readonly GemmConfig _config;
    readonly U32 _buffers, _matrixRow;

    public Bf16BoxEpilogue(KernelScope kernel, ConsumerScope scope, TensorMap d, GemmConfig config, SharedRegion buffers)
    {
        (_kernel, _scope, _d, _config) = (kernel, scope, d, config);
        U32 lane = scope.Lane;
        _buffers = scope.Address(buffers) + kernel.Warp * BytesOfWarp(config);
        _matrixRow = ((lane & 15) << 7) + (((lane >> 4) ^ (lane & 7)) << 4);
    }

    /// <summary>Bytes of shared memory the multiplying warps need, 1024-byte aligned.</summary>
    public static int SharedBytes(GemmConfig config) => 4 * config.Warpgroups * BytesOfWarp(config);

    /// <inheritdoc/>
    public void Store(int wave, Fragment tile, U32 firstRow, U32 column, U32 rowEnd)
    {
        U32 warpRow = firstRow + (_scope.Warp << 4), buffer = _buffers + wave * (BytesOfWarp(_config) / _config.Waves);
        Predicate first = _scope.Lane.Is(0);
        _scope.If(first, () => _scope.AwaitStores(_config.Waves - 1, readOnly: true));
        _scope.WarpSync();
        for (int piece = 0; piece < _config.TileN / 8; piece += 2)
        {
            int e = 4 * piece;
            _scope.StoreMatrix((buffer + piece / 8 * BoxBytes + _matrixRow) ^ (piece % 8 << 4), tile.Pack(e), tile.Pack(e + 2), tile.Pack(e + 4), tile.Pack(e + 6));
        }

        _scope.FenceProxyAsync();
        _scope.WarpSync();
        _scope.If(first, () =>
        {
            for (int box = 0; box < _config.TileN / 64; box++) _scope.StoreBox(_kernel, _d, buffer + box * BoxBytes, column + 64 * box, warpRow);
            _scope.CloseStores();
        });
    }

    /// <inheritdoc/>
    public void Finish() => _scope.If(_scope.Lane.Is(0), () => _scope.AwaitStores(0, readOnly: false));

    static int BytesOfWarp(GemmConfig config) => config.Waves * (config.TileN / 64) * BoxBytes;
}
