using System.CommandLine;
using Hadal.Cli.Framework;
using Hadal.Cli.Serving;
using Hadal.Formats;
using Hadal.Model;
using Hadal.Parallel.Serving;
using Hadal.Planning;
using Hadal.Planning.Serving;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal plan serve</c>: which units, how many redundant experts, split or not.</summary>
static class PlanServeVerb
{
    public static Verb Create(Context context)
    {
        Option<string?> model = Options.Text("--model", "DIR", "Folder with a config.json; only its shape is read.");
        Option<string> preset = Options.Choice("--preset", "A published shape, where no --model is given.", [.. KnownShapes.All.Select(s => s.Name).OrderByDescending(n => n, StringComparer.Ordinal)]);
        Option<string> cluster = new("--cluster") { Description = "A file that describes nodes, GPUs and links, as hadal plan train reads, or published: nodes of 8 H800.", HelpName = "FILE", DefaultValueFactory = _ => "published" };
        Option<double> rate = Options.Real("--load", "Requests a second.", 100, 1e-3, 1e6);
        Option<int> prompt = Options.Integer("--prompt-tokens", "Tokens of a prompt on average.", 2000, 1, 1 << 20);
        Option<double> promptSpread = Options.Real("--prompt-spread", "Standard deviation of prompts over their mean; 0: all equal.", 1, 0, 10);
        Option<int> answer = Options.Integer("--answer-tokens", "Tokens of an answer on average.", 600, 1, 1 << 20);
        Option<double> answerSpread = Options.Real("--answer-spread", "Standard deviation of answers over their mean; 0: all equal.", 1, 0, 10);
        Option<double> cached = Options.Real("--cached", "Part of each prompt that the prefix cache knows, 0 to 1.", 0, 0, 0.99);
        Option<double> first = Options.Real("--ttft", "Goal: seconds to the first token, for nine of ten requests.", 2, 1e-3, 3600);
        Option<double> next = Options.Real("--tpot", "Goal: milliseconds for each further token, for nine of ten requests.", 50, 0.1, 1e5);
        Option<string?> routing = Options.Text("--routing", "FILE", "Recorded routing that drives the plan, from hadal inspect experts --output. Its numbers of experts must be the model's.");
        Option<double> window = Options.Real("--window-minutes", "How long a window of recorded routing lasts.", 2, 0.01, 1e4);
        Option<double> skew = Options.Real("--skew", "Without --routing: popularity of experts falls as 1/place^X; 0 is even.", 0.5, 0, 5);
        Option<double> drift = Options.Real("--drift-minutes", "Without --routing: how long one order of popularity takes to become the next; 0: it stays.", 60, 0, 1e6);
        Option<double> interval = Options.Real("--interval-minutes", "Time between two looks at the placement.", 10, 0.1, 1e5);
        Option<int> minutes = Options.Integer("--minutes", "How long the units are simulated for their balance.", 60, 20, 10_000);
        Option<double> efficiency = Options.Real("--efficiency", "Part of the peak that products reach; 1: the limits of the hardware.", 1, 0.01, 1);
        Option<ulong> seed = Options.Seed();
        Option<string?> html = Options.Text("--html", "FILE", "Writes a page that stands alone, beside what standard output gets.");
        Option<bool> json = Options.Json();
        Option<bool> force = OutputFile.Force();
        var verb = new Verb("serve", "Answers for a load and two latency goals: how many redundant experts, which units, and whether prefilling apart from decoding pays. Placement, routing and queues are simulated; nothing is run.",
            "hadal plan serve --preset v3-671b --load 200 --ttft 2 --tpot 50",
            "hadal plan serve --load 50 --prompt-tokens 8000 --answer-tokens 300 --cached 0.5 --html serving.html",
            "hadal plan serve --routing routing.json --interval-minutes 5 --json")
        {
            model, preset, cluster, rate, prompt, promptSpread, answer, answerSpread, cached, first, next, routing, window, skew, drift, interval, minutes, efficiency, seed, html, json, force,
        };
        verb.SetAction(line =>
        {
            (string name, TransformerShape shape) = Shape(line.GetValue(model), line.GetRequiredValue(preset));
            ClusterDescription? described = Cluster(line.GetRequiredValue(cluster));
            ServingHardware hardware = (described is null ? ServingHardware.H800 : Hardware(described)) with { ComputeEfficiency = line.GetValue(efficiency) };
            int longest = Longest(line.GetValue(prompt), 32_768), longestAnswer = Longest(line.GetValue(answer), 8192);
            var load = new ServingLoad
            {
                RequestsPerSecond = line.GetValue(rate), Prompt = new(line.GetValue(prompt), line.GetValue(promptSpread), longest), Answer = new(line.GetValue(answer), line.GetValue(answerSpread), longestAnswer),
                CachedPart = line.GetValue(cached), FirstTokenSeconds = line.GetValue(first), NextTokenSeconds = line.GetValue(next) / 1000, Seed = line.GetValue(seed),
            };
            string? page = line.GetValue(html) is { } given ? OutputFile.Prepare(given, "serving.html", line.GetValue(force)) : null;
            IRoutingSource source = line.GetValue(routing) is { } file
                ? Recorded(file, TimeSpan.FromMinutes(line.GetValue(window)))
                : new SyntheticRouting(shape.Gate, line.GetValue(skew), line.GetValue(drift) == 0 ? null : TimeSpan.FromMinutes(line.GetValue(drift)), line.GetValue(seed));
            var question = new ServingQuestion
            {
                Name = name, Shape = shape, Hardware = hardware, Load = load, Routing = source, Policy = new PlacementPolicy { Interval = TimeSpan.FromMinutes(line.GetValue(interval)) },
                Duration = TimeSpan.FromMinutes(Math.Max(line.GetValue(minutes), 2 * line.GetValue(interval))), Nodes = described?.Nodes,
            };
            ServingPlan plan;
            using (var progress = new ProgressLine(context.Terminal))
            {
                try
                {
                    plan = ServingPlanner.Plan(question, (what, part) => progress.Report("planning", Math.Round(100 * part), 100, $"parts, last {what}"), context.Cancellation);
                }
                catch (ArgumentException exception)
                {
                    throw CommandError.Failed(exception.Message);
                }
            }

            if (line.GetValue(json)) context.Terminal.WriteJson(writer => ServingReport.Json(writer, plan));
            else
                foreach (string row in ServingReport.Text(plan)) context.Terminal.Output.WriteLine(row);
            if (page is not null)
            {
                File.WriteAllText(page, ServingReport.Html(plan));
                context.Terminal.Error.WriteLine($"written to {page}");
            }

            return ExitCode.Fine;
        });
        return verb;
    }

    // Long tails are cut at 16 times the mean, or earlier at what services take, but not below four times the mean.
    static int Longest(int mean, int usual) => (int)Math.Min(16L * mean, Math.Max(usual, 4L * mean));

    static (string Name, TransformerShape Shape) Shape(string? folder, string preset)
    {
        if (folder is null)
        {
            (string name, TransformerShape shape) = KnownShapes.All.First(s => string.Equals(s.Name, preset, StringComparison.Ordinal));
            return (name, shape);
        }

        ModelFolder.Require(folder);
        return (Path.GetFileName(Path.TrimEndingDirectorySeparator(folder)), ModelLoader.Shape(ModelConfiguration.Load(folder, [])));
    }

    static ClusterDescription? Cluster(string given)
    {
        if (string.Equals(given, "published", StringComparison.Ordinal)) return null;
        try
        {
            return ClusterDescription.Load(given);
        }
        catch (PlanException exception)
        {
            throw CommandError.Failed(exception.Message);
        }
    }

    // The description names BF16 operations; Hopper's FP8 does twice as many.
    static ServingHardware Hardware(ClusterDescription cluster) => new()
    {
        Name = cluster.Name, GpusPerNode = cluster.GpusPerNode, UsableBytes = cluster.UsableBytes, Bf16Flops = cluster.PeakFlops, Fp8Flops = 2 * cluster.PeakFlops,
        MemoryBandwidth = cluster.MemoryBandwidth, Links = new LinkSpeeds(cluster.NodeBandwidth, cluster.NetworkBandwidth), NetworkLatency = cluster.NetworkLatency,
    };

    /// <summary>Reads recorded routing.</summary>
    internal static RoutingRecord Record(string path)
    {
        if (!File.Exists(path)) throw CommandError.Failed($"There is no file {path}.", "recorded routing", "write it with hadal inspect experts --output");
        try
        {
            return RoutingRecord.Load(path);
        }
        catch (InvalidDataException exception)
        {
            throw CommandError.Failed(exception.Message);
        }
    }

    static RecordedRouting Recorded(string path, TimeSpan window)
    {
        try
        {
            return new RecordedRouting(Record(path), window);
        }
        catch (ArgumentException exception)
        {
            throw CommandError.Failed(exception.Message);
        }
    }
}
