using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Gemm;

/// <summary>The multiplying warpgroups of <see cref="Fp8GradientKernel"/>.</summary>
sealed class Fp8GradientConsumer
{
    readonly ConsumerScope _scope;
    readonly GradientShape _shape;
    readonly Fp8GradientConfig _config;
    readonly GradientWalk _walk;
    readonly RingMatrix _a, _b;
    readonly RingVector _aScale, _bScale;
    readonly CarriedSlot _slot;
    readonly F32Epilogue? _direct;
    readonly F32BoxEpilogue? _boxes;
    readonly Accumulator[] _products;
    readonly Fragment[] _sum;
    readonly Register<F32>[] _rowScale, _rowScaleBelow;
    readonly Register<U32> _columnScales, _previousRow, _previousColumn, _previousGroup, _previousEnds;
    readonly PieceOrder? _order;
    readonly int _groups;

    /// <summary>Stands for no tile in <c>_previousColumn</c>.</summary>
    const int None = -1;

    public Fp8GradientConsumer(
        KernelScope kernel, ConsumerScope scope, GradientShape shape, Fp8GradientConfig config, GradientTokens tokens, Pipeline ring, GradientOperands operands, GradientResult result, SharedRegion? buffers, U64 flags)
    {
        (_scope, _shape, _config) = (scope, shape, config);
        _groups = config.TileN / 8;
        RingConsumer read = scope.Read(ring);
        U32 warpgroupRow = scope.Index << 6;
        _a = read.Matrix(operands.A, warpgroupRow);
        _b = read.Matrix(operands.B);
        _aScale = read.Vector(operands.AScale, warpgroupRow + scope.FragmentRow());
        _bScale = read.Vector(operands.BScale, (scope.Lane & 3) << (config.ScaleOrder == ColumnScaleOrder.Interleaved ? 2 : 1));
        _slot = read.Carry(_a, _b);
        _products = [.. Enumerable.Range(0, config.Products).Select(_ => scope.Accumulator(config.TileN, "product"))];
        _sum = [.. Enumerable.Range(0, config.Waves).Select(_ => scope.Fragment(config.TileN, "sum"))];
        _rowScale = [.. _sum.Select(_ => scope.Register<F32>("row_scale"))];
        _rowScaleBelow = [.. _sum.Select(_ => scope.Register<F32>("row_scale_below"))];
        _columnScales = scope.Register<U32>("column_scales");
        _previousRow = scope.Register("previous_row", scope.Constant(0));
        _previousColumn = scope.Register("previous_column", scope.Constant(None));
        _previousGroup = scope.Register("previous_group", scope.Constant(0));
        _previousEnds = scope.Register("previous_ends", scope.Constant(0));
        if (result.Map is { } map) _boxes = new F32BoxEpilogue(kernel, scope, map, config.TileN, buffers!);
        if (result.Map is null || config.MixedEpilogue) _direct = new F32Epilogue(scope, result.Pointer, shape.N, config.TileN, shape.N % (config.TileN * config.Cluster) != 0, accumulate: true);
        _walk = new GradientWalk(kernel, scope, shape, config, tokens);
        _order = config.Balanced ? new PieceOrder(kernel, scope, config, flags, _walk) : null;
    }

    public void Run()
    {
        _scope.While(() => _walk.Running, () =>
        {
            GradientTile tile = _walk.Current();
            Enter();
            TakeScales(LoadRowScales());
            _scope.If(
                tile.Chunks.Is(1),
                () => Chunk(first: true, last: true),
                () =>
                {
                    Chunk(first: true, last: false);
                    _scope.For(tile.Chunks - 2, _ => Chunk(first: false, last: false));
                    Chunk(first: false, last: true);
                },
                uniform: true);
            if (_config.LateEpilogue)
                (_previousRow.Value, _previousColumn.Value, _previousGroup.Value, _previousEnds.Value) = (tile.Row, tile.Column, tile.Group, tile.Ends);
            else for (int wave = 0; wave < _config.Waves; wave++) Leave(wave, tile.Row, tile.Column, tile.Group, tile.Ends);
            _walk.Advance();
        });
        if (_config.LateEpilogue)
            for (int wave = 0; wave < _config.Waves; wave++) LeavePrevious(wave);
        _boxes?.Finish();
    }

    /// <summary>One stage: each wave is multiplied and promoted; everything else happens under the products.</summary>
    void Chunk(bool first, bool last)
    {
        (F32 Row, F32 Below)[] ahead = [];
        U32 columnScales = _columnScales.Value;
        var columns = new F32[_groups][];
        var started = new Queue<PendingFragment>();
        for (int wave = 0; wave < _config.Products - 1; wave++) started.Enqueue(Start(wave));
        for (int wave = 0; wave < _config.Waves; wave++)
        {
            if (wave + _config.Products - 1 < _config.Waves) started.Enqueue(Start(wave + _config.Products - 1));
            PendingFragment pending = started.Dequeue();
            if (first && _config.LateEpilogue) LeavePrevious(wave);
            if (wave == 0 || !_config.KeepsScales) columns = new F32[_groups][];
            for (int group = 0; group < Math.Min(_groups, _config.ScalesAhead); group++) Fetch(columns, group, columnScales);
            (F32 row, F32 below) = (_rowScale[wave].Value, _rowScaleBelow[wave].Value);
            SlotRelease? release = null;
            if (wave == _config.Waves - 1)
            {
                release = _slot.Leave();
                if (!last)
                {
                    Enter();
                    ahead = LoadRowScales();
                }
            }

            Fragment product = pending.Wait(younger: started.Count);

            // The scales of B's rows lie in the stage: it goes back once all of them are in registers.
            bool readAll = _config.ScalesAhead >= _groups || (_config.KeepsScales && _config.Waves > 1);
            if (readAll) release?.Release();
            for (int group = 0; group < _groups; group++)
            {
                if (_config.Omits is GradientOmission.ColumnScaleReads) columns[group] = [row, below];
                else if (_config.Omits is not GradientOmission.ColumnScales) Fetch(columns, group, columnScales);
                F32[] c = columns[group];
                if (_config.Omits is GradientOmission.ColumnScales or GradientOmission.RowScales)
                {
                    _sum[wave].Promote(product, group, 1, _config.Omits == GradientOmission.ColumnScales ? [row, row, below, below] : [c[0], c[1], c[0], c[1]], accumulate: !first);
                    continue;
                }

                if (_config.Promotion == GradientPromotion.ScalesFirst && _config.Omits != GradientOmission.ColumnScaleReads)
                {
                    _sum[wave].Promote(product, group, 1, [row * c[0], row * c[1], below * c[0], below * c[1]], accumulate: !first);
                    continue;
                }

                product.Promote(product, group, 1, [c[0], c[1], c[0], c[1]], accumulate: false);
                _sum[wave].Promote(product, group, 1, [row, row, below, below], accumulate: !first);
            }

            if (!readAll) release?.Release();
        }

        TakeScales(ahead);

        PendingFragment Start(int wave) => _scope.Multiply(_products[wave % _config.Products], _slot[_a].Below(64 * _config.Warpgroups * wave), _slot[_b]);
    }

    void Enter()
    {
        _slot.Enter();
        _columnScales.Value = _slot[_bScale];
    }

    (F32 Row, F32 Below)[] LoadRowScales()
    {
        U32 address = _slot[_aScale];
        var scales = new (F32, F32)[_config.Waves];
        for (int wave = 0; wave < scales.Length; wave++)
        {
            int offset = 64 * _config.Warpgroups * wave * 4;
            scales[wave] = (_scope.LoadShared<F32>(address, offset), _scope.LoadShared<F32>(address, offset + 32));
        }

        return scales;
    }

    void TakeScales((F32 Row, F32 Below)[] scales)
    {
        for (int wave = 0; wave < scales.Length; wave++) (_rowScale[wave].Value, _rowScaleBelow[wave].Value) = scales[wave];
    }

    /// <summary>Reads the scales of one group of 8 columns, or with the interleaved order of two; nothing when they are there.</summary>
    void Fetch(F32[][] columns, int group, U32 address)
    {
        if (columns[group] is not null) return;
        if (_config.ScaleOrder == ColumnScaleOrder.Natural)
        {
            columns[group] = _scope.LoadShared<F32>(2, address, 32 * group);
            return;
        }

        F32[] both = _scope.LoadShared<F32>(4, address, 64 * (group / 2));
        (columns[group & ~1], columns[group | 1]) = (both[..2], both[2..]);
    }

    void LeavePrevious(int wave) =>
        _scope.If(_previousColumn.Value.IsNot(None), () => Leave(wave, _previousRow.Value, _previousColumn.Value, _previousGroup.Value, _previousEnds.Value), uniform: true);

    void Leave(int wave, U32 row, U32 column, U32 group, U32 ends)
    {
        if (wave == 0) _order?.Wait(ends);
        U32? end = _shape.M % _config.TileM == 0 ? null : _scope.Constant(_shape.M);

        // Zero, which the compiler does not know.
        if (_config.Omits == GradientOmission.Adding) end = column >> 20;
        if (_shape.Groups > 1)
        {
            U32 matrix = group * _shape.M;
            row += matrix;
            end += matrix;
        }

        U32 first = row + (_scope.Index << 6) + 64 * _config.Warpgroups * wave;
        if (_boxes is null || (_config.MixedEpilogue && wave % 2 == 1)) _direct!.Write(_sum[wave], first, column, end);
        else _boxes.Add(_sum[wave], first, column, end);
        if (wave == _config.Waves - 1) _order?.Signal(ends, () => _boxes?.Finish());
    }
}
