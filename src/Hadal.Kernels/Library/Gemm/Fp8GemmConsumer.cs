using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Gemm;

/// <summary>The multiplying warpgroups of <see cref="Fp8GemmKernel"/>.</summary>
sealed class Fp8GemmConsumer
{
    readonly KernelScope _kernel;
    readonly ConsumerScope _scope;
    readonly GemmShape _shape;
    readonly GemmConfig _config;
    readonly TileWalk _walk;
    readonly RingMatrix _a, _b;
    readonly RingVector _aScale;
    readonly CarriedSlot _slot;
    readonly U64 _bScaleTable;
    readonly IEpilogue _epilogue;
    readonly Accumulator _product;
    readonly Accumulator[] _unpromoted;
    readonly Fragment[] _sum, _made;
    readonly Register<F32>[] _rowScale, _rowScaleBelow;
    readonly Register<U32> _row, _column, _rowEnd, _previousRow, _previousColumn, _previousRowEnd, _chunkAhead;
    readonly Register<U64>[] _bScale;
    readonly Register<F32>[] _bScaleAhead;
    readonly SplitSum? _split;
    readonly U32 _rowIndex, _firstChunk;
    readonly int _chunks, _turns;

    public Fp8GemmConsumer(
        KernelScope kernel, ConsumerScope scope, GemmShape shape, GemmConfig config, GemmRows rows, Pipeline ring, RingOperand a, RingOperand b, RingOperand aScale, U64 bScale, IEpilogue epilogue, SplitSum? split)
    {
        (_kernel, _scope, _shape, _config, _epilogue, _bScaleTable) = (kernel, scope, shape, config, epilogue, bScale);
        _chunks = (shape.K + 127) / 128;
        _turns = _chunks / config.SplitK;
        _split = split;
        (_rowIndex, _firstChunk) = split is null ? (scope.Index, scope.Constant(0)) : (split.RowIndex, split.Part);
        RingConsumer read = split is null ? scope.Read(ring) : scope.Read(ring, _firstChunk, config.SplitK);
        U32 warpgroupRow = _rowIndex << 6;
        _a = read.Matrix(a, warpgroupRow);
        _b = read.Matrix(b);
        _aScale = read.Vector(aScale, warpgroupRow + scope.FragmentRow());
        _slot = read.Carry(_a, _b);
        _product = scope.Accumulator(config.TileN, "product");
        _unpromoted = config.Omits == GemmOmission.Promotion ? [_product, .. Enumerable.Range(1, config.Waves - 1).Select(_ => scope.Accumulator(config.TileN, "product"))] : [];
        _sum = [.. Enumerable.Range(0, config.Waves).Select(_ => scope.Fragment(config.TileN, "sum"))];
        _made = [.. _sum];
        _rowScale = [.. _sum.Select(_ => scope.Register<F32>("row_scale"))];
        _rowScaleBelow = [.. _sum.Select(_ => scope.Register<F32>("row_scale_below"))];
        _row = scope.Register<U32>("row");
        _column = scope.Register<U32>("column");
        _rowEnd = scope.Register<U32>("row_end");
        _previousRow = scope.Register("previous_row", scope.Constant(0));
        _previousColumn = scope.Register("previous_column", scope.Constant(0));
        _previousRowEnd = scope.Register("previous_row_end", scope.Constant(0));
        _bScale = [.. Enumerable.Range(0, config.ScaleBlocks).Select(_ => scope.Register<U64>("b_scale"))];
        _bScaleAhead = [.. _bScale.Select(_ => scope.Register<F32>("b_scale_ahead"))];
        _chunkAhead = scope.Register<U32>("chunk_ahead");
        _walk = new TileWalk(kernel, scope, shape, config, rows);
        TakeTarget();
    }

    public void Run()
    {
        _scope.While(() => _walk.Running, () =>
        {
            U32 row = _row.Value, column = _column.Value, rowEnd = _rowEnd.Value;
            _slot.Enter();
            (F32 Row, F32 Below)[] scales = LoadRowScales();
            for (int wave = 0; wave < _config.Waves; wave++) (_rowScale[wave].Value, _rowScaleBelow[wave].Value) = scales[wave];
            Chunk(column, first: true, last: _turns == 1);
            _scope.Repeat(_turns - 2, () => Chunk(column, first: false, last: false));
            if (_turns > 1) Chunk(column, first: false, last: true);
            if (_split is not null) _split.Combine(_sum, (wave, pack) => ((Bf16Epilogue)_epilogue).Store(pack, FirstRow(wave, row), column, rowEnd));
            else if (_config.LateEpilogue) (_previousRow.Value, _previousColumn.Value, _previousRowEnd.Value) = (row, column, rowEnd);
            else for (int wave = 0; wave < _config.Waves; wave++) Leave(wave, row, column, rowEnd);
        });
        if (_config.LateEpilogue)
            for (int wave = 0; wave < _config.Waves; wave++) LeavePrevious(wave);
        _epilogue.Finish();
    }

    /// <summary>One stage: each wave is multiplied and promoted; everything else happens under the products.</summary>
    void Chunk(U32 column, bool first, bool last)
    {
        F32[] bScale = [.. _bScaleAhead.Select(r => r.Value)];
        (F32 Row, F32 Below)[] ahead = [];
        for (int wave = 0; wave < _config.Waves; wave++)
        {
            bool promotes = _config.Omits != GemmOmission.Promotion;
            PendingFragment pending = _scope.Multiply(promotes ? _product : _unpromoted[wave], _slot[_a].Below(64 * _config.RowWarpgroups * wave), _slot[_b], accumulate: !promotes && !first);
            if (first && _config.LateEpilogue) LeavePrevious(wave);
            if (wave == 0) FetchAhead(last);
            F32[] scale = [.. bScale.Select(b => _rowScale[wave].Value * b)], below = [.. bScale.Select(b => _rowScaleBelow[wave].Value * b)];
            SlotRelease? release = null;
            if (wave == _config.Waves - 1)
            {
                release = _slot.Leave();
                if (!last)
                {
                    _slot.Enter();
                    ahead = LoadRowScales();
                }
            }

            Fragment product = pending.Wait();
            release?.Release();
            if (promotes) Promote(_sum[wave], product, scale, below, column, accumulate: !first);
            else if (last) Promote(product, product, scale, below, column, accumulate: false);
            _made[wave] = promotes ? _sum[wave] : product;
        }

        for (int wave = 0; wave < ahead.Length; wave++) (_rowScale[wave].Value, _rowScaleBelow[wave].Value) = ahead[wave];
    }

    (F32 Row, F32 Below)[] LoadRowScales()
    {
        U32 address = _slot[_aScale];
        var scales = new (F32, F32)[_config.Waves];
        for (int wave = 0; wave < scales.Length; wave++)
        {
            int offset = 64 * _config.RowWarpgroups * wave * 4;
            scales[wave] = (_scope.LoadShared<F32>(address, offset), _scope.LoadShared<F32>(address, offset + 32));
        }

        return scales;
    }

    /// <summary>Starts the load of the next chunk's scale of B: of this tile, or the first of the next one.</summary>
    void FetchAhead(bool last)
    {
        if (!last)
        {
            _chunkAhead.Value = _chunkAhead.Value + _config.SplitK;
            LoadBScale();
            return;
        }

        _walk.Advance();
        TakeTarget();
    }

    void TakeTarget()
    {
        TilePosition tile = _walk.Current();
        (_row.Value, _column.Value, _rowEnd.Value) = (tile.Row, tile.Column, tile.RowEnd);

        // A block without a tile reads some scale that exists, and does not use it.
        int blocks = (_shape.N + 127) / 128;
        for (int i = 0; i < _bScale.Length; i++)
        {
            U32 block = ((tile.Column >> 7) + i).Minimum(blocks - 1);
            if (_shape.Groups > 1) block += tile.Group.Minimum(_shape.Groups - 1) * blocks;
            _bScale[i].Value = _bScaleTable.At(block * _chunks, 4);
        }

        _chunkAhead.Value = _firstChunk;
        LoadBScale();
    }

    void LoadBScale()
    {
        for (int i = 0; i < _bScale.Length; i++) _bScaleAhead[i].Value = _scope.Load<F32>(_bScale[i].Value.At(_chunkAhead.Value, 4), cache: CacheHint.ReadOnly);
    }

    /// <summary>Each zone of columns with the scale of the 128-column block it lies in.</summary>
    void Promote(Fragment sum, Fragment product, F32[] scale, F32[] below, U32 column, bool accumulate)
    {
        int zone = _config.Zone;
        for (int at = 0; at < _config.TileN; at += zone)
        {
            (F32 row, F32 rowBelow) = (scale[0], below[0]);
            if (scale.Length > 1 && at > 0)
            {
                Predicate second = (column & 127) + at >= _scope.Constant(128);
                (row, rowBelow) = (second.Select(scale[1], row), second.Select(below[1], rowBelow));
            }

            sum.Promote(product, at / 8, zone / 8, [row, row, rowBelow, rowBelow], accumulate);
        }
    }

    void LeavePrevious(int wave) =>
        _scope.If(_previousRowEnd.Value.IsNot(0), () => Leave(wave, _previousRow.Value, _previousColumn.Value, _previousRowEnd.Value), uniform: true);

    void Leave(int wave, U32 row, U32 column, U32 rowEnd)
    {
        // Without the epilogue: never, which the compiler does not know.
        if (_config.Omits == GemmOmission.Epilogue) _scope.If((column >> 24).IsNot(0), Store, uniform: true);
        else Store();

        void Store() => _epilogue.Store(wave, _made[wave], FirstRow(wave, row), column, rowEnd);
    }

    U32 FirstRow(int wave, U32 row) => row + (_rowIndex << 6) + 64 * _config.RowWarpgroups * wave;
}
