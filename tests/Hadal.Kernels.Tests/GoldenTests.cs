using Hadal.Kernels.Ir;
using Hadal.Kernels.Library.Gemm;
using Hadal.Kernels.Library.Ladder;
using Hadal.Kernels.Library.Quantize;
using Hadal.Kernels.Ptx;
using Hadal.Numerics;

namespace Hadal.Kernels.Tests;

/// <summary>
/// The PTX of the ladder and of the library's large kernels, kept as text in <c>Golden</c> so that a change of the printer or of a kernel shows in review. Written anew only
/// on purpose: run this test program with
/// <c>HADAL_WRITE_GOLDEN=1</c> and <c>--filter-class Hadal.Kernels.Tests.GoldenTests</c>.
/// </summary>
public sealed class GoldenTests
{
    static readonly string Folder = Path.Combine(Root(), "tests", "Hadal.Kernels.Tests", "Golden");

    public static TheoryData<string> Names => [.. Kernels().Select(k => k.Name)];

    [Theory]
    [MemberData(nameof(Names))]
    public void Ptx_is_the_golden_text(string name)
    {
        string path = Path.Combine(Folder, name + ".ptx");
        if (Writes) File.WriteAllText(path, PtxPrinter.Print(Kernels().Single(k => string.Equals(k.Name, name, StringComparison.Ordinal)).Build()));
        Assert.True(File.Exists(path), $"{path} is missing: write it as the summary of this class says.");
        string[] golden = File.ReadAllText(path).Split('\n'), printed = PtxPrinter.Print(Kernels().Single(k => string.Equals(k.Name, name, StringComparison.Ordinal)).Build()).Split('\n');
        for (int i = 0; i < Math.Min(golden.Length, printed.Length); i++)
            Assert.True(string.Equals(golden[i], printed[i], StringComparison.Ordinal), $"{name}.ptx, line {i + 1}: golden '{golden[i]}', printed '{printed[i]}'. If the change is meant, write the files anew as the summary of this class says.");
        Assert.Equal(golden.Length, printed.Length);
    }

    [Fact]
    public void Every_golden_file_has_its_kernel() =>
        Assert.Equal(Kernels().Select(k => k.Name + ".ptx").Order(StringComparer.Ordinal), Directory.EnumerateFiles(Folder).Select(p => Path.GetFileName(p)!).Order(StringComparer.Ordinal));

    [Theory]
    [MemberData(nameof(Names))]
    public void Notes_name_files_without_folders_and_lines(string name)
    {
        string[] notes = [.. PtxPrinter.Print(Kernels().Single(k => string.Equals(k.Name, name, StringComparison.Ordinal)).Build()).Split('\n').Where(l => l.Contains("// ", StringComparison.Ordinal))];
        Assert.NotEmpty(notes);
        Assert.All(notes, note => Assert.Matches(@"// \w[\w.]*\.cs:\d+$", note));
    }

    /// <summary>True when the person who runs the tests asks for the files to be written anew.</summary>
    internal static bool Writes => string.Equals(Environment.GetEnvironmentVariable("HADAL_WRITE_GOLDEN"), "1", StringComparison.Ordinal);

    static IEnumerable<(string Name, Func<Kernel> Build)> Kernels() =>
        LadderRung.All.Select(r => (r.ToString(), (Func<Kernel>)(() => r.Build(new MatrixShape(96, 80, 256))))).Concat(Family());

    /// <summary>The large kernels of the library, as chosen for shapes of the model on 132 multiprocessors.</summary>
    static IEnumerable<(string Name, Func<Kernel> Build)> Family()
    {
        GemmShape dense = new(7168, 16384), few = new(2112, 7168), contiguous = new(4096, 7168, GemmGrouping.Contiguous, 4), masked = new(4096, 7168, GemmGrouping.Masked, 4), heads = new(128, 512, GemmGrouping.Batched, 128);
        GradientShape gradient = new(7168, 4096), experts = new(7168, 2048, GradientGrouping.AlongK, 4);
        yield return ("fp8-gemm", () => Fp8GemmKernel.Build(dense, GemmChoice.ForFp8(4096, dense, 132)));
        yield return ("fp8-gemm-few-rows", () => Fp8GemmKernel.Build(few, GemmChoice.ForFp8(64, few, 132)));
        yield return ("fp8-gemm-contiguous", () => Fp8GemmKernel.Build(contiguous, GemmChoice.ForFp8(8192, contiguous, 132)));
        yield return ("fp8-gemm-masked", () => Fp8GemmKernel.Build(masked, GemmChoice.ForFp8(271, masked, 132)));
        yield return ("fp8-gradient", () => Fp8GradientKernel.Build(gradient, GemmChoice.ForGradient(gradient)));
        yield return ("fp8-gradient-along-k", () => Fp8GradientKernel.Build(experts, GemmChoice.ForGradient(experts)));
        yield return ("bf16-gemm", () => Bf16GemmKernel.Build(new GemmShape(8192, 8192), GemmChoice.ForBf16(8192, 8192, 8192, 132), Bf16GemmOutput.BF16));
        yield return ("bf16-gemm-batched", () => Bf16GemmKernel.Build(heads, GemmChoice.ForBf16Batched(128, 128, 128, 512, 132), Bf16GemmOutput.BF16));
        yield return ("cast-rows", () => RowCastKernel.Build(7168, ScaleKind.Plain));
        yield return ("cast-blocks", () => BlockCastKernel.Build(7168, ScaleKind.Plain));
        yield return ("retile-e4m3", () => RetileKernel.Build(7168, ElementType.E4M3, ScaleKind.Plain, ColumnScaleOrder.Interleaved));
        yield return ("retile-bf16", () => RetileKernel.Build(7168, ElementType.BF16, ScaleKind.Plain, ColumnScaleOrder.Interleaved));
        yield return ("e5m6-pack", () => E5M6Kernels.BuildPack(16384));
        yield return ("e5m6-unpack", () => E5M6Kernels.BuildUnpack(16384));
    }

    /// <summary>The entries of the large kernels.</summary>
    internal static IEnumerable<string> FamilyNames() => FamilyKernels().Select(k => k.Name);

    /// <summary>The large kernels.</summary>
    internal static IEnumerable<Kernel> FamilyKernels() => Family().Select(f => f.Build());

    internal static string Root()
    {
        string? folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "Hadal.slnx"))) folder = Path.GetDirectoryName(folder);
        return folder ?? throw new InvalidOperationException("No folder above the test program holds Hadal.slnx.");
    }
}
