using System.Globalization;
using Hadal.Kernels.Library.Gemm;

namespace Hadal.Kernels.Library.Cases;

/// <summary>
/// Launches that a captured graph repeats with other numbers of rows: the cases of one list share kernel, grid, arguments and the sizes of their buffers, and differ in what these hold:
/// the tables and counts that the device reads, and the operands. Buffers are those of the worst case, tokens·k + 127·experts rows; NaN stands in rows that no group uses.
/// </summary>
public static class ReplayCases
{
    /// <summary>Small ones, in every grouped form and with rows counted on the device: seconds in the interpreter.</summary>
    public static IEnumerable<IReadOnlyList<KernelCase>> Small()
    {
        var tile = new GemmConfig { Warpgroups = 1, Waves = 1, TileN = 32, Stages = 2 };
        yield return Contiguous(24, 2, 3, [[0, 36, 36, 104], [0, 0, 128, 256], [0, 128, 256, 384], [0, 0, 0, 0], [0, 4, 8, 72]], 40, 144, tile);
        yield return Masked(68, [[35, 0, 65], [68, 68, 68], [0, 0, 0], [1, 64, 2]], 40, 144, tile);
        yield return AlongK([[256, 0, 128], [0, 0, 0], [128, 128, 128], [0, 384, 0]], 48, 40, new Fp8GradientConfig { Warpgroups = 1, Waves = 1, TileN = 32, Stages = 2, Balanced = true });
        yield return CastRows(30, 336, [11, 30, 1]);
    }

    /// <summary>Four experts of the model's shapes with the chosen configurations, for a device: 2,048 tokens, of which each chooses two experts.</summary>
    public static IEnumerable<IReadOnlyList<KernelCase>> Large()
    {
        const int Tokens = 2048, Chosen = 2, Experts = 4, Rows = Tokens * Chosen;
        int[][] counts = [[1024, 1024, 1024, 1024], [4096, 0, 0, 0], [1, 2000, 95, 2000], [0, 0, 0, 0], [3000, 1000, 96, 0]];
        int[][] offsets = [.. counts.Select(Padded)];
        var shape = new GemmShape(1024, 2048, GemmGrouping.Contiguous, Experts);
        yield return Contiguous(Tokens, Chosen, Experts, offsets, shape.N, shape.K, GemmChoice.ForFp8(Rows / Experts, shape, 132));
        var masked = new GemmShape(1024, 2048, GemmGrouping.Masked, Experts);
        yield return Masked(512, [[512, 512, 512, 512], [1, 0, 512, 77], [0, 0, 0, 0], [300, 256, 281, 248]], masked.N, masked.K, GemmChoice.ForFp8(256, masked, 132));
        int[][] tokens = [[1024, 1024, 1024, 1024], [4096, 0, 0, 0], [128, 2048, 128, 1792], [0, 0, 0, 0], [3072, 1024, 0, 0]];
        yield return AlongK(tokens, 1024, 512, GemmChoice.ForGradient(new GradientShape(1024, 512, GradientGrouping.AlongK, Experts)));
        yield return CastRows(Rows + 127 * Experts, 7168, [4096, 1, 4604]);
    }

    /// <summary>Where groups of so many rows begin when each is padded to 128, and where the last one ends.</summary>
    static int[] Padded(int[] counts)
    {
        var offsets = new int[counts.Length + 1];
        for (int g = 0; g < counts.Length; g++) offsets[g + 1] = offsets[g] + (counts[g] + 127) / 128 * 128;
        return offsets;
    }

    static KernelCase[] Contiguous(int tokens, int chosen, int experts, int[][] offsets, int n, int k, GemmConfig config)
    {
        int capacity = tokens * chosen + 127 * experts, tileRows = capacity / config.TileM + experts;
        return [.. offsets.Select((table, i) => Same(Fp8GemmCases.Contiguous(
            table, n, k, config, OperandKind.UnevenScales, problem: Fp8GemmCases.ContiguousProblem(table, n, k, OperandKind.UnevenScales, sampled: false, capacity)), i, tileRows, table[^1], capacity, k, config, n, experts))];
    }

    static KernelCase Same(KernelCase one, int number, int tileRows, int used, int capacity, int k, GemmConfig config, int n, int experts) => one with
    {
        Name = string.Create(CultureInfo.InvariantCulture, $"replay {one.Name} {number}"),
        Blocks = multiprocessors => Fp8GemmKernel.Blocks(tileRows, new GemmShape(n, k, GemmGrouping.Contiguous, experts), config, multiprocessors),
        Buffers =
        [
            .. one.Buffers.Select(b => b.Name switch
            {
                "a" => b with { Content = () => Poisoned(b.Content!(), (byte)0x7F, (long)used * k, b.Bytes, b.Bytes) },
                "a_scale" => b with { Content = () => Poisoned(b.Content!(), (byte)0xFF, 4L * used, 4L * capacity, (capacity + 3) / 4 * 16L) },
                _ => b,
            }),
        ],
    };

    /// <summary>The bytes with those from <paramref name="from"/> to <paramref name="end"/> of every row of so many bytes changed.</summary>
    static byte[] Poisoned(byte[] bytes, byte value, long from, long end, long row)
    {
        for (long at = 0; at < bytes.LongLength; at += row) bytes.AsSpan((int)(at + from), (int)(end - from)).Fill(value);
        return bytes;
    }

    static KernelCase[] Masked(int capacity, int[][] counts, int n, int k, GemmConfig config)
    {
        int groups = counts[0].Length, tileRows = (capacity + config.TileM - 1) / config.TileM * groups;
        return [.. counts.Select((table, i) =>
        {
            KernelCase one = Fp8GemmCases.Masked(table, capacity, n, k, config, OperandKind.UnevenScales);
            return one with
            {
                Name = string.Create(CultureInfo.InvariantCulture, $"replay {one.Name} {i}"),
                Blocks = multiprocessors => Fp8GemmKernel.Blocks(tileRows, new GemmShape(n, k, GemmGrouping.Masked, groups), config, multiprocessors),
            };
        })];
    }

    static KernelCase[] AlongK(int[][] tokens, int m, int n, Fp8GradientConfig config)
    {
        int all = tokens.Max(t => t.Sum());
        return [.. tokens.Select((t, i) =>
        {
            KernelCase one = GradientCases.Grouped(m, n, t, config, (ulong)(500 + i), m * n > 4096 ? 8192 : 0, capacity: all);
            return one with { Name = string.Create(CultureInfo.InvariantCulture, $"replay {one.Name} {i}") };
        })];
    }

    static KernelCase[] CastRows(int capacity, int columns, int[] rows) =>
        [.. rows.Select((r, i) =>
        {
            KernelCase one = QuantizeCases.CountedRows(r, capacity, columns, (ulong)(600 + i));
            return one with { Name = string.Create(CultureInfo.InvariantCulture, $"replay {one.Name} {i}") };
        })];
}
