namespace Hadal.Kernels.Library.Gemm;

/// <summary>How rows of A are grouped.</summary>
public enum GemmGrouping
{
    /// <summary>One product: D[M, N] = A[M, K] · B[N, K]ᵀ.</summary>
    Dense,

    /// <summary>
    /// Group g owns rows offsets[g] … offsets[g + 1] − 1 of A and D and matrix g of B. Offsets are read on the device; they are multiples of 4, since copies of the
    /// row scales begin at multiples of 16 bytes (a copy that does not is an illegal instruction).
    /// </summary>
    Contiguous,

    /// <summary>Group g owns the first counts[g] of the rows g · capacity … of A and D and matrix g of B. Counts are read on the device.</summary>
    Masked,

    /// <summary>
    /// Every group owns all rows: D[M, G·N] with columns g·N … = A[M, G·K] with columns g·K … · B[G·N, K]ᵀ with rows g·N … . What heads do, whose matrices lie beside
    /// each other in a token's row.
    /// </summary>
    Batched,
}

/// <summary>Shape of a family of products known when the kernel is built; the number of rows is a run-time argument.</summary>
/// <param name="N">Columns of D, rows of B; at least 1.</param>
/// <param name="K">Length of the products; a multiple of 16.</param>
/// <param name="Grouping">How the rows of A are grouped.</param>
/// <param name="Groups">Number of groups; 1 when dense.</param>
public sealed record GemmShape(int N, int K, GemmGrouping Grouping = GemmGrouping.Dense, int Groups = 1)
{
    /// <summary>Throws when a number is out of range.</summary>
    public void Validate()
    {
        if (N < 1) throw new ArgumentException($"N = {N}: a product has at least one column.");
        if (K < 16 || K % 16 != 0) throw new ArgumentException($"K = {K}: the copies need a positive multiple of 16; pad with zeros.");
        if (Groups < 1 || (Grouping == GemmGrouping.Dense && Groups != 1)) throw new ArgumentException($"{Groups} groups with {Grouping}: dense has one, the others at least one.");
    }
}

/// <summary>What an FP8 product leaves out so that a measurement shows what it costs. Its results are wrong.</summary>
public enum GemmOmission
{
    /// <summary>Nothing: the kernel.</summary>
    Nothing,

    /// <summary>Promotion: the tensor cores add up all of K, and the whole is scaled once. Not with a late epilogue, whose tile would be overwritten.</summary>
    Promotion,

    /// <summary>Rounding and storing the tile.</summary>
    Epilogue,
}

/// <summary>The tile and schedule of a GEMM kernel. Chosen by a table of shapes, or by hand.</summary>
public sealed record GemmConfig
{
    /// <summary>Warpgroups that multiply: 1 to 3.</summary>
    public int Warpgroups { get; init; } = 2;

    /// <summary>64-row products a warpgroup makes of each stage: 1 or 2.</summary>
    public int Waves { get; init; } = 2;

    /// <summary>Columns of a tile: a multiple of 8 that never meets more than two 128-column blocks of scales.</summary>
    public int TileN { get; init; } = 128;

    /// <summary>Stages of the ring.</summary>
    public int Stages { get; init; } = 4;

    /// <summary>Blocks of a cluster, which share the rows of A: 1 or 2.</summary>
    public int Cluster { get; init; } = 1;

    /// <summary>Blocks that fit a multiprocessor at once: 1 or 2. With 2 the next launch is set up beside this one.</summary>
    public int Residency { get; init; } = 1;

    /// <summary>Blocks launched for each multiprocessor, at most <see cref="Residency"/>.</summary>
    public int BlocksEach { get; init; } = 1;

    /// <summary>Columns of tiles walked together, so that blocks in flight meet in the L2.</summary>
    public int RasterGroup { get; init; } = 16;

    /// <summary>A tile leaves under the first products of the next one.</summary>
    public bool LateEpilogue { get; init; } = true;

    /// <summary>Tiles leave through the copy engine, whole: 2 bytes of shared memory an element, less work for the multiplying warps. Dense products only.</summary>
    public bool BoxStores { get; init; }

    /// <summary>
    /// Warpgroups that take turns at the chunks of K of one tile: 1, 2 or 4. Their sums are added in their order, so the same bits come out every time. For few
    /// rows, where one warpgroup waits longer for each product than the copies take.
    /// </summary>
    public int SplitK { get; init; } = 1;

    /// <summary>For measurements only: what an FP8 product leaves out.</summary>
    public GemmOmission Omits { get; init; }

    /// <summary>Warpgroups beside each other along the rows of a tile.</summary>
    public int RowWarpgroups => Warpgroups / SplitK;

    /// <summary>Rows of a tile.</summary>
    public int TileM => 64 * RowWarpgroups * Waves;

    /// <summary>Columns that certainly have the same scale of B: tiles begin at multiples of this, and 128 is one.</summary>
    public int Zone => Math.Min(128, TileN & -TileN);

    /// <summary>128-column blocks of scales that a tile may meet.</summary>
    public int ScaleBlocks => 128 % TileN == 0 ? 1 : 2;

    /// <summary>Threads of a block: the multiplying warpgroups and one that copies.</summary>
    public int Threads => 128 * (Warpgroups + 1);

    /// <summary>Registers of a multiplying thread.</summary>
    public int ConsumerRegisters => (Residency, Warpgroups) switch { (1, 1) => 240, (1, 2) => 232, (1, 3) => 160, (1, _) => 112, (_, 1) => 208, _ => 104 };

    /// <summary>Registers of a copying thread.</summary>
    public int ProducerRegisters => Warpgroups * Residency >= 3 ? 32 : 40;

    /// <summary>Throws when a number is out of range.</summary>
    public void Validate()
    {
        if (SplitK is not (1 or 2 or 4) || Warpgroups % SplitK != 0 || (SplitK > 1 && (LateEpilogue || BoxStores || Stages % SplitK != 0)))
            throw new ArgumentException($"SplitK = {SplitK} of {Warpgroups} warpgroups and {Stages} stages: 1, 2 or 4, a divisor of both, with tiles that leave at once through plain stores.");
        if (Warpgroups is < 1 or > 4 || (Warpgroups == 4 && SplitK == 1)) throw new ArgumentException($"{Warpgroups} multiplying warpgroups: 1 to 3 fit the register file, 4 where they share the rows (SplitK).");
        if (Waves is < 1 or > 2 || (Warpgroups >= 3 && Waves == 2)) throw new ArgumentException($"{Waves} waves of {Warpgroups} warpgroups: accumulators of at most 256 rows fit.");
        if (TileN < 8 || TileN % 8 != 0 || TileN > 128 + Zone)
            throw new ArgumentException($"TileN = {TileN}: a multiple of 8 up to 128, or 136, 144, 160, 192, 256, so that a tile lies in at most two 128-column blocks of scales.");
        if (TileN / 2 * (Waves + 1) > ConsumerRegisters - 24)
            throw new ArgumentException($"TileN = {TileN} with {Waves} waves: {TileN / 2 * (Waves + 1)} accumulators do not fit {ConsumerRegisters} registers.");
        if (TileM > 256) throw new ArgumentException($"TileM = {TileM}: a copy brings at most 256 rows.");
        if (Stages < 2 * SplitK) throw new ArgumentException($"{Stages} stages: each part awaits its next while the current one multiplies, so at least {2 * SplitK}.");
        if (Residency is not (1 or 2) || Residency * Warpgroups > 4) throw new ArgumentException($"Residency = {Residency} with {Warpgroups} warpgroups: two blocks of at most 2 multiplying warpgroups fit.");
        if (BlocksEach < 1 || BlocksEach > Residency) throw new ArgumentException($"BlocksEach = {BlocksEach}: from 1 to the residency, {Residency}.");
        if (BoxStores && TileN % 64 != 0) throw new ArgumentException($"TileN = {TileN} with box stores: a multiple of 64, the columns of a box.");
        if (Cluster is not (1 or 2)) throw new ArgumentException($"Cluster = {Cluster}: 1 or 2.");
        if (Omits == GemmOmission.Promotion && (LateEpilogue || SplitK > 1)) throw new ArgumentException("Without promotion a tile leaves before the next begins: no late epilogue, no SplitK.");
        if (RasterGroup < 1) throw new ArgumentException($"RasterGroup = {RasterGroup}: at least 1.");
    }

    /// <summary>All numbers in a line without spaces, as <see cref="Parse"/> reads it: <c>wg2w2n128s4c1g16late</c>.</summary>
    public string Specification => string.Create(
        System.Globalization.CultureInfo.InvariantCulture,
        $"wg{Warpgroups}w{Waves}n{TileN}s{Stages}c{Cluster}g{RasterGroup}{(SplitK == 1 ? "" : $"k{SplitK}")}{(Residency == 1 ? "" : $"r{Residency}b{BlocksEach}")}{(BoxStores ? "t" : "")}{(LateEpilogue ? "late" : "")}{Omits switch { GemmOmission.Promotion => "np", GemmOmission.Epilogue => "ne", _ => "" }}");

    /// <summary>Reads a <see cref="Specification"/>; what it leaves out has its default, and the epilogue is not late.</summary>
    public static GemmConfig Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var config = new GemmConfig { LateEpilogue = false };
        for (int at = 0; at < text.Length;)
        {
            int end = at;
            while (end < text.Length && char.IsAsciiLetter(text[end])) end++;
            string word = text[at..end];
            int digits = end;
            while (digits < text.Length && char.IsAsciiDigit(text[digits])) digits++;
            int number = end == digits ? 0 : int.Parse(text.AsSpan(end, digits - end), System.Globalization.CultureInfo.InvariantCulture);
            foreach ((string suffix, GemmOmission omission) in ((string, GemmOmission)[])[("np", GemmOmission.Promotion), ("ne", GemmOmission.Epilogue)])
            {
                if (!word.EndsWith(suffix, StringComparison.Ordinal)) continue;
                config = config with { Omits = omission };
                word = word[..^suffix.Length];
            }

            config = word switch
            {
                "" => config,
                "wg" => config with { Warpgroups = number },
                "w" => config with { Waves = number },
                "n" => config with { TileN = number },
                "s" => config with { Stages = number },
                "c" => config with { Cluster = number },
                "g" => config with { RasterGroup = number },
                "k" => config with { SplitK = number },
                "r" => config with { Residency = number },
                "b" => config with { BlocksEach = number },
                "late" => config with { LateEpilogue = true },
                "t" => config with { BoxStores = true },
                "tlate" => config with { BoxStores = true, LateEpilogue = true },
                _ => throw new FormatException($"'{word}' in the tile '{text}': expected wg, w, n, s, c, g, k, r, b with numbers, t and late."),
            };
            at = digits;
        }

        config.Validate();
        return config;
    }

    /// <summary>A short name: what log lines and kernel names say.</summary>
    public override string ToString() => $"{TileM}x{TileN}_s{Stages}_c{Cluster}{(SplitK == 1 ? "" : $"_k{SplitK}")}{(Residency == 1 ? "" : $"_r{Residency}")}{(BoxStores ? "_boxes" : "")}{(LateEpilogue ? "_late" : "")}{(Omits == GemmOmission.Nothing ? "" : "_without_" + Omits)}";
}
