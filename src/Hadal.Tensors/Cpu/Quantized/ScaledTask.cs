using Hadal.Tensors.Operations;

namespace Hadal.Tensors.Cpu.Quantized;

/// <summary>One product of quantised operands, as plain pointers for the worker threads.</summary>
unsafe struct ScaledTask
{
    /// <summary>Rows of the output.</summary>
    public int Rows;

    /// <summary>Columns of the output.</summary>
    public int Columns;

    /// <summary>Length of the contraction.</summary>
    public int Depth;

    /// <summary>Sums are scaled and added after every tile of the contraction; else once, at its end.</summary>
    public bool Promotes;

    /// <summary>Tiles along the contraction.</summary>
    public Sections Contraction;

    /// <summary>Blocks along the columns.</summary>
    public Sections ColumnTiles;

    /// <summary>Left operand: rows [rows, depth] still to be quantised, or with <see cref="DepthMajor"/> code values [depth, rows].</summary>
    public float* A;

    /// <summary>Floats from one row of <see cref="A"/> to the next.</summary>
    public nint AStride;

    /// <summary>The operands are code values with the contraction down the rows (weight gradients).</summary>
    public bool DepthMajor;

    /// <summary>Format of the left operand.</summary>
    public QuantizationFormat Left;

    /// <summary>The left operand's one scale, or [row blocks, tiles of the contraction] of its blocks; null when they follow from the tiles, or there are none.</summary>
    public float* GivenScales;

    /// <summary>[tiles of the contraction, <see cref="RowScaleStride"/>]: a scale for each row of the output; null without.</summary>
    public float* RowScales;

    /// <summary>Floats from one tile's row scales to the next.</summary>
    public nint RowScaleStride;

    /// <summary>Right operand as column panels of code values.</summary>
    public float* B;

    /// <summary>Right operand to be packed, code values [depth, columns]; null for a prepared weight.</summary>
    public float* BSource;

    /// <summary>Floats from one row of <see cref="BSource"/> to the next.</summary>
    public nint BStride;

    /// <summary>[tiles of the contraction, <see cref="ColumnScaleStride"/>]: a scale for each column; null when all of a panel have one.</summary>
    public float* ColumnScales;

    /// <summary>Floats from one tile's column scales to the next.</summary>
    public nint ColumnScaleStride;

    /// <summary>Scales of a prepared weight's blocks; null without.</summary>
    public float* BlockScales;

    /// <summary>Floats from one tile of the contraction to the next in <see cref="BlockScales"/>.</summary>
    public nint BlockChunkStride;

    /// <summary>Floats from one block of columns to the next in <see cref="BlockScales"/>.</summary>
    public nint BlockColumnStride;

    /// <summary>Outputs.</summary>
    public float* C;

    /// <summary>Floats from one row of <see cref="C"/> to the next.</summary>
    public nint CStride;

    /// <summary>Chains start from the values in <see cref="C"/>.</summary>
    public bool Continues;

    /// <summary>Finished outputs are rounded to bfloat16.</summary>
    public bool Rounds;

    /// <summary>Products are summed as the tensor core does.</summary>
    public bool TensorCore;

    /// <summary>Left operand as row panels.</summary>
    public float* PackedA;

    /// <summary>Row panels; the rows are split evenly among them.</summary>
    public int RowPanels;

    /// <summary>Column panels.</summary>
    public int ColumnPanels;

    /// <summary>Number of the first panel of this task among those to pack.</summary>
    public int FirstPackUnit;

    /// <summary>Number of the first tile of this task.</summary>
    public int FirstTile;

    /// <summary>Tiles along the rows.</summary>
    public int RowBlocks;

    /// <summary>Tiles along the columns.</summary>
    public int ColumnBlocks;

    /// <summary>Panels to pack.</summary>
    public readonly int PackUnits => RowPanels + (BSource != null ? ColumnPanels : 0);

    /// <summary>First row of a row panel.</summary>
    public readonly int PanelRow(int panel) => (int)((long)Rows * panel / Math.Max(1, RowPanels));
}
