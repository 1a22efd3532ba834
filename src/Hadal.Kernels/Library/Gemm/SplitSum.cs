using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Gemm;

/// <summary>
/// Adds the sums of warpgroups that shared the chunks of K of a tile: all but the first leave theirs in shared memory, the first adds them in their order. An element
/// lies where the same thread of every warpgroup finds it, so neighbouring threads touch neighbouring words.
/// </summary>
sealed class SplitSum
{
    const int Written = 1, Free = 2;
    readonly ConsumerScope _scope;
    readonly GemmConfig _config;
    readonly U32 _mine, _first;

    public SplitSum(KernelScope kernel, ConsumerScope scope, GemmConfig config, SharedRegion parts)
    {
        (_scope, _config) = (scope, config);
        Part = config.RowWarpgroups == 1 ? scope.Index : scope.Index >> 1;
        RowIndex = config.RowWarpgroups == 1 ? scope.Constant(0) : scope.Index & 1;
        U32 thread = scope.Address(parts) + ((kernel.ThreadIndex & 127) << 2);
        _first = thread + RowIndex * BytesOfWarpgroup(config);

        // Part p > 0 of a row is number p - 1; part 0 does not write.
        _mine = _first + (Part.Maximum(scope.Constant(1)) - 1) * (BytesOfWarpgroup(config) * config.RowWarpgroups);
    }

    /// <summary>Which share of the chunks this warpgroup takes: chunks Part, Part + SplitK, … .</summary>
    public U32 Part { get; }

    /// <summary>Index of the warpgroup along the rows of the tile.</summary>
    public U32 RowIndex { get; }

    /// <summary>Bytes of shared memory.</summary>
    public static int SharedBytes(GemmConfig config) => (config.SplitK - 1) * config.RowWarpgroups * BytesOfWarpgroup(config);

    /// <summary>All multiplying warpgroups call it with their sums; the first part gets, for each wave, a function that gives elements e and e + 1 of the whole sum as BF16.</summary>
    public void Combine(Fragment[] sums, Action<int, Func<int, U32>> leave)
    {
        int threads = 128 * _config.Warpgroups;
        _scope.Sync(Free, threads);
        _scope.If(Part.IsNot(0), () =>
        {
            for (int wave = 0; wave < sums.Length; wave++)
                for (int e = 0; e < _config.TileN / 2; e++) _scope.StoreShared(_mine, sums[wave].Element(e), Offset(wave, e));
        }, uniform: true);
        _scope.Sync(Written, threads);
        _scope.If(Part.Is(0), () =>
        {
            for (int wave = 0; wave < sums.Length; wave++)
            {
                int w = wave;
                leave(wave, e => _scope.PackBF16(Whole(w, e), Whole(w, e + 1)));
            }
        }, uniform: true);

        F32 Whole(int wave, int e)
        {
            F32 sum = sums[wave].Element(e);
            for (int part = 1; part < _config.SplitK; part++)
                sum += _scope.LoadShared<F32>(_first, (part - 1) * _config.RowWarpgroups * BytesOfWarpgroup(_config) + Offset(wave, e));
            return sum;
        }
    }

    int Offset(int wave, int e) => (wave * (_config.TileN / 2) + e) * 512;

    static int BytesOfWarpgroup(GemmConfig config) => config.Waves * (config.TileN / 2) * 512;
}
