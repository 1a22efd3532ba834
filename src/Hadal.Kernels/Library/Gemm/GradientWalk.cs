using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Gemm;

/// <summary>A tile of a weight gradient. Values of one moment.</summary>
/// <param name="Row">First row within its matrix.</param>
/// <param name="Column">First column.</param>
/// <param name="Group">Index of the matrix of D.</param>
/// <param name="FirstChunk">First 128 tokens of its contraction, in chunks of all tokens.</param>
/// <param name="Chunks">Chunks of its contraction; at least 1 while the walk is at a tile.</param>
sealed record GradientTile(U32 Row, U32 Column, U32 Group, U32 FirstChunk, U32 Chunks);

/// <summary>The run-time lengths of the contraction: the tokens when dense, the offsets of the groups.</summary>
sealed record GradientTokens(U32 Tokens, U64 Offsets)
{
    public static GradientTokens Declare(KernelScope kernel, GradientShape shape) => shape.Grouping == GradientGrouping.Dense
        ? new GradientTokens(kernel.Word("k"), default)
        : new GradientTokens(default, kernel.Pointer("offsets", ElementType.F32));
}

/// <summary>
/// The order in which a persistent block walks the tiles of a weight gradient: block b of B takes tiles b, b + B, … of all non-empty groups, numbered in bands of
/// <see cref="Fp8GradientConfig.RasterGroup"/> tile columns, down the rows. Blocks of a cluster take neighbouring columns. Every role makes its own walk.
/// </summary>
sealed class GradientWalk
{
    readonly KernelScope _kernel;
    readonly ThreadScope _scope;
    readonly GradientShape _shape;
    readonly Fp8GradientConfig _config;
    readonly GradientTokens _tokens;
    readonly U32 _step;
    readonly Register<U32> _tile, _group, _firstChunk, _chunks;
    readonly int _rows, _pairColumns;

    public GradientWalk(KernelScope kernel, ThreadScope scope, GradientShape shape, Fp8GradientConfig config, GradientTokens tokens)
    {
        (_kernel, _scope, _shape, _config, _tokens) = (kernel, scope, shape, config, tokens);
        _rows = (shape.M + config.TileM - 1) / config.TileM;
        int columns = (shape.N + config.TileN - 1) / config.TileN;
        _pairColumns = (columns + config.Cluster - 1) / config.Cluster;
        _step = kernel.BlockCount() / config.Cluster;
        _tile = scope.Register("tile", kernel.BlockIndex() / config.Cluster);
        _group = scope.Register("group", scope.Constant(0));
        _firstChunk = scope.Register("first_chunk", scope.Constant(0));
        _chunks = scope.Register("chunks", scope.Constant(0));
        LoadGroup();
        SkipFinishedGroups();
    }

    int TilesOfMatrix => _rows * _pairColumns;

    /// <summary>True when the walk is at a tile.</summary>
    public Predicate Running => _shape.Grouping == GradientGrouping.Dense
        ? _tile.Value < TilesOfMatrix & _chunks.Value.IsNot(0)
        : _group.Value < _shape.Groups;

    /// <summary>Moves on to this block's next tile.</summary>
    public void Advance()
    {
        _tile.Value = _tile.Value + _step;
        SkipFinishedGroups();
    }

    /// <summary>The tile the walk is at.</summary>
    public GradientTile Current()
    {
        U32 index = _tile.Value;
        int band = Math.Clamp(_config.RasterGroup / _config.Cluster, 1, _pairColumns);
        U32 bandIndex = index / (_rows * band);
        U32 inBand = index - bandIndex * (_rows * band);
        U32 firstColumn = bandIndex * band;
        U32 row, column;
        if (_pairColumns % band == 0)
        {
            row = inBand / band;
            column = firstColumn + (inBand - row * band);
        }
        else
        {
            // The last band is narrower.
            U32 width = (_scope.Constant(_pairColumns) - firstColumn).Minimum(band);
            row = inBand / width;
            column = firstColumn + (inBand - row * width);
        }

        if (_config.Cluster > 1) column = column * _config.Cluster + _kernel.ClusterRank;
        return new GradientTile(row * _config.TileM, column * _config.TileN, _group.Value, _firstChunk.Value, _chunks.Value);
    }

    void SkipFinishedGroups()
    {
        if (_shape.Grouping == GradientGrouping.Dense) return;

        // An empty group has no tiles.
        _scope.While(() => _group.Value < _shape.Groups & (_chunks.Value.Is(0) | _tile.Value >= TilesOfMatrix), () =>
        {
            _tile.Value = _chunks.Value.Is(0).Select(_tile.Value, _tile.Value - TilesOfMatrix);
            _group.Value = _group.Value + 1;
            LoadGroup();
        });
    }

    void LoadGroup()
    {
        if (_shape.Grouping == GradientGrouping.Dense)
        {
            _chunks.Value = _tokens.Tokens.DivideUp(128);
            return;
        }

        U64 address = _tokens.Offsets.At(_group.Value.Minimum(_shape.Groups - 1), 4);
        U32 begin = _scope.Load<U32>(address, 0, CacheHint.ReadOnly) >> 7, end = _scope.Load<U32>(address, 4, CacheHint.ReadOnly) >> 7;
        _firstChunk.Value = begin;
        _chunks.Value = end - begin;
    }
}
