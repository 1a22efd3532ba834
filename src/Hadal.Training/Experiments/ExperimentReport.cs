using System.Globalization;
using System.Text;
using System.Text.Json;
using Hadal.Training.Recording;

namespace Hadal.Training.Experiments;

/// <summary>A line of a picture.</summary>
/// <param name="Name">In the legend.</param>
/// <param name="X">Places.</param>
/// <param name="Y">Values.</param>
public sealed record ReportSeries(string Name, double[] X, double[] Y);

/// <summary>
/// What an experiment came to, as a file (JSON) from which table, picture and page are made: where it ran nothing can be drawn, perhaps, and several files with other seeds can be put together.
/// </summary>
public sealed record ExperimentReport
{
    const string Schema = "hadal-experiment-1";
    const long LargestFile = 256 << 20;

    /// <summary>Name of the experiment.</summary>
    public required string Name { get; init; }

    /// <summary>The command that repeats it.</summary>
    public required string Command { get; init; }

    /// <summary>Day, UTC, yyyy-MM-dd.</summary>
    public required string Date { get; init; }

    /// <summary>System, processors, vectors.</summary>
    public required string Machine { get; init; }

    /// <summary>Model, text and batch in a sentence.</summary>
    public required string Setting { get; init; }

    /// <summary>Runs of all variants and seeds; empty for an experiment that trains nothing.</summary>
    public IReadOnlyList<VariantResult> Results { get; init; } = [];

    /// <summary>Rows of the table, the first its head, of an experiment that trains nothing.</summary>
    public IReadOnlyList<string[]> Rows { get; init; } = [];

    /// <summary>Lines of the picture, of an experiment that trains nothing.</summary>
    public IReadOnlyList<ReportSeries> Lines { get; init; } = [];

    /// <summary>What the picture's axes say.</summary>
    public (string X, string Y) Axes { get; init; } = ("step", "nats per token");

    /// <summary>The table, the first row its head.</summary>
    public IReadOnlyList<string[]> Table => Results.Count > 0 ? ExperimentTable.Of(Results) : Rows;

    /// <summary>The picture's lines: of trained variants the smoothed loss, mean over the seeds.</summary>
    public IReadOnlyList<ReportSeries> Series => Results.Count == 0 ? Lines :
    [
        .. Results.GroupBy(r => r.Name, StringComparer.Ordinal).Select(group =>
        {
            double[][] curves = [.. group.Select(r => r.SmoothedLosses())];
            int steps = curves.Min(c => c.Length);
            return new ReportSeries(group.Key, [.. Enumerable.Range(1, steps).Select(s => (double)s)], [.. Enumerable.Range(0, steps).Select(s => curves.Average(c => c[s]))]);
        }),
    ];

    /// <summary>The table as Markdown.</summary>
    public string TableText()
    {
        IReadOnlyList<string[]> table = Table;
        var text = new StringBuilder();
        for (int r = 0; r < table.Count; r++)
        {
            text.Append("| ").AppendJoin(" | ", table[r]).Append(" |\n");
            if (r == 0) text.Append('|').Insert(text.Length, "---|", table[0].Length).Append('\n');
        }

        return text.ToString();
    }

    /// <summary>What the flight recorder saw with the first seed, as Markdown; empty without one.</summary>
    public string RecordingText()
    {
        string[] rows = [.. Results.Where(r => r.Seed == Results[0].Seed).SelectMany(r => r.Recording)];
        return rows.Length == 0 ? "" : string.Join('\n', RecordingSummary.MarkdownHeader.Concat(rows)) + "\n";
    }

    /// <summary>Puts runs of the same experiment together, for example of other seeds.</summary>
    /// <exception cref="ArgumentException">They are of different experiments.</exception>
    public static ExperimentReport Merge(IReadOnlyList<ExperimentReport> reports)
    {
        ArgumentNullException.ThrowIfNull(reports);
        ExperimentReport first = reports[0];
        foreach (ExperimentReport other in reports)
        {
            if (!string.Equals(other.Name, first.Name, StringComparison.Ordinal) || !string.Equals(other.Setting, first.Setting, StringComparison.Ordinal))
                throw new ArgumentException($"Results of '{other.Name}' ({other.Setting}) and '{first.Name}' ({first.Setting}) do not belong together.", nameof(reports));
        }

        if (reports.Count == 1) return first;
        IReadOnlyList<VariantResult> results = Ordered(first.Name, [.. reports.SelectMany(r => r.Results)]);
        if (results.GroupBy(r => (r.Name, r.Seed)).FirstOrDefault(g => g.Count() > 1) is { } twice)
            throw new ArgumentException($"The variant '{twice.Key.Name}' of seed {twice.Key.Seed} is there twice.", nameof(reports));
        return first with
        {
            Command = (reports.Any(r => r.Command.Contains(" --data ", StringComparison.Ordinal)) ? null : WholeCommand(first.Name, results)) ?? string.Join("`, `", reports.Select(r => r.Command).Distinct(StringComparer.Ordinal)),
            Date = string.Join(", ", reports.Select(r => r.Date).Distinct(StringComparer.Ordinal)),
            Machine = string.Join("; ", reports.Select(r => r.Machine).Distinct(StringComparer.Ordinal)),
            Results = results,
        };
    }

    /// <summary>The one command that makes all results, where there is one: every variant with every seed, seeds without gaps, the same number of steps.</summary>
    static string? WholeCommand(string name, IReadOnlyList<VariantResult> results)
    {
        if (Experiment.All.FirstOrDefault(e => string.Equals(e.Name, name, StringComparison.Ordinal)) is not { } experiment || results.Count == 0) return null;
        ulong[] seeds = [.. results.Select(r => r.Seed).Distinct().Order()];
        int steps = results[0].Losses.Length, variants = experiment.Variants(Experiment.Base(1, 1)).Count;
        bool whole = results.Count == seeds.Length * variants && seeds[^1] - seeds[0] == (ulong)seeds.Length - 1 && results.All(r => r.Losses.Length == steps);
        return whole ? CommandOf(name, steps, seeds[0], seeds.Length) : null;
    }

    /// <summary>The command that runs all variants of an experiment.</summary>
    public static string CommandOf(string name, int steps, ulong firstSeed, int seeds) =>
        FormattableString.Invariant($"hadal experiment {name} --steps {steps} --seed {firstSeed}") + (seeds > 1 ? FormattableString.Invariant($" --seeds {seeds}") : "");

    /// <summary>Variants in the order of their experiment, whichever file was given first.</summary>
    static IReadOnlyList<VariantResult> Ordered(string name, IReadOnlyList<VariantResult> results)
    {
        if (Experiment.All.FirstOrDefault(e => string.Equals(e.Name, name, StringComparison.Ordinal)) is not { } experiment) return results;
        string[] order = [.. experiment.Variants(Experiment.Base(1, 1)).Select(v => v.Name)];
        return [.. results.OrderBy(r => Array.IndexOf(order, r.Name) is int at && at >= 0 ? at : order.Length).ThenBy(r => r.Seed)];
    }

    /// <summary>The file's text.</summary>
    public string ToJson()
    {
        using var memory = new MemoryStream();
        using (var json = new Utf8JsonWriter(memory)) Write(json);
        return Encoding.UTF8.GetString(memory.ToArray());
    }

    void Write(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        json.WriteString("schema", Schema);
        json.WriteString("experiment", Name);
        json.WriteString("command", Command);
        json.WriteString("date", Date);
        json.WriteString("machine", Machine);
        json.WriteString("setting", Setting);
        json.WriteString("x", Axes.X);
        json.WriteString("y", Axes.Y);
        json.WriteStartArray("results");
        foreach (VariantResult result in Results)
        {
            json.WriteStartObject();
            json.WriteString("variant", result.Name);
            json.WriteNumber("seed", result.Seed);
            WriteNumbers(json, "losses", result.Losses);
            WriteNumber(json, "max_violation", result.MaxViolation);
            WriteNumber(json, "bits_per_byte", result.BitsPerByte);
            WriteNumber(json, "ema_bits_per_byte", result.EmaBitsPerByte);
            WriteNumber(json, "seconds", result.Seconds);
            json.WriteStartArray("recording");
            foreach (string row in result.Recording) json.WriteStringValue(row);
            json.WriteEndArray();
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartArray("rows");
        foreach (string[] row in Rows)
        {
            json.WriteStartArray();
            foreach (string cell in row) json.WriteStringValue(cell);
            json.WriteEndArray();
        }

        json.WriteEndArray();
        json.WriteStartArray("lines");
        foreach (ReportSeries line in Lines)
        {
            json.WriteStartObject();
            json.WriteString("name", line.Name);
            WriteNumbers(json, "x", line.X);
            WriteNumbers(json, "y", line.Y);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    static void WriteNumbers(Utf8JsonWriter json, string name, double[] values)
    {
        json.WriteStartArray(name);
        foreach (double value in values)
        {
            if (double.IsFinite(value)) json.WriteNumberValue(value);
            else json.WriteNullValue();
        }

        json.WriteEndArray();
    }

    static void WriteNumber(Utf8JsonWriter json, string name, double value)
    {
        if (double.IsFinite(value)) json.WriteNumber(name, value);
        else json.WriteNull(name);
    }

    /// <summary>Reads a file.</summary>
    /// <exception cref="ArgumentException">It is no such file.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static ExperimentReport Load(string path)
    {
        if (new FileInfo(path).Length > LargestFile) throw new ArgumentException($"{path} is larger than any result of an experiment ({LargestFile} bytes).", nameof(path));
        try
        {
            using JsonDocument document = JsonDocument.Parse(File.ReadAllText(path), new JsonDocumentOptions { MaxDepth = 8 });
            JsonElement root = document.RootElement;
            if (root.GetProperty("schema").GetString() is not Schema) throw new ArgumentException($"{path} is of schema {root.GetProperty("schema")}; expected {Schema}.", nameof(path));
            return new ExperimentReport
            {
                Name = Text(root, "experiment"), Command = Text(root, "command"), Date = Text(root, "date"), Machine = Text(root, "machine"), Setting = Text(root, "setting"),
                Axes = (Text(root, "x"), Text(root, "y")),
                Results =
                [
                    .. root.GetProperty("results").EnumerateArray().Select(r => new VariantResult(Text(r, "variant"), Numbers(r, "losses"), Number(r, "max_violation"), Number(r, "bits_per_byte"),
                        Number(r, "ema_bits_per_byte"), Number(r, "seconds")) { Seed = r.GetProperty("seed").GetUInt64(), Recording = [.. r.GetProperty("recording").EnumerateArray().Select(c => c.GetString() ?? "")] }),
                ],
                Rows = [.. root.GetProperty("rows").EnumerateArray().Select(r => r.EnumerateArray().Select(c => c.GetString() ?? "").ToArray())],
                Lines = [.. root.GetProperty("lines").EnumerateArray().Select(l => new ReportSeries(Text(l, "name"), Numbers(l, "x"), Numbers(l, "y")))],
            };
        }
        catch (Exception exception) when (exception is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new ArgumentException($"{path} is no result of an experiment: {exception.Message}", nameof(path), exception);
        }
    }

    static string Text(JsonElement element, string name) => element.GetProperty(name).GetString() ?? "";

    static double Number(JsonElement element, string name) => element.GetProperty(name).ValueKind == JsonValueKind.Null ? double.NaN : element.GetProperty(name).GetDouble();

    static double[] Numbers(JsonElement element, string name) => [.. element.GetProperty(name).EnumerateArray().Select(v => v.ValueKind == JsonValueKind.Null ? double.NaN : v.GetDouble())];
}

/// <summary>The table of trained variants. With several seeds means, and their standard errors.</summary>
static class ExperimentTable
{
    public static IReadOnlyList<string[]> Of(IReadOnlyList<VariantResult> results)
    {
        bool averages = results.Any(r => !double.IsNaN(r.EmaBitsPerByte));
        string first = results[0].Name;
        Dictionary<ulong, VariantResult> baseline = results.Where(r => string.Equals(r.Name, first, StringComparison.Ordinal)).ToDictionary(r => r.Seed);
        var rows = new List<string[]>
        {
            new[]
            {
                "variant", "final loss, nats", $"against {first}", "mean distance of the curves", "held out, bits per byte", averages ? "held out, average" : "", "MaxVio", baseline.Count > 1 ? "seconds, all seeds" : "seconds",
            }.Where(cell => cell.Length > 0).ToArray(),
        };
        foreach (IGrouping<string, VariantResult> group in results.GroupBy(r => r.Name, StringComparer.Ordinal))
        {
            VariantResult[] own = [.. group.Where(r => baseline.ContainsKey(r.Seed))];
            double[] relative = [.. own.Select(r => 100 * ((r.FinalLoss / baseline[r.Seed].FinalLoss) - 1))];
            var row = new List<string>
            {
                group.Key, Format("F4", own.Select(r => r.FinalLoss)), Format("+0.00;-0.00;0.00", relative) + " %", Format("F2", own.Select(r => 100 * r.MeanDistance(baseline[r.Seed]))) + " %",
                Format("F4", own.Select(r => r.BitsPerByte)),
            };
            if (averages) row.Add(Format("F4", own.Select(r => r.EmaBitsPerByte)));
            row.Add(Format("F2", own.Select(r => r.MaxViolation)));
            row.Add(own.Sum(r => r.Seconds).ToString("F0", CultureInfo.InvariantCulture));
            rows.Add([.. row]);
        }

        return rows;
    }

    /// <summary>The mean; with several values ± its standard error.</summary>
    static string Format(string format, IEnumerable<double> values)
    {
        double[] all = [.. values];
        double mean = all.Average();
        string text = mean.ToString(format, CultureInfo.InvariantCulture);
        if (all.Length < 2) return text;
        double error = Math.Sqrt(all.Sum(v => (v - mean) * (v - mean)) / (all.Length - 1) / all.Length);
        return $"{text} ± {error.ToString(format.StartsWith('F') ? format : "F2", CultureInfo.InvariantCulture)}";
    }
}
