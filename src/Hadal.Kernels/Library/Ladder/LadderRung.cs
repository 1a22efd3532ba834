using Hadal.Kernels.Ir;
using Hadal.Kernels.Library.Cases;

namespace Hadal.Kernels.Library.Ladder;

/// <summary>One kernel of the ladder: a tutorial page (<c>docs/kernels</c>), a test and a line of its performance history.</summary>
/// <param name="Number">Its place.</param>
/// <param name="Name">Its name: of the page, of the golden PTX, in results.</param>
/// <param name="IsVector">It works on M elements; otherwise on M, N and K.</param>
/// <param name="KMultiple">What K must be a multiple of.</param>
/// <param name="Build">Makes the kernel for a shape.</param>
/// <param name="Case">A launch with random operands, of a name, a shape and a seed.</param>
public sealed record LadderRung(int Number, string Name, bool IsVector, int KMultiple, Func<MatrixShape, Kernel> Build, Func<string, MatrixShape, ulong, KernelCase> Case)
{
    /// <summary>All, from the bottom.</summary>
    public static IReadOnlyList<LadderRung> All { get; } =
    [
        new(1, "copy", true, 1, _ => CopyKernel.Build(), (name, s, seed) => LadderCases.Copy(name, s.M, seed)),
        new(2, "add", true, 1, _ => AddKernel.Build(), (name, s, seed) => LadderCases.Add(name, s.M, seed)),
        new(3, "sum", true, 1, _ => SumKernel.Build(), (name, s, seed) => LadderCases.Sum(name, s.M, seed)),
        Gemm(4, "naive-gemm", 1, NaiveGemm.Build, (s, _) => NaiveGemm.Blocks(s), ElementType.F32, maps: false),
        Gemm(5, "shared-gemm", 1, SharedGemm.Build, (s, _) => SharedGemm.Blocks(s), ElementType.F32, maps: false),
        Gemm(6, "mma-gemm", 8, MmaGemm.Build, (s, _) => MmaGemm.Blocks(s), ElementType.BF16, maps: false),
        Gemm(7, "wgmma-gemm", 8, WgmmaGemm.Build, (s, _) => WgmmaGemm.Blocks(s), ElementType.BF16, maps: false),
        Gemm(8, "tma-gemm", 8, TmaGemm.Build, (s, _) => TmaGemm.Blocks(s), ElementType.BF16, maps: true),
        Gemm(9, "pipelined-gemm", 8, PipelinedGemm.Build, (s, _) => PipelinedGemm.Blocks(s), ElementType.BF16, maps: true),
        Gemm(10, "specialised-gemm", 8, SpecialisedGemm.Build, (s, _) => SpecialisedGemm.Blocks(s), ElementType.BF16, maps: true),
        Gemm(11, "persistent-gemm", 8, PersistentGemm.Build, PersistentGemm.Blocks, ElementType.BF16, maps: true),
        new(12, "persistent-fp8-gemm", false, 16, PersistentFp8Gemm.Build, LadderCases.Fp8Gemm),
    ];

    /// <summary>Shapes with tails in every direction, small enough for the interpreter.</summary>
    public IReadOnlyList<MatrixShape> TailShapes => IsVector
        ? [new(1), new(3), new(1024), new(4099), new(9001)]
        : [new(1, 1, KMultiple), new(70, 41, 9 * KMultiple), new(133, 146, 24 * KMultiple), new(64, 256, 16 * KMultiple)];

    /// <summary>The shape whose speed is recorded: 2²⁶ elements, or 4096³.</summary>
    public MatrixShape SpeedShape => IsVector ? new(1 << 26) : new(4096, 4096, 4096);

    /// <summary>One small case a tail shape and kernel.</summary>
    public static IEnumerable<KernelCase> Conformance() =>
        All.SelectMany(rung => rung.TailShapes.Select((shape, i) => rung.Case($"ladder {rung} {rung.Describe(shape)}", shape, (ulong)(100 * rung.Number + i))));

    /// <summary>One large case a kernel.</summary>
    public static IEnumerable<KernelCase> Benchmarks() => All.Select(rung => rung.Case($"ladder {rung} {rung.Describe(rung.SpeedShape)}", rung.SpeedShape, (ulong)rung.Number));

    /// <summary><c>NN-name</c>.</summary>
    public override string ToString() => $"{Number:00}-{Name}";

    string Describe(MatrixShape shape) => IsVector ? $"{shape.M}" : $"{shape.M}x{shape.N}x{shape.K}";

    static LadderRung Gemm(int number, string name, int kMultiple, Func<MatrixShape, Kernel> build, Func<MatrixShape, int, int> blocks, ElementType element, bool maps) =>
        new(number, name, false, kMultiple, build, (caseName, s, seed) => LadderCases.Gemm(caseName, build, blocks, s, element, maps, seed));
}
