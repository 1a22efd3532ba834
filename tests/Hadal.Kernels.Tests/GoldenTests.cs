using Hadal.Kernels.Ir;
using Hadal.Kernels.Library.Ladder;
using Hadal.Kernels.Ptx;

namespace Hadal.Kernels.Tests;

/// <summary>
/// The PTX of the ladder, kept as text in <c>Golden</c> so that a change of the printer or of a kernel shows in review. Written anew only
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
        LadderRung.All.Select(r => (r.ToString(), (Func<Kernel>)(() => r.Build(new MatrixShape(96, 80, 256)))));

    internal static string Root()
    {
        string? folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "Hadal.slnx"))) folder = Path.GetDirectoryName(folder);
        return folder ?? throw new InvalidOperationException("No folder above the test program holds Hadal.slnx.");
    }
}
