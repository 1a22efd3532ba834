namespace Hadal.Tensors.Cpu.Matrix;

/// <summary>One product c[rows, columns] = (c or 0) + a·b over a contraction of <see cref="Depth"/>, and how it is cut into tiles.</summary>
unsafe struct MatrixTask
{
    /// <summary>Rows of the output.</summary>
    public int Rows;

    /// <summary>Columns of the output.</summary>
    public int Columns;

    /// <summary>Length of the contraction.</summary>
    public int Depth;

    /// <summary>Left operand: the value of row i and step d lies at i·<see cref="ARow"/> + d·<see cref="AStep"/>.</summary>
    public float* A;

    /// <summary>Floats from one output row to the next: the stride of [rows, depth], 1 when the operand lies [depth, rows].</summary>
    public nint ARow;

    /// <summary>Floats from one step of the contraction to the next: 1, or the stride of [depth, rows].</summary>
    public nint AStep;

    /// <summary>Start the chains from the values in <see cref="C"/>.</summary>
    public bool Continues;

    /// <summary>Right operand as column panels: prepared, packed from <see cref="BSource"/> before the tiles run, or <see cref="BSource"/> itself.</summary>
    public byte* B;

    /// <summary>Bytes from one column panel to the next.</summary>
    public nint PanelBytes;

    /// <summary>Bytes from one step of a column panel to the next.</summary>
    public nint BStep;

    /// <summary>Right operand [depth, columns] as it lies in memory; null when <see cref="B"/> was prepared.</summary>
    public float* BSource;

    /// <summary>Column panels are copied before the tiles run.</summary>
    public bool PacksColumns;

    /// <summary>Floats from one row of <see cref="BSource"/> to the next.</summary>
    public nint BStride;

    /// <summary>Output.</summary>
    public float* C;

    /// <summary>Floats from one row of <see cref="C"/> to the next.</summary>
    public nint CStride;

    /// <summary>Few rows: the kernel that streams the right operand.</summary>
    public bool FewRows;

    /// <summary>Left operand as row panels [depth, rows of the panel], one after the other; null when rows are read where they lie.</summary>
    public float* PackedA;

    /// <summary>Row panels; the rows are split evenly among them.</summary>
    public int RowPanels;

    /// <summary>Column panels.</summary>
    public int ColumnPanels;

    /// <summary>Number of the first panel of this task among those to pack.</summary>
    public int FirstPackUnit;

    /// <summary>Panels of this task to pack: row panels when <see cref="PackedA"/>, and column panels when <see cref="PacksColumns"/>.</summary>
    public int PackUnits;

    /// <summary>Number of the first tile of this task.</summary>
    public int FirstTile;

    /// <summary>Tiles along the rows.</summary>
    public int RowBlocks;

    /// <summary>Tiles along the columns.</summary>
    public int ColumnBlocks;

    /// <summary>First row of row panel <paramref name="panel"/>; that of panel <see cref="RowPanels"/> is <see cref="Rows"/>.</summary>
    public readonly int PanelRow(int panel) => (int)((long)Rows * panel / RowPanels);
}
