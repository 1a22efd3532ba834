using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Gemm;

/// <summary>How the contraction of a weight gradient is grouped.</summary>
public enum GradientGrouping
{
    /// <summary>One product over all tokens.</summary>
    Dense,

    /// <summary>Group g contracts over tokens offsets[g] … offsets[g + 1] − 1 into matrix g of D. Offsets are multiples of 128, read on the device.</summary>
    AlongK,
}

/// <summary>Shape of a weight gradient known when the kernel is built; the number of tokens is a run-time argument.</summary>
/// <param name="M">Rows of D: output channels; at least 1.</param>
/// <param name="N">Columns of D: input channels; at least 1.</param>
/// <param name="Grouping">How the tokens are grouped.</param>
/// <param name="Groups">Matrices of D; 1 when dense.</param>
public sealed record GradientShape(int M, int N, GradientGrouping Grouping = GradientGrouping.Dense, int Groups = 1)
{
    /// <summary>Throws when a number is out of range.</summary>
    public void Validate()
    {
        if (M < 1 || N < 1) throw new ArgumentException($"D is {M} by {N}: a gradient has at least one row and one column.");
        if (N > 1 << 28) throw new ArgumentException($"N = {N}: a row of D holds at most 2^28 numbers.");
        if (Groups < 1 || (Grouping == GradientGrouping.Dense && Groups != 1)) throw new ArgumentException($"{Groups} groups with {Grouping}: dense has one, the other at least one.");
        if ((long)M * Groups > int.MaxValue) throw new ArgumentException($"{Groups} groups of {M} rows exceed the 2^31 rows a kernel numbers; launch fewer groups at a time.");
    }
}

/// <summary>The order in which the scales of B's rows lie in memory.</summary>
public enum ColumnScaleOrder
{
    /// <summary>Scale n at place n.</summary>
    Natural,

    /// <summary>
    /// Within every 16: scale 8h + 2q + e at place 4q + 2h + e (h, e of 0, 1; q of 0 … 3), so that the thread that holds columns 2q, 2q + 1 and 8 further of a tile
    /// reads its four scales as 16 bytes. The number of places is a multiple of 16. See <see cref="GradientScales"/>.
    /// </summary>
    Interleaved,
}

/// <summary>In which order a chunk's product meets its two scales; two roundings each way.</summary>
public enum GradientPromotion
{
    /// <summary>sum += product · (row scale · column scale).</summary>
    ScalesFirst,

    /// <summary>sum += (product · column scale) · row scale: the row scale stays in the operand cache, so that fewer registers are read.</summary>
    ColumnFirst,
}

/// <summary>What a kernel leaves out so that a measurement shows what it costs. Its results are wrong.</summary>
public enum GradientOmission
{
    /// <summary>Nothing: the kernel.</summary>
    Nothing,

    /// <summary>Reading the scales of columns: the row's stand in for them.</summary>
    ColumnScaleReads,

    /// <summary>Reading and multiplying the scales of columns: one multiply-add an element.</summary>
    ColumnScales,

    /// <summary>Multiplying by the scales of rows: one multiply-add an element, by a scale that was read.</summary>
    RowScales,

    /// <summary>Adding to D.</summary>
    Adding,
}

/// <summary>The orders of scales.</summary>
public static class GradientScales
{
    /// <summary>Where the scale of row <paramref name="n"/> of B lies.</summary>
    public static int Place(ColumnScaleOrder order, int n) =>
        order == ColumnScaleOrder.Natural ? n : (n & ~15) | ((n >> 1 & 3) << 2) | ((n >> 3 & 1) << 1) | (n & 1);
}

/// <summary>The tile and schedule of a weight-gradient kernel.</summary>
public sealed record Fp8GradientConfig
{
    /// <summary>Warpgroups that multiply: 1 to 3.</summary>
    public int Warpgroups { get; init; } = 2;

    /// <summary>64-row products a warpgroup makes of each stage: 1 or 2.</summary>
    public int Waves { get; init; } = 2;

    /// <summary>Columns of a tile: a multiple of 32 up to 256.</summary>
    public int TileN { get; init; } = 128;

    /// <summary>Stages of the ring.</summary>
    public int Stages { get; init; } = 4;

    /// <summary>Blocks of a cluster, which share the rows of A: 1 or 2.</summary>
    public int Cluster { get; init; } = 1;

    /// <summary>Columns of tiles walked together, so that blocks in flight meet in the L2.</summary>
    public int RasterGroup { get; init; } = 16;

    /// <summary>A tile is added to D under the first products of the next one.</summary>
    public bool LateEpilogue { get; init; } = true;

    /// <summary>Shares some tiles between two blocks, so that all blocks finish together; see <see cref="Fp8GradientKernel"/> for what that means for the sum.</summary>
    public bool Balanced { get; init; }

    /// <summary>Tiles are added to D by TMA out of shared memory, while the warpgroups go on; otherwise straight from the registers.</summary>
    public bool TensorEpilogue { get; init; }

    /// <summary>
    /// With <see cref="TensorEpilogue"/>: every second wave is added straight from the registers instead, while TMA still reads the first one out of shared memory.
    /// </summary>
    public bool MixedEpilogue { get; init; }

    /// <summary>Groups of 8 columns whose scales are read while the product is made; the others are read during promotion.</summary>
    public int ScalesAhead { get; init; }

    /// <summary>The scales of columns are read once a stage and kept for the second wave.</summary>
    public bool KeepsScales { get; init; }

    /// <summary>Products of a warpgroup in flight: with 2 both waves of a stage are multiplied at once, and the first is promoted under the second.</summary>
    public int Products { get; init; } = 1;

    /// <summary>In which order a chunk's product meets its scales.</summary>
    public GradientPromotion Promotion { get; init; }

    /// <summary>How the scales of B lie in memory.</summary>
    public ColumnScaleOrder ScaleOrder { get; init; }

    /// <summary>For measurements only: what the kernel leaves out.</summary>
    public GradientOmission Omits { get; init; }

    /// <summary>Rows of a tile.</summary>
    public int TileM => 64 * Warpgroups * Waves;

    /// <summary>Threads of a block: the multiplying warpgroups and one that copies.</summary>
    public int Threads => 128 * (Warpgroups + 1);

    /// <summary>Registers of a multiplying thread.</summary>
    public int ConsumerRegisters => Warpgroups switch { 1 or 2 => 240, _ => 160 };

    /// <summary>Registers of a copying thread.</summary>
    public int ProducerRegisters => Warpgroups == 3 ? 32 : 24;

    /// <summary>Bytes of shared memory: the stages, the barriers, what the epilogue needs.</summary>
    public int SharedBytes => Stages * (132 * (TileM + TileN) + 16) + 1024 + (TensorEpilogue ? F32BoxEpilogue.SharedBytes(Warpgroups, TileN) : 0);

    /// <summary>Words of flags that a launch on so many blocks needs when it is balanced: zero before the first launch, and left zero.</summary>
    public int FlagWords(int blocks) => PieceOrder.Words(blocks, this);

    /// <summary>Throws when a number is out of range.</summary>
    public void Validate()
    {
        if (Warpgroups is < 1 or > 3) throw new ArgumentException($"{Warpgroups} multiplying warpgroups: 1 to 3 fit the register file.");
        if (Waves is < 1 or > 2 || TileM > 256) throw new ArgumentException($"{Waves} waves of {Warpgroups} warpgroups: a tile has at most 256 rows, in 1 or 2 waves.");
        if (TileN is < 32 or > 256 || TileN % 32 != 0) throw new ArgumentException($"TileN = {TileN}: a multiple of 32 up to 256.");
        if (Products < 1 || Products > Waves) throw new ArgumentException($"Products = {Products}: from 1 to the waves, {Waves}.");
        if ((Waves + Products) * TileN / 2 > ConsumerRegisters - 24)
            throw new ArgumentException($"{Waves} waves of {TileN} columns with {Products} products in flight need {(Waves + Products) * TileN / 2} accumulators of {ConsumerRegisters} registers: make the tile smaller.");
        if (MixedEpilogue && (!TensorEpilogue || Waves < 2)) throw new ArgumentException("A mixed epilogue needs two waves and TensorEpilogue.");
        if (Stages < 2) throw new ArgumentException($"{Stages} stages: the next is awaited while the current one multiplies, so at least 2.");
        if (SharedBytes > Kernel.MaximumSharedBytes) throw new ArgumentException($"{Stages} stages of {TileM} and {TileN} rows need {SharedBytes} bytes of shared memory, a block has {Kernel.MaximumSharedBytes}: take fewer.");
        if (Cluster is not (1 or 2)) throw new ArgumentException($"Cluster = {Cluster}: 1 or 2.");
        if (RasterGroup < 1) throw new ArgumentException($"RasterGroup = {RasterGroup}: at least 1.");
        if (ScalesAhead < 0) throw new ArgumentException($"ScalesAhead = {ScalesAhead}: at least 0.");
    }

    /// <summary>A short name: what log lines and kernel names say.</summary>
    public override string ToString() =>
        $"{Warpgroups}x{Waves}x64x{TileN}_s{Stages}_c{Cluster}_g{RasterGroup}_a{ScalesAhead}{(KeepsScales ? "_k" : "")}{(Products == 1 ? "" : $"_p{Products}")}{(ScaleOrder == ColumnScaleOrder.Interleaved ? "_i" : "")}{(Promotion == GradientPromotion.ColumnFirst ? "_cf" : "")}{(LateEpilogue ? "_late" : "")}{(Balanced ? "_balanced" : "")}{(TensorEpilogue ? MixedEpilogue ? "_mixed" : "_tma" : "")}{(Omits == GradientOmission.Nothing ? "" : "_without_" + Omits)}";
}
