using System.CommandLine;
using Hadal.Cli.Drawing;
using Hadal.Cli.Framework;
using Hadal.Parallel.Drawing;
using Hadal.Parallel.Schedules;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal plan schedule</c>: a pipeline schedule, drawn or listed.</summary>
static class PlanScheduleVerb
{
    // A picture of more steps would be unreadable, and a list of them longer than anyone reads.
    const int MostRanks = 256, MostMicroBatches = 4096;

    public static Verb Create(Context context)
    {
        Option<string> kind = Options.Choice("--kind", "The schedule: zb1p is 1f1b with its backward cut in two, dualpipev is dualpipe folded onto half the ranks.", "dualpipe", "dualpipev", "1f1b", "zb1p");
        Option<int> ranks = Options.Integer("--ranks", "Ranks of the pipeline; even for dualpipe.", 8, 1, MostRanks);
        Option<int> microBatches = Options.Integer("--micro-batches", "Micro-batches of a step; even for dualpipe, and at least twice the ranks for dualpipe and dualpipev.", 20, 1, MostMicroBatches);
        Option<double> input = Cost("--backward-input", "Cost of b, a backward for the input, in units of F.", 1);
        Option<double> weights = Cost("--backward-weights", "Cost of W, a backward for the weights, in units of F; B costs b + W.", 1);
        Option<double?> pair = new("--overlapped") { Description = "Cost of F&B, a forward and a backward interleaved, in units of F. [default: F + b + W]", HelpName = "X" };
        pair.Validators.Add(result =>
        {
            if (result.Tokens.Count == 1 && result.GetValueOrDefault<double?>() is not (> 0 and <= 1e6)) result.AddError(OptionError.Message($"--overlapped was given \"{result.Tokens[0].Value}\".", "a number above 0, at most 1000000"));
        });
        Option<double> communication = Options.Real("--communication", "Time from the end of a step to the arrival of its result at the next rank, in units of F.", 0, 0, 1e6);
        Option<string> format = Options.Choice("--format", "text draws with letters, list writes every step, svg and png draw a picture, json is for programs.", "text", "list", "svg", "png", "json");
        Option<string?> output = Options.Text("--output", "FILE", "The file to write, or a folder; standard output when left out.");
        Option<bool> force = OutputFile.Force();
        var verb = new Verb("schedule", "Draws or lists a pipeline schedule: what each rank does and when, what is idle, what is held, beside the published formulas.",
            "hadal plan schedule --kind dualpipe --ranks 8 --micro-batches 20",
            "hadal plan schedule --kind zb1p --ranks 4 --micro-batches 12 --format svg --output zb1p.svg",
            "hadal plan schedule --kind dualpipe --ranks 16 --micro-batches 120 --backward-weights 0.5 --communication 0.1 --format json")
        {
            kind, ranks, microBatches, input, weights, pair, communication, format, output, force,
        };
        verb.SetAction(line =>
        {
            ScheduleKind chosen = Enum.GetValues<ScheduleKind>().First(k => string.Equals(PipelineSchedule.Name(k), line.GetRequiredValue(kind), StringComparison.Ordinal));
            int rankCount = line.GetValue(ranks), microBatchCount = line.GetValue(microBatches);
            if (PipelineSchedule.Refusal(chosen, rankCount, microBatchCount) is { } reason)
                throw CommandError.WrongUse(reason, fix: "change --ranks, --micro-batches or --kind");
            var costs = new StepCosts(1, line.GetValue(input), line.GetValue(weights), line.GetValue(communication), Overlapped: line.GetValue(pair));
            TimedSchedule timed = ScheduleClock.Run(PipelineSchedule.Create(chosen, rankCount, microBatchCount), costs);
            if (!costs.FormulaBounds)
                context.Terminal.Error.WriteLine("note: at these costs the published bubble is no bound; the simulated idle time stands beside it");
            string name = line.GetRequiredValue(format);
            string? file = line.GetValue(output) is { } given ? OutputFile.Prepare(given, $"{PipelineSchedule.Name(chosen)}.{(name is "text" or "list" ? "txt" : name)}", line.GetValue(force)) : null;
            Write(context, timed, name, file);
            if (file is not null) context.Terminal.Error.WriteLine($"written to {file}");
            return ExitCode.Fine;
        });
        return verb;
    }

    static void Write(Context context, TimedSchedule timed, string format, string? file)
    {
        if (format is "png")
        {
            byte[] picture = Picture.TryDraw(new ScheduleDrawing(timed)) ?? throw CommandError.Failed("This build has no drawing library for png.", "--format svg, text or json", "use --format svg, which every browser shows");
            if (file is null && !context.Terminal.IsOutputRedirected) throw CommandError.WrongUse("A png was asked for on a terminal.", "a file", "add --output schedule.png");
            using Stream stream = file is null ? Console.OpenStandardOutput() : File.Create(file);
            stream.Write(picture);
            return;
        }

        string text = format switch
        {
            "svg" => new ScheduleDrawing(timed).ToSvg(),
            "json" => Terminal.Json(json => ScheduleJson.Write(json, timed)),
            "list" => ScheduleText.List(timed),
            _ => ScheduleText.Draw(timed, file is null ? context.Terminal.Screen.Profile.Width : 160),
        };
        if (file is null) context.Terminal.Output.Write(text);
        else File.WriteAllText(file, text);
    }

    static Option<double> Cost(string name, string description, double usual) => Options.Real(name, description, usual, 1e-6, 1e6);
}
