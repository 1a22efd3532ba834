using System.CommandLine;
using System.Globalization;
using Hadal.Cli.Framework;
using Hadal.Parallel.Measurement;
using Hadal.Parallel.Mpi;
using Hadal.Parallel.Ranks;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal bench ranks</c>: whether the messages of a transport arrive, every byte, and how fast.</summary>
static class BenchRanksVerb
{
    public static Verb Create(Context context)
    {
        Option<string> transport = Options.Choice("--transport", "What carries the messages: threads of this process, processes that mpirun started, or GPUs (libnccl.so.2; one GPU a rank).", [.. RankTransports.Names]);
        Option<int> ranks = Options.Integer("--ranks", "Ranks.", 2, 1, InProcessRanks.Most);
        Option<long> least = Options.Bytes("--from", "Smallest message.", 1 << 10, 64);
        Option<long> most = Options.Bytes("--to", "Largest message; sizes grow sixteenfold.", 64 << 20, 64);
        Option<int> repeats = Options.Integer("--repeats", "Timed calls of each operation; the median counts.", 20, 1, 100_000);
        Option<bool> json = Options.Json();
        var verb = new Verb("ranks", "Checks every byte that the ranks of a transport send each other, and times latency and bandwidth. Exit code 1 when a byte is wrong.",
            "hadal bench ranks", "hadal bench ranks --transport nccl --ranks 2", "mpirun -n 4 hadal bench ranks --transport mpi --ranks 4 --json")
        {
            transport, ranks, least, most, repeats, json,
        };
        verb.SetAction(line =>
        {
            string name = line.GetRequiredValue(transport);
            var sizes = new List<long>();
            for (long bytes = line.GetValue(least) / 64 * 64; bytes <= Math.Min(line.GetValue(most), 1L << 32); bytes *= 16) sizes.Add(bytes);
            var found = new List<RankMeasurement>();
            bool first = name is not RankTransports.Mpi || MpiRanks.LaunchedRank == 0, text = first && !line.GetValue(json);
            if (text) context.Terminal.Output.WriteLine($"{name}, {line.GetValue(ranks)} ranks\n{"operation",-26} {"bytes",12}  {"bytes right",-11} {"microseconds",13} {"GB/s a rank",12}");
            RankBench.Run(name, line.GetValue(ranks), sizes, line.GetValue(repeats), one =>
            {
                found.Add(one);
                if (text) context.Terminal.Output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                    $"{one.Operation,-26} {one.Bytes,12:N0}  {(one.Correct ? "all" : "WRONG"),-11} {1e6 * one.Seconds,13:F1} {(double.IsNaN(one.BytesPerSecond) ? "" : (one.BytesPerSecond / 1e9).ToString("F2", CultureInfo.InvariantCulture)),12}"));
            });
            if (!first) return ExitCode.Fine;
            if (!text) WriteJson(context.Terminal, name, line.GetValue(ranks), found);
            return found.TrueForAll(one => one.Correct) ? ExitCode.Fine : ExitCode.Failed;
        });
        return verb;
    }

    static void WriteJson(Terminal terminal, string transport, int ranks, List<RankMeasurement> found) => terminal.WriteJson(json =>
    {
        json.WriteString("transport", transport);
        json.WriteNumber("ranks", ranks);
        json.WriteStartArray("operations");
        foreach (RankMeasurement one in found)
        {
            json.WriteStartObject();
            json.WriteString("operation", one.Operation);
            json.WriteNumber("bytes", one.Bytes);
            json.WriteBoolean("correct", one.Correct);
            json.WriteNumber("seconds", one.Seconds);
            if (!double.IsNaN(one.BytesPerSecond)) json.WriteNumber("bytes_per_second", one.BytesPerSecond);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    });
}
