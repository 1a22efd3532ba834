using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using Hadal.Kernels.Library.Cases;

namespace Hadal.Kernels.Tests;

/// <summary>
/// What only a GPU can show, as it was recorded on one (<c>benchmarks/results/h200</c>): the files are complete, belong to the kernels that are here, and say what is claimed of them.
/// </summary>
public sealed partial class DeviceResultTests
{
    static readonly string Folder = Path.Combine(GoldenTests.Root(), "benchmarks", "results", "h200");

    /// <summary>All small cases and every eighth of the large ones (FP8 products) ran a thousand times, all others once.</summary>
    [Fact]
    public void Every_case_was_right_on_a_device_and_all_small_and_some_large_ones_gave_the_same_bits_a_thousand_times()
    {
        string checks = Read("checks.txt");
        Match right = Right().Match(checks), same = Same().Match(checks);
        Assert.True(right.Success && same.Success);
        Assert.Equal(right.Groups[2].Value, right.Groups[1].Value);
        Assert.Equal(same.Groups[2].Value, same.Groups[1].Value);
        int all = Number(right), small = Number(Right().Match(Section("compute-sanitizer memcheck")));
        Assert.Equal(small + (all - small + 7) / 8, Number(same));
        Assert.DoesNotMatch("(?m)^(WRONG|FAILED|MOVED) ", checks);
        Assert.Matches(@"^Checks on an NVIDIA H\d00 .*20\d\d-\d\d-\d\d", checks);

        // The kinds of kernels that are checked here were checked there.
        foreach (string family in KernelCases.Conformance().Select(c => c.Name.Split(' ')[0].Split("_gemm_")[0]).Distinct(StringComparer.Ordinal)) Assert.Matches($@"(?m)^  {Regex.Escape(family)}: [1-9]", checks);
        Assert.Contains("refused as it should be", checks, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("memcheck", "ERROR SUMMARY: 0 errors")]
    [InlineData("synccheck", "ERROR SUMMARY: 0 errors")]
    [InlineData("initcheck", "ERROR SUMMARY: 0 errors")]
    [InlineData("racecheck", "RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)")]
    public void The_sanitizer_found_nothing(string tool, string summary)
    {
        string section = Section("compute-sanitizer " + tool);
        Assert.Contains(summary, section, StringComparison.Ordinal);
        Match right = Right().Match(section);
        Assert.Equal(right.Groups[2].Value, right.Groups[1].Value);
        Assert.True(Number(right) >= 200);
    }

    [Fact]
    public void Chosen_kernels_spill_nothing()
    {
        string registers = Read("registers.txt");
        foreach (string name in GoldenTests.FamilyNames())
        {
            Match line = Regex.Match(registers, $@"(?m)^{name}: .*?(\d+) bytes spill stores, (\d+) bytes spill loads");
            Assert.True(line.Success, $"registers.txt has no line of {name}: the kernel has changed since it was measured.");
            for (int i = 1; i <= 2; i++) Assert.Equal("0", line.Groups[i].Value);
        }
    }

    /// <summary>The kernel of the library within a hundredth of the time of the same one written by hand, bit for bit, turn by turn.</summary>
    [Fact]
    public void The_language_costs_less_than_a_hundredth()
    {
        string turns = Read("language.txt");
        double[] ratios = [.. Library().Matches(turns).Select(m => double.Parse(m.Groups[1].Value, CultureInfo.InvariantCulture))];
        Assert.Equal(3, ratios.Length);
        Assert.All(ratios, r => Assert.InRange(r, 0.9, 1.01));
        Assert.Equal(3, turns.Split("the same bits").Length - 1);
    }

    /// <summary>All kernels of a model: five seconds when nothing was compiled, half a second when all was.</summary>
    [Fact]
    public void A_model_starts_within_five_seconds_and_again_within_half_a_second()
    {
        (string How, double Seconds)[] starts = [.. Start().Matches(Read("cold.txt")).Select(m => (m.Groups[1].Value, double.Parse(m.Groups[2].Value, CultureInfo.InvariantCulture)))];
        Assert.Equal(2, starts.Length);
        Assert.All(starts, s => Assert.InRange(s.Seconds, 0.01, s.How is "compiled" ? 5 : 0.5));
        Assert.Equal("compiled, found compiled", string.Join(", ", starts.Select(s => s.How)));
    }

    /// <summary>
    /// Figures belong to the form of a kernel that was measured (<c>kernels.txt</c>: SHA-256 of its PTX). The page of the family says of every chosen kernel whether it is still that form; after
    /// a change of a kernel, or a new measurement, write the table anew: <c>HADAL_WRITE_GOLDEN=1</c> and this class.
    /// </summary>
    [Fact]
    public void The_page_says_which_kernels_were_measured_in_an_older_form()
    {
        const string Begin = "<!-- measured -->\n", End = "<!-- /measured -->";
        string page = Path.Combine(GoldenTests.Root(), "docs", "gemm-family.md"), text = File.ReadAllText(page);
        var measured = Read("kernels.txt").Split('\n').Where(l => l.Length > 0 && !l.StartsWith('#')).Select(l => l.Split(' ')).ToLookup(w => w[0], w => w[1], StringComparer.Ordinal);
        string table = "| kernel | figures and checks on an H200 |\n|---|---|\n" + string.Concat(GoldenTests.FamilyKernels().Select(k =>
            $"| `{k.Name}` | {(!measured.Contains(k.Name) ? "not measured" : measured[k.Name].Contains(Ptx.PtxDigest.Of(k), StringComparer.Ordinal) ? "of this form" : "of an older form: **stale**")} |\n"));
        int begin = text.IndexOf(Begin, StringComparison.Ordinal) + Begin.Length, end = text.IndexOf(End, StringComparison.Ordinal);
        Assert.True(begin >= Begin.Length && end > 0, "docs/gemm-family.md has no table of what was measured.");
        if (GoldenTests.Writes) File.WriteAllText(page, text[..begin] + table + text[end..]);
        else Assert.Equal(table, text[begin..end]);
    }

    /// <summary>
    /// A product may be promoted only when it is done. In the cycles of the long product the tensor pipe is busy nine tenths of the time and the pipe that promotes a quarter: both cannot be
    /// unless one warpgroup promotes while the other multiplies. All of promotion costs a twentieth of the time.
    /// </summary>
    [Fact]
    [Implements("V3 §3.3.2", "Two warpgroups alternate: one promotes while the other multiplies")]
    public void Tensor_cores_multiply_while_sums_are_promoted()
    {
        const string Kernel = "sm90_fp8_gemm_nt_1x128_128x128_n7168_k16384_256x128_s4_c2";
        double[] whole = Counters(Kernel), without = Counters(Kernel + "_without_Promotion");
        Assert.True(whole[2] > 90 && whole[2] + whole[4] > 110, $"tensor {whole[2]} %, fma {whole[4]} %");
        Assert.True(without[4] < 5 && whole[0] / without[0] < 1.07, $"{whole[0]} µs, without promotion {without[0]} µs");
    }

    [Fact]
    public void A_model_of_ours_gave_the_same_logits_in_transformers()
    {
        using JsonDocument report = JsonDocument.Parse(Read("load-model.json"));
        JsonElement[] rows = [.. report.RootElement.GetProperty("rows").EnumerateArray()];
        Assert.Equal(3, rows.Length);
        Assert.All(rows, row =>
        {
            Assert.Equal("DeepseekV3ForCausalLM", row.GetProperty("class").GetString());
            Assert.Equal(0, row.GetProperty("missing").GetArrayLength());
            Assert.InRange(row.GetProperty("relative_difference").GetDouble(), 0, 1e-5);
            Assert.Equal(1, row.GetProperty("same_first_choice").GetDouble());
        });
    }

    /// <summary>The numbers of a kernel's row.</summary>
    static double[] Counters(string kernel) => [.. Read("counters.md").Split('\n').Single(l => l.StartsWith($"| {kernel} |", StringComparison.Ordinal)).Split('|')[2..^2].Select(t => double.Parse(t, CultureInfo.InvariantCulture))];

    /// <summary>What one tool said of the small cases.</summary>
    static string Section(string tool) => Read("checks.txt").Split("\n== ").Single(s => s.StartsWith(tool, StringComparison.Ordinal));

    static int Number(Match match) => int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture);

    static string Read(string file) => File.ReadAllText(Path.Combine(Folder, file));

    [GeneratedRegex(@"(?m)^\S+ library: .* ratio ([\d.]+) ")]
    private static partial Regex Library();

    [GeneratedRegex(@"(?m)^medium: \d+ kernels, ((?:found )?compiled), ([\d.]+) s: ")]
    private static partial Regex Start();

    [GeneratedRegex(@"(\d+) of (\d+) cases right, ")]
    private static partial Regex Right();

    [GeneratedRegex(@"(\d+) of (\d+) cases gave the same bits 1000 times")]
    private static partial Regex Same();
}
