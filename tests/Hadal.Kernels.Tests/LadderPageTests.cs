using System.Globalization;
using System.Text.RegularExpressions;
using Hadal.Kernels.Library.Ladder;

namespace Hadal.Kernels.Tests;

/// <summary>
/// The tutorial pages of the ladder: there is one for each kernel, and its figure is the recorded one. Written anew after a new measurement by running this test program with
/// <c>HADAL_WRITE_GOLDEN=1</c> and <c>--filter-class Hadal.Kernels.Tests.LadderPageTests</c>.
/// </summary>
public sealed partial class LadderPageTests
{
    const string Begin = "<!-- figure -->\n", End = "<!-- /figure -->";
    static readonly string Pages = Path.Combine(GoldenTests.Root(), "docs", "kernels");

    public static TheoryData<string> Files => ["README.md", .. LadderRung.All.Select(r => r + ".md")];

    [Theory]
    [MemberData(nameof(Files))]
    public void Pages_show_the_recorded_figures(string file)
    {
        string text = File.ReadAllText(Path.Combine(Pages, file));
        int begin = text.IndexOf(Begin, StringComparison.Ordinal) + Begin.Length;
        Assert.True(begin >= Begin.Length, $"{file} has no figure.");
        if (GoldenTests.Writes)
        {
            text = text[..begin] + Figure(file) + text[text.IndexOf(End, StringComparison.Ordinal)..];
            File.WriteAllText(Path.Combine(Pages, file), text);
        }

        Assert.Equal(Figure(file), text[begin..text.IndexOf(End, StringComparison.Ordinal)]);
    }

    [Fact]
    public void There_is_a_page_for_each_kernel_and_no_other() =>
        Assert.Equal(LadderRung.All.Select(r => r + ".md").Append("README.md").Order(StringComparer.Ordinal), Directory.EnumerateFiles(Pages).Select(p => Path.GetFileName(p)!).Order(StringComparer.Ordinal));

    /// <summary>The figure of a page, or the table of all.</summary>
    static string Figure(string file)
    {
        string[] lines = File.ReadAllLines(Path.Combine(GoldenTests.Root(), "benchmarks", "results", "h200", "ladder.txt"));
        string card = lines.First(l => !l.StartsWith('#')).Split(',')[0];
        Dictionary<string, Match> records = lines.Select(l => Record().Match(l)).Where(m => m.Success).ToDictionary(m => m.Groups["rung"].Value, StringComparer.Ordinal);
        if (!string.Equals(file, "README.md", StringComparison.Ordinal))
        {
            return records.TryGetValue(Path.GetFileNameWithoutExtension(file), out Match? one)
                ? $"Measured on an {card}: {Time(one)}, {Rate(one)}; {one.Groups["registers"].Value} registers a thread, {(one.Groups["local"].Value is "0" ? "no spills" : $"{one.Groups["local"].Value} bytes of local memory")}.\n"
                : "Not measured yet.\n";
        }

        IEnumerable<string> rows = LadderRung.All.Select(r => records.TryGetValue(r.ToString(), out Match? one) ? $"| {r} | {Time(one)} | {Rate(one)} | {one.Groups["registers"].Value} |\n" : $"| {r} | not measured yet | | |\n");
        return $"| rung | time, {card} | rate | registers |\n|---|---|---|---|\n{string.Concat(rows)}";
    }

    static string Time(Match record)
    {
        double microseconds = double.Parse(record.Groups["time"].Value, CultureInfo.InvariantCulture);
        return microseconds < 10000 ? string.Create(CultureInfo.InvariantCulture, $"{microseconds:F0} µs") : string.Create(CultureInfo.InvariantCulture, $"{microseconds / 1000:F0} ms");
    }

    /// <summary>Bytes a second where bytes count, operations a second (from the time, since the record rounds) where those do.</summary>
    static string Rate(Match record)
    {
        string[] sizes = record.Groups["shape"].Value.Split('x');
        if (sizes.Length == 1) return record.Groups["bytes"].Value + " TB/s";
        double operations = 2 * sizes.Aggregate(1.0, (product, s) => product * double.Parse(s, CultureInfo.InvariantCulture)), teraflops = operations / double.Parse(record.Groups["time"].Value, CultureInfo.InvariantCulture) / 1e6;
        return string.Create(CultureInfo.InvariantCulture, $"{(teraflops < 10 ? $"{teraflops:F2}" : $"{teraflops:F0}")} TFLOP/s");
    }

    [GeneratedRegex(@"^ladder (?<rung>\S+) (?<shape>\S+) \| (?<time>[\d.]+) us \S+ TFLOP/s (?<bytes>[\d.]+) TB/s \| (?<registers>\d+) registers (?<local>\d+) local.* right ")]
    private static partial Regex Record();
}
