using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Gemm;

/// <summary>Where a tile lies. Values of one moment.</summary>
/// <param name="Row">First row of A and D.</param>
/// <param name="Column">First column of D.</param>
/// <param name="RowEnd">The row after the last one that belongs to the tile's group.</param>
/// <param name="Group">Index of the matrix of B.</param>
sealed record TilePosition(U32 Row, U32 Column, U32 RowEnd, U32 Group);

/// <summary>
/// The order in which a persistent block walks its tiles: block b of B takes tiles b, b + B, … . Tiles are numbered so that those in flight share operands: in
/// bands of <see cref="GemmConfig.RasterGroup"/> tile columns, down the rows. Blocks of a cluster take neighbouring columns. Every role makes its own walk.
/// </summary>
sealed class TileWalk
{
    readonly KernelScope _kernel;
    readonly ThreadScope _scope;
    readonly GemmShape _shape;
    readonly GemmConfig _config;
    readonly GemmRows _rows;
    readonly U32 _step;
    readonly Register<U32> _tile, _group, _groupFirstTile, _groupRow, _groupRows;
    readonly int _pairColumns;

    public TileWalk(KernelScope kernel, ThreadScope scope, GemmShape shape, GemmConfig config, GemmRows rows)
    {
        (_kernel, _scope, _shape, _config, _rows) = (kernel, scope, shape, config, rows);
        int columns = (shape.N + config.TileN - 1) / config.TileN;
        _pairColumns = (columns + config.Cluster - 1) / config.Cluster;
        _step = kernel.BlockCount() / config.Cluster;
        _tile = scope.Register("tile", kernel.BlockIndex() / config.Cluster);
        _group = scope.Register("group", scope.Constant(0));
        _groupFirstTile = scope.Register("group_first_tile", scope.Constant(0));
        _groupRow = scope.Register("group_row", scope.Constant(0));
        _groupRows = scope.Register("group_rows", scope.Constant(0));
        LoadGroup();
        SkipFinishedGroups();
    }

    /// <summary>True when the walk is at a tile.</summary>
    public Predicate Running => _shape.Groups == 1
        ? _tile.Value < TilesOfGroup()
        : _group.Value < _shape.Groups;

    /// <summary>Moves on to this block's next tile.</summary>
    public void Advance()
    {
        _tile.Value = _tile.Value + _step;
        SkipFinishedGroups();
    }

    /// <summary>The tile the walk is at. After the last one: coordinates outside, where copies bring zeros and nothing is stored.</summary>
    public TilePosition Current()
    {
        U32 index = _tile.Value - _groupFirstTile.Value;
        U32 rows = _groupRows.Value.DivideUp(_config.TileM);
        int band = Math.Clamp(_config.RasterGroup / _config.Cluster, 1, _pairColumns);
        U32 bandIndex = index / (rows * band);
        U32 inBand = index - bandIndex * rows * band;
        U32 firstColumn = bandIndex * band;
        U32 row, column;
        if (_pairColumns % band == 0)
        {
            row = inBand / band;
            column = firstColumn + (inBand - row * band);
        }
        else
        {
            // The last band is narrower; after the last tile the width would be zero or below.
            U32 width = (_scope.Constant(_pairColumns) - firstColumn).Minimum(band).Maximum(_scope.Constant(1));
            row = inBand / width;
            column = firstColumn + (inBand - row * width);
        }

        if (_config.Cluster > 1) column = column * _config.Cluster + _kernel.ClusterRank;
        U32 first = _groupRow.Value;
        return new TilePosition(first + row * _config.TileM, column * _config.TileN, first + _groupRows.Value, _group.Value);
    }

    U32 TilesOfGroup() => _groupRows.Value.DivideUp(_config.TileM) * _pairColumns;

    void SkipFinishedGroups()
    {
        if (_shape.Groups == 1) return;
        _scope.While(() => _group.Value < _shape.Groups & _tile.Value >= _groupFirstTile.Value + TilesOfGroup(), () =>
        {
            _groupFirstTile.Value = _groupFirstTile.Value + TilesOfGroup();
            _group.Value = _group.Value + 1;
            LoadGroup();
        });
    }

    void LoadGroup()
    {
        switch (_shape.Grouping)
        {
            case GemmGrouping.Dense or GemmGrouping.Batched:
                _groupRows.Value = _rows.Rows;
                break;
            case GemmGrouping.Contiguous:
            {
                U32 group = _group.Value.Minimum(_shape.Groups - 1);
                U64 address = _rows.Table.At(group, 4);
                U32 begin = _scope.Load<U32>(address, 0, CacheHint.ReadOnly), end = _scope.Load<U32>(address, 4, CacheHint.ReadOnly);
                _groupRow.Value = begin;
                _groupRows.Value = end - begin;
                break;
            }

            default:
            {
                U32 group = _group.Value.Minimum(_shape.Groups - 1);
                _groupRow.Value = group * _rows.Rows;
                _groupRows.Value = _scope.Load<U32>(_rows.Table.At(group, 4), 0, CacheHint.ReadOnly);
                break;
            }
        }
    }
}

/// <summary>The run-time numbers of rows: M when dense or batched; the offsets (contiguous) or the capacity and counts (masked).</summary>
sealed record GemmRows(U32 Rows, U64 Table)
{
    public static GemmRows Declare(KernelScope kernel, GemmShape shape) => shape.Grouping switch
    {
        GemmGrouping.Dense or GemmGrouping.Batched => new GemmRows(kernel.Word("m"), default),
        GemmGrouping.Contiguous => new GemmRows(default, kernel.Pointer("offsets", ElementType.F32)),
        _ => new GemmRows(kernel.Word("capacity"), kernel.Pointer("counts", ElementType.F32)),
    };
}
