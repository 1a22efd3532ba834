using System.CommandLine;
using Hadal.Cli.Framework;
using Hadal.Cli.Training;
using Hadal.Model.Conversion;
using Hadal.Numerics;
using Hadal.Parallel.Ranks;
using Hadal.Parallel.Schedules;
using Hadal.Training;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal train</c>: trains as a run.json says, and continues a run that was stopped.</summary>
static class TrainVerb
{
    public static Verb Create(Context context)
    {
        var file = new Argument<string?>("RUN.json") { Description = "The run: model, text, batch, length, output. Paths in it are relative to its folder.", Arity = ArgumentArity.ZeroOrOne };
        Option<string?> output = Options.Text("--output", "DIR", "Folder for model, checkpoints and metrics, instead of the one in the file.");
        Option<string?> recipe = Options.Text("--recipe", "NAME", "Precision, instead of the one in the file: fp32, bf16, fp8, another recipe's name, or a .json file that defines one.");
        Option<string?> from = Options.Text("--from", "DIR", "Begin from the weights, config.json and tokenizer.json of a public checkpoint, FP8 blocks included, instead of fresh weights.");
        Option<string> format = Options.Choice("--checkpoint-format", "What the model's public files hold, instead of what the file says: f32, bf16, fp8 as the published V3 (weight_scale_inv), or fp8-ue8m0 with power-of-two scales.", "same", "f32", "bf16", "fp8", "fp8-ue8m0");
        Option<string?> ranks = Options.Text("--ranks", "PPxEPxDP", "Ranks that share the work: of a pipeline, that share experts, copies of every expert, such as 4x2x2; or N copies. The result is the same bits. See docs/parallel.md.");
        Option<string?> schedule = Options.OptionalChoice("--schedule", "Schedule of the pipeline's ranks.", [.. Enum.GetValues<ScheduleKind>().Select(PipelineSchedule.Name)]);
        Option<string?> transport = Options.OptionalChoice("--transport", "What carries messages between ranks: threads of this process, or processes that mpirun started.", [.. RankTransports.Names]);
        (Option<bool> record, Option<int?> interval) = RecordOptions.Create();
        Option<bool> example = Options.Switch("--example", "Print a run.json with every key and its default, and train nothing.");
        Option<bool> json = Options.Json();
        Option<string> backend = Options.Backend();
        var verb = new Verb("train", "Trains a model as a run.json says. Started again after Ctrl-C, a crash or a power cut it goes on from the last checkpoint, with the same bits as if nothing had happened.",
            "hadal train --example > run.json", "hadal train run.json", "hadal train run.json --output models/second --recipe fp8 --record",
            "hadal train run.json --from models/base --recipe fp8 --checkpoint-format fp8", "mpirun -n 4 hadal train run.json --ranks 2x1x2 --schedule dualpipe --transport mpi")
        {
            file, output, recipe, from, format, ranks, schedule, transport, record, interval, example, json, backend,
        };
        verb.SetAction(line =>
        {
            if (line.GetValue(example))
            {
                context.Terminal.Output.WriteLine(new RunConfiguration().ToJson());
                return ExitCode.Fine;
            }

            string path = line.GetValue(file) ?? throw CommandError.WrongUse("No run was given.", "the path of a run.json", "hadal train --example > run.json writes one to begin with");
            if (Directory.Exists(path)) throw CommandError.Failed($"{path} is a folder.", "the path of a run.json", $"the run of a model stands in its folder: hadal train {Path.Combine(path, "run.json")}");
            if (!File.Exists(path)) throw CommandError.Failed($"There is no file {path}.", "the path of a run.json", "check the path; hadal train --example > run.json writes one to begin with");
            var warnings = new List<string>();
            RunConfiguration run = RunConfiguration.Load(path, warnings);
            ModelFolder.Warn(warnings, context);
            if (line.GetValue(output) is string folder) run = run with { Output = Path.GetFullPath(folder) };
            if (line.GetValue(recipe) is string precision) run = run with { Recipe = precision };
            if (line.GetValue(from) is string source)
            {
                ModelFolder.Require(source, "--from");
                run = run.BeginningFrom(source);
            }

            run = WithFormat(run, line.GetRequiredValue(format));
            run = run with { Parallel = RankOptions.Apply(run.Parallel, line.GetValue(ranks), line.GetValue(schedule), line.GetValue(transport)) };
            run = RecordOptions.Apply(run, line.GetValue(record), line.GetValue(interval));
            TrainingOutcome? outcome = RunReport.Train(context, run, line.GetRequiredValue(backend), line.GetValue(json), "the same command");
            return outcome is null or { Status: TrainingStatus.Completed } ? ExitCode.Fine : ExitCode.Interrupted;
        });
        return verb;
    }

    static RunConfiguration WithFormat(RunConfiguration run, string format) => format switch
    {
        "f32" => run with { Checkpoint = run.Checkpoint with { Format = WeightFormat.F32, Scales = ScaleKind.Plain } },
        "bf16" => run with { Checkpoint = run.Checkpoint with { Format = WeightFormat.BF16, Scales = ScaleKind.Plain } },
        "fp8" => run with { Checkpoint = run.Checkpoint with { Format = WeightFormat.Fp8, Scales = ScaleKind.Plain } },
        "fp8-ue8m0" => run with { Checkpoint = run.Checkpoint with { Format = WeightFormat.Fp8, Scales = ScaleKind.PowerOfTwo } },
        _ => run,
    };
}
