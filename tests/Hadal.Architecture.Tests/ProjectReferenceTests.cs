using System.Xml.Linq;

namespace Hadal.Architecture.Tests;

/// <summary>The house: a project may use those in a lower band, nothing beside or above it (docs/architecture.md).</summary>
public sealed class ProjectReferenceTests
{
    static readonly Dictionary<string, int> Band = new(StringComparer.Ordinal)
    {
        ["Hadal.Cli"] = 8,
        ["Hadal.Server"] = 7,
        ["Hadal.Planning"] = 7,
        ["Hadal.Training"] = 6,
        ["Hadal.Inference"] = 5,
        ["Hadal.Parallel"] = 4,
        ["Hadal.Model"] = 3,
        ["Hadal.Tensors.Cuda"] = 2,
        ["Hadal.Tensors"] = 1,
        ["Hadal.Kernels"] = 1,
        ["Hadal.Numerics"] = 0,
        ["Hadal.Formats"] = 0,
        ["Hadal.Client"] = 0,
        ["Hadal.Text"] = 0,
    };

    public static TheoryData<string> Projects()
    {
        var data = new TheoryData<string>();
        foreach (string path in Directory.EnumerateFiles(Path.Combine(Repository.Root, "src"), "*.csproj", SearchOption.AllDirectories))
            data.Add(Path.GetFileNameWithoutExtension(path));
        return data;
    }

    [Theory]
    [MemberData(nameof(Projects))]
    public void A_project_refers_only_to_lower_bands(string project)
    {
        Assert.True(Band.TryGetValue(project, out int band), $"{project} has no band: add it to docs/architecture.md and to this test.");
        string file = Path.Combine(Repository.Root, "src", project, project + ".csproj");
        foreach (XElement reference in XDocument.Load(file).Descendants("ProjectReference"))
        {
            string other = Path.GetFileNameWithoutExtension(reference.Attribute("Include")!.Value);
            Assert.True(Band[other] < band, $"{project} (band {band}) refers to {other} (band {Band[other]}): arrows point down only.");
        }
    }

    [Fact]
    public void Platform_invokes_live_only_where_the_house_says()
    {
        string[] allowed = ["Hadal.Kernels/Driver/", "Hadal.Parallel/", "Hadal.Cli/Benchmarks/"];
        foreach (string path in Directory.EnumerateFiles(Path.Combine(Repository.Root, "src"), "*.cs", SearchOption.AllDirectories))
        {
            string relative = Path.GetRelativePath(Path.Combine(Repository.Root, "src"), path).Replace('\\', '/');
            string text = File.ReadAllText(path);
            bool invokes = text.Contains("DllImport", StringComparison.Ordinal) || text.Contains("LibraryImport", StringComparison.Ordinal)
                || text.Contains("NativeLibrary.", StringComparison.Ordinal);
            Assert.True(!invokes || allowed.Any(a => relative.StartsWith(a, StringComparison.Ordinal)), $"{relative} calls native code; only {string.Join(", ", allowed)} may.");
        }
    }
}
