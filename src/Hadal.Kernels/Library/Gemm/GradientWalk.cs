using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Gemm;

/// <summary>A tile of a weight gradient, or a piece of its contraction. Values of one moment.</summary>
/// <param name="Row">First row within its matrix.</param>
/// <param name="Column">First column.</param>
/// <param name="Group">Index of the matrix of D.</param>
/// <param name="FirstChunk">First 128 tokens of the piece, in chunks of all tokens.</param>
/// <param name="Chunks">Chunks of the piece; at least 1 while the walk is at one.</param>
/// <param name="Ends">Bit 0: another block contracts what follows and adds it first. Bit 1: another block contracts what precedes and adds it afterwards.</param>
sealed record GradientTile(U32 Row, U32 Column, U32 Group, U32 FirstChunk, U32 Chunks, U32 Ends);

/// <summary>The run-time lengths of the contraction: the tokens when dense, the offsets of the groups.</summary>
sealed record GradientTokens(U32 Tokens, U64 Offsets)
{
    public static GradientTokens Declare(KernelScope kernel, GradientShape shape) => shape.Grouping == GradientGrouping.Dense
        ? new GradientTokens(kernel.Word("k"), default)
        : new GradientTokens(default, kernel.Pointer("offsets", ElementType.F32));

    /// <summary>
    /// Refuses offsets that are no multiples of 128. All threads together, ahead of the roles: a role that may end this way keeps no registers of its own (the compiler
    /// spilled 480 bytes a thread, and the grouped product ran at a third of its speed).
    /// </summary>
    public void Check(KernelScope kernel, GradientShape shape)
    {
        if (shape.Grouping == GradientGrouping.Dense) return;
        int offsets = shape.Groups + 1;
        if (offsets <= kernel.Threads)
        {
            // An offset a thread: nothing of it lives on.
            Predicate reads = kernel.ThreadIndex < offsets;
            U32 offset = kernel.Load<U32>(Offsets.At(kernel.ThreadIndex, 4), 0, CacheHint.ReadOnly, reads);
            kernel.Refuse(reads & (offset & 127).IsNot(0), Rule);
            return;
        }

        Register<U32> at = kernel.Register("offset", kernel.ThreadIndex);
        kernel.While(() => at.Value < offsets, () =>
        {
            U32 offset = kernel.Load<U32>(Offsets.At(at.Value, 4), 0, CacheHint.ReadOnly);
            kernel.Refuse((offset & 127).IsNot(0), Rule);
            at.Value = at.Value + kernel.Threads;
        }, uniform: false);
    }

    const string Rule = "offsets of groups of tokens are multiples of 128, since 128 tokens share a scale: pad each group with rows of zeros before they are re-tiled";
}

/// <summary>
/// The order in which a persistent block (or cluster) walks the tiles of all non-empty groups, numbered in bands of <see cref="Fp8GradientConfig.RasterGroup"/> tile
/// columns, down the rows: block p of B takes tiles p, p + B, … . Blocks of a cluster take neighbouring columns. Every role makes its own walk.
/// </summary>
/// <remarks>
/// A balanced walk first shares some tiles evenly, so that all blocks finish together and their tiles end at different times: of T tiles the first (T mod B) + B (all,
/// when T ≤ B) are laid end to end, chunk after chunk, and cut into B ranges; block p takes range B − 1 − p, so that whoever adds to a tile later is a block that
/// started later, and waiting cannot block the device. Whatever the number of blocks, a piece is contracted in ascending order and the pieces of a tile are added to D
/// from the last to the first.
/// </remarks>
sealed class GradientWalk
{
    /// <summary>A range is at least this many chunks when there are fewer tiles than blocks: shorter ones cost more in adding than they win.</summary>
    const int LeastChunks = 8;

    readonly KernelScope _kernel;
    readonly ThreadScope _scope;
    readonly GradientShape _shape;
    readonly Fp8GradientConfig _config;
    readonly GradientTokens _tokens;
    readonly U32 _index, _step;
    readonly Register<U32> _tile, _group, _firstChunk, _chunks, _skipped, _left, _shared;
    readonly int _rows, _pairColumns;

    public GradientWalk(KernelScope kernel, ThreadScope scope, GradientShape shape, Fp8GradientConfig config, GradientTokens tokens)
    {
        (_kernel, _scope, _shape, _config, _tokens) = (kernel, scope, shape, config, tokens);
        _rows = (shape.M + config.TileM - 1) / config.TileM;
        int columns = (shape.N + config.TileN - 1) / config.TileN;
        _pairColumns = (columns + config.Cluster - 1) / config.Cluster;
        _step = kernel.BlockCount() / config.Cluster;
        _index = kernel.BlockIndex() / config.Cluster;
        U32 zero = scope.Constant(0);
        _tile = scope.Register("tile", zero);
        _group = scope.Register("group", zero);
        _firstChunk = scope.Register("first_chunk", zero);
        _chunks = scope.Register("chunks", zero);
        _skipped = scope.Register("skipped", zero);
        _left = scope.Register("left_of_range", zero);
        _shared = scope.Register("shared_tiles", zero);
        LoadGroup();
        if (config.Balanced) StartRange();
        else StartStride();
    }

    /// <summary>The range this block takes of the shared tiles.</summary>
    public U32 Range => _step - 1 - _index;

    /// <summary>True when the walk is at a tile.</summary>
    public Predicate Running => Dense
        ? _tile.Value < TilesOfMatrix & _chunks.Value.IsNot(0)
        : _group.Value < _shape.Groups;

    bool Dense => _shape.Grouping == GradientGrouping.Dense;

    int TilesOfMatrix => _rows * _pairColumns;

    /// <summary>Moves on to this block's next tile or piece.</summary>
    public void Advance()
    {
        if (!_config.Balanced)
        {
            NextOfStride();
            return;
        }

        _scope.If(
            _left.Value.Is(0),
            NextOfStride,
            () =>
            {
                _left.Value = _left.Value - Taken();
                _skipped.Value = _scope.Constant(0);
                _scope.If(
                    _left.Value.Is(0),
                    StartStride,
                    () =>
                    {
                        _tile.Value = _tile.Value + 1;
                        SkipFinishedGroups();
                    },
                    uniform: true);
            },
            uniform: true);
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
        (U32 row0, U32 column0) = (row * _config.TileM, column * _config.TileN);
        if (!_config.Balanced) return new GradientTile(row0, column0, _group.Value, _firstChunk.Value, _chunks.Value, _scope.Constant(0));
        U32 skipped = _skipped.Value, taken = Taken(), none = _scope.Constant(0);
        U32 ends = (skipped + taken < _chunks.Value).Select(_scope.Constant(1), none) | skipped.Is(0).Select(none, _scope.Constant(2));
        return new GradientTile(row0, column0, _group.Value, _firstChunk.Value + skipped, taken, ends);
    }

    /// <summary>Chunks of the piece the walk is at.</summary>
    U32 Taken()
    {
        U32 rest = _chunks.Value - _skipped.Value, left = _left.Value;
        return left.Is(0).Select(rest, rest.Minimum(left));
    }

    void NextOfStride()
    {
        _tile.Value = _tile.Value + _step;
        SkipFinishedGroups();
    }

    /// <summary>To the first of the tiles that are not shared.</summary>
    void StartStride()
    {
        _tile.Value = _shared.Value + _index;
        if (Dense) return;
        _group.Value = _scope.Constant(0);
        LoadGroup();
        SkipFinishedGroups();
    }

    void StartRange()
    {
        U32 tiles = CountTiles(), rest = tiles % _step, none = _scope.Constant(0);
        Predicate few = tiles <= _step;
        _shared.Value = few.Select(tiles, rest.Is(0).Select(none, rest + _step));
        U32 units = CountUnits(_shared.Value);
        U32 ranges = few.Select((units / LeastChunks).Maximum(_scope.Constant(1)).Minimum(_step), _step), range = Range;
        U32 begin = units * range / ranges, end = units * (range + 1) / ranges;
        _left.Value = (range < ranges).Select(end - begin, none);
        _scope.If(
            _left.Value.Is(0),
            StartStride,
            () =>
            {
                Register<U32> unit = _scope.Register("unit", begin);
                if (!Dense)
                {
                    // An empty group has no units.
                    _scope.While(() => _group.Value < _shape.Groups & unit.Value >= _chunks.Value * TilesOfMatrix, () =>
                    {
                        unit.Value = unit.Value - _chunks.Value * TilesOfMatrix;
                        _group.Value = _group.Value + 1;
                        LoadGroup();
                    });
                }

                U32 tile = unit.Value / _chunks.Value.Maximum(_scope.Constant(1));
                _tile.Value = tile;
                _skipped.Value = unit.Value - tile * _chunks.Value;
            },
            uniform: true);
    }

    /// <summary>Tiles of all groups that are not empty.</summary>
    U32 CountTiles()
    {
        U32 none = _scope.Constant(0), matrix = _scope.Constant(TilesOfMatrix);
        if (Dense) return _chunks.Value.Is(0).Select(none, matrix);
        Register<U32> tiles = _scope.Register("tiles", none);
        _scope.For(_scope.Constant(_shape.Groups), group => tiles.Value = tiles.Value + ChunksOf(group).Count.Is(0).Select(none, matrix));
        return tiles.Value;
    }

    /// <summary>Chunks of the first so many tiles.</summary>
    U32 CountUnits(U32 tiles)
    {
        if (Dense) return tiles * _chunks.Value;
        Register<U32> units = _scope.Register("units", _scope.Constant(0)), left = _scope.Register("left", tiles);
        _scope.For(_scope.Constant(_shape.Groups), group =>
        {
            U32 chunks = ChunksOf(group).Count, taken = chunks.Is(0).Select(_scope.Constant(0), left.Value.Minimum(TilesOfMatrix));
            units.Value = units.Value + taken * chunks;
            left.Value = left.Value - taken;
        });
        return units.Value;
    }

    void SkipFinishedGroups()
    {
        if (Dense) return;

        // An empty group has no tiles.
        _scope.While(() => _group.Value < _shape.Groups & (_chunks.Value.Is(0) | _tile.Value >= TilesOfMatrix), () =>
        {
            _tile.Value = _chunks.Value.Is(0).Select(_tile.Value, _tile.Value - TilesOfMatrix);
            _group.Value = _group.Value + 1;
            LoadGroup();
        });
    }

    void LoadGroup() => (_firstChunk.Value, _chunks.Value) = Dense
        ? (_scope.Constant(0), _tokens.Tokens.DivideUp(128))
        : ChunksOf(_group.Value.Minimum(_shape.Groups - 1));

    (U32 First, U32 Count) ChunksOf(U32 group)
    {
        U64 address = _tokens.Offsets.At(group, 4);
        U32 begin = Agreed(_scope.Load<U32>(address, 0, CacheHint.ReadOnly)) >> 7, end = Agreed(_scope.Load<U32>(address, 4, CacheHint.ReadOnly)) >> 7;
        return (begin, end - begin);
    }

    /// <summary>
    /// A loaded word, which all lanes of a multiplying warp have read alike, by way of one lane: what follows from it then lies in uniform registers instead of those that the sums need.
    /// The copying thread is alone.
    /// </summary>
    U32 Agreed(U32 word) => _scope is ConsumerScope ? _scope.Uniform(word) : word;
}

/// <summary>
/// The order in which blocks add the pieces of a shared tile to D: from the last piece to the first. A word for each warp of each range counts the lanes that have
/// added; the same warp of the next block waits for 32, and clears the word for the next launch.
/// </summary>
sealed class PieceOrder(KernelScope kernel, ThreadScope scope, Fp8GradientConfig config, U64 flags, GradientWalk walk)
{
    /// <summary>Words for a launch on so many blocks; all zero before the first launch, and after each.</summary>
    public static int Words(int blocks, Fp8GradientConfig config) => blocks * 4 * config.Warpgroups;

    /// <summary>Before adding a piece: waits for what follows it.</summary>
    public void Wait(U32 ends) => scope.If((ends & 1).IsNot(0), () =>
    {
        U64 word = Word(walk.Range + 1);
        scope.While(() => scope.Uniform(scope.AtomicAdd(word, scope.Constant(0), MemoryOrder.Acquire, MemoryScope.Device)).IsNot(32), () => { });
        scope.WarpSync();
        scope.Store(word, scope.Constant(0));
    }, uniform: true);

    /// <summary>After adding a piece: finishes, and lets what precedes it be added.</summary>
    public void Signal(U32 ends, Action finish) => scope.If((ends & 2).IsNot(0), () =>
    {
        finish();
        scope.AtomicAdd(Word(walk.Range), scope.Constant(1), MemoryOrder.Release, MemoryScope.Device);
    }, uniform: true);

    U64 Word(U32 range) => flags.At((range * config.Cluster + kernel.ClusterRank) * (4 * config.Warpgroups) + kernel.Warp, 4);
}
