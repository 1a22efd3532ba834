using System.Globalization;
using Hadal.Cli.Framework;
using Hadal.Tensors.Measurement;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal bench</c>: one inner verb per thing that is measured, each in a file of its own named BenchXVerb.</summary>
static class BenchVerb
{
    public static Verb Create(Context context) =>
        new("bench", "Measures how fast this machine trains, decodes and multiplies.",
            "hadal bench step --preset nano", "hadal bench decode --preset nano", "hadal bench serve --model models/nano", "hadal bench matrix", "hadal bench layer", "hadal bench ranks", "hadal bench unit", "hadal bench gemm")
        {
            BenchStepVerb.Create(context),
            BenchDecodeVerb.Create(context),
#if SERVER
            BenchServeVerb.Create(context),
#endif
            BenchMatrixVerb.Create(context),
            BenchLayerVerb.Create(context),
            BenchPipelineVerb.Create(context),
            BenchRanksVerb.Create(context),
            BenchUnitVerb.Create(context),
            BenchKernelsVerb.Gemm(context),
            BenchKernelsVerb.Quantize(context),
        };

    /// <summary>Times by operation as lines: share, milliseconds per step, calls, GFLOP/s, kind. The rest is time outside operations.</summary>
    internal static IEnumerable<string> ProfileLines(IReadOnlyList<OperationTime> times, double seconds, int steps)
    {
        yield return "  share   ms/step  calls/step   GFLOP/s  operation";
        foreach (IGrouping<string, OperationTime> group in times.GroupBy(t => t.Group, StringComparer.Ordinal).OrderByDescending(g => g.Sum(t => t.Seconds)))
        {
            if (group.Count() > 1) yield return Line(group.Sum(t => t.Seconds), group.Sum(t => t.Calls), group.Sum(t => t.Flop), group.Key);
            foreach (OperationTime time in group)
                yield return Line(time.Seconds, time.Calls, time.Flop, (group.Count() > 1 ? "  " : "") + $"{time.Group}: {time.Name}");
        }

        yield return Line(seconds - times.Sum(t => t.Seconds), 0, 0, "outside operations");

        string Line(double part, long calls, double flop, string name) => ProfileLine(part, seconds, steps, calls, flop, name);
    }

    /// <summary>Matrix products of one step by shape.</summary>
    internal static IEnumerable<string> ProductLines(IReadOnlyList<OperationTime> products, double seconds)
    {
        yield return "  share   ms/step  calls/step   GFLOP/s  product (rows x columns x contraction)";
        foreach (OperationTime time in products) yield return ProfileLine(time.Seconds, seconds, 1, time.Calls, time.Flop, time.Name);
    }

    static string ProfileLine(double part, double seconds, int steps, long calls, double flop, string name) => string.Create(CultureInfo.InvariantCulture,
        $"{100 * part / seconds,6:F1}% {1000 * part / steps,9:F3} {(double)calls / steps,11:F1} {(flop > 0 ? (flop / part / 1e9).ToString("F1", CultureInfo.InvariantCulture) : ""),9}  {name}");

    /// <summary>Times by operation as a JSON array <c>operations</c>.</summary>
    internal static void WriteProfile(System.Text.Json.Utf8JsonWriter json, IReadOnlyList<OperationTime> times, int steps)
    {
        json.WriteStartArray("operations");
        foreach (OperationTime time in times)
        {
            json.WriteStartObject();
            json.WriteString("group", time.Group);
            json.WriteString("name", time.Name);
            json.WriteNumber("seconds_per_step", time.Seconds / steps);
            json.WriteNumber("calls_per_step", (double)time.Calls / steps);
            if (time.Flop > 0) json.WriteNumber("gflop_per_second", time.Flop / time.Seconds / 1e9);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }
}
