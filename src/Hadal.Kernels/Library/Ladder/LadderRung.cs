using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Ladder;

/// <summary>One kernel of the ladder: a tutorial page (<c>docs/kernels</c>), a test and a line of its performance history.</summary>
/// <param name="Number">Its place.</param>
/// <param name="Name">Its name: of the page, of the golden PTX, in results.</param>
/// <param name="IsVector">It works on M elements; otherwise on M, N and K.</param>
/// <param name="KMultiple">What K must be a multiple of.</param>
/// <param name="Problem">A launch with random operands for a shape, a number of multiprocessors and a seed.</param>
public sealed record LadderRung(int Number, string Name, bool IsVector, int KMultiple, Func<MatrixShape, int, ulong, LadderProblem> Problem)
{
    /// <summary>All, from the bottom.</summary>
    public static IReadOnlyList<LadderRung> All { get; } =
    [
        new(1, "copy", true, 1, (s, _, seed) => LadderProblem.Copy(s.M, seed)),
        new(2, "add", true, 1, (s, processors, seed) => LadderProblem.Add(s.M, processors, seed)),
        new(3, "sum", true, 1, (s, processors, seed) => LadderProblem.Sum(s.M, processors, seed)),
        Gemm(4, "naive-gemm", 1, NaiveGemm.Build, (s, _) => NaiveGemm.Blocks(s), ElementType.F32, maps: false),
        Gemm(5, "shared-gemm", 1, SharedGemm.Build, (s, _) => SharedGemm.Blocks(s), ElementType.F32, maps: false),
        Gemm(6, "mma-gemm", 8, MmaGemm.Build, (s, _) => MmaGemm.Blocks(s), ElementType.BF16, maps: false),
        Gemm(7, "wgmma-gemm", 8, WgmmaGemm.Build, (s, _) => WgmmaGemm.Blocks(s), ElementType.BF16, maps: false),
        Gemm(8, "tma-gemm", 8, TmaGemm.Build, (s, _) => TmaGemm.Blocks(s), ElementType.BF16, maps: true),
        Gemm(9, "pipelined-gemm", 8, PipelinedGemm.Build, (s, _) => PipelinedGemm.Blocks(s), ElementType.BF16, maps: true),
        Gemm(10, "specialised-gemm", 8, SpecialisedGemm.Build, (s, _) => SpecialisedGemm.Blocks(s), ElementType.BF16, maps: true),
        Gemm(11, "persistent-gemm", 8, PersistentGemm.Build, PersistentGemm.Blocks, ElementType.BF16, maps: true),
        new(12, "persistent-fp8-gemm", false, 16, (s, processors, seed) => LadderProblem.Fp8Gemm(s, processors, seed)),
    ];

    /// <summary><c>NN-name</c>.</summary>
    public override string ToString() => $"{Number:00}-{Name}";

    static LadderRung Gemm(int number, string name, int kMultiple, Func<MatrixShape, Kernel> build, Func<MatrixShape, int, int> blocks, ElementType element, bool maps) =>
        new(number, name, false, kMultiple, (s, processors, seed) => LadderProblem.Gemm(build(s), blocks(s, processors), s, element, maps, seed));
}
