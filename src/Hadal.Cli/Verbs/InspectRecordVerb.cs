using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Hadal.Cli.Framework;
using Hadal.Training.Recording;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal inspect record</c>: what a flight recorder saw.</summary>
static class InspectRecordVerb
{
    public static Verb Create(Context context)
    {
        var run = new Argument<string>("RUN") { Description = "Output folder of a run that was recorded, or one of its flight-NNN.rec files." };
        Option<string?> tensor = Options.Text("--tensor", "TEXT", "Only tensors whose title has this text, such as \"o_proj\" or \"layer 3\".");
        Option<bool> all = Options.Switch("--all", "Every tensor, in the order of computation, instead of the worst of each kind and format.");
        Option<int?> step = Options.OptionalInteger("--step", "Only this recorded step.", 1);
        Option<bool> json = Options.Json();
        var verb = new Verb("record", "Shows what the flight recorder of a run saw: per tensor the largest value, what the format made zero, what it clipped, its relative error and its scales. Runs are recorded with hadal train --record.",
            "hadal inspect record models/run", "hadal inspect record models/run --all --tensor o_proj", "hadal inspect record models/run --json")
        {
            run, tensor, all, step, json,
        };
        verb.SetAction(line =>
        {
            using RunRecording recording = Open(line.GetRequiredValue(run), context);
            var summary = new RecordingSummary();
            foreach (long each in Chosen(recording, line.GetValue(step)))
            {
                context.Cancellation.ThrowIfCancellationRequested();
                summary.Add(recording.Read(each));
            }

            TensorSummary[] tensors = [.. summary.Tensors.Where(t => line.GetValue(tensor) is not string text || t.Tensor.Title.Contains(text, StringComparison.OrdinalIgnoreCase))];
            if (tensors.Length == 0) throw CommandError.Failed($"No recorded tensor has \"{line.GetValue(tensor)}\" in its title.", "a part of a title, such as o_proj", "hadal inspect record --all lists them");
            if (line.GetValue(json))
            {
                context.Terminal.WriteJson(writer => Write(writer, recording, summary, tensors));
                return ExitCode.Fine;
            }

            bool every = line.GetValue(all) || line.GetValue(tensor) is not null;
            context.Terminal.Output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"recipe {recording.Recipe}, {summary.Steps} recorded steps ({recording.Steps.First()} to {recording.Steps.Last()}, every {recording.Every}), {summary.Tensors.Count} tensors"));
            context.Terminal.Output.WriteLine(every
                ? $"{"largest",10} {"underflow",10} {"clipped",9} {"error",8} {"scales",-14} {"format",-22} tensor"
                : $"{"largest",10} {"underflow",10} {"clipped",9} {"error",8} {"scales",-14} {"format",-22} worst tensor by error (by largest value where nothing is rounded)");
            foreach (TensorSummary each in every ? tensors : Worst(tensors)) context.Terminal.Output.WriteLine(Row(each));
            if (summary.Tensors.Any(t => t.NonFinite > 0)) context.Terminal.Output.WriteLine("not finite: " + string.Join("; ", summary.Tensors.Where(t => t.NonFinite > 0).Take(5).Select(t => $"{t.Tensor.Title} ({t.NonFinite})")));
            return ExitCode.Fine;
        });
        return verb;
    }

    /// <summary>Opens a recording and tells what is wrong with it.</summary>
    internal static RunRecording Open(string path, Context context)
    {
        if (!Path.Exists(path)) throw CommandError.Failed($"There is nothing at {path}.", "the output folder of a recorded run", "check the path");
        var warnings = new List<string>();
        try
        {
            RunRecording recording = RunRecording.Open(path, warnings);
            ModelFolder.Warn(warnings, context);
            return recording;
        }
        catch (FileNotFoundException exception)
        {
            throw CommandError.Failed(exception.Message);
        }
        catch (InvalidDataException exception)
        {
            throw CommandError.Failed(exception.Message, "a file that hadal train --record wrote", "restore it from a backup, or record the run again");
        }
    }

    static IEnumerable<long> Chosen(RunRecording recording, int? step)
    {
        if (step is not int one) return recording.Steps;
        return recording.Steps.Contains(one) ? [one]
            : throw CommandError.Failed($"Step {one} is not recorded.", $"one of the {recording.Steps.Count} recorded steps, {recording.Steps.First()} to {recording.Steps.Last()}, every {recording.Every}", "choose one of them");
    }

    static IEnumerable<TensorSummary> Worst(IEnumerable<TensorSummary> tensors) => tensors.Where(t => t.Tensor.Kind != TensorKind.Tokens)
        .GroupBy(t => (t.Tensor.Kind, t.Tensor.Format)).OrderBy(g => g.Key.Kind).Select(g => g.MaxBy(t => (t.WorstError.Value, t.Largest.Value))!);

    static string Row(TensorSummary t)
    {
        bool rounded = t.WorstError.Value >= 0;
        string scales = t.ScaleExponents is var (least, largest) ? FormattableString.Invariant($"2^{least}..2^{largest}") : "";
        return string.Create(CultureInfo.InvariantCulture,
            $"{t.Largest.Value,10:G4} {(rounded ? Percent(t.WorstUnderflow.Value) : ""),10} {(rounded ? Percent(t.WorstSaturation.Value) : ""),9} {(rounded ? Percent(t.WorstError.Value) : ""),8} {scales,-14} {t.Tensor.Format,-22} {t.Tensor.KindName}: {t.Tensor.Title}{(rounded ? $" (step {t.WorstError.Step})" : "")}");
    }

    static string Percent(double share) => share == 0 ? "0" : string.Create(CultureInfo.InvariantCulture, $"{100 * share:0.###} %");

    static void Write(Utf8JsonWriter json, RunRecording recording, RecordingSummary summary, TensorSummary[] tensors)
    {
        json.WriteString("recipe", recording.Recipe);
        json.WriteNumber("every", recording.Every);
        json.WriteNumber("steps", summary.Steps);
        json.WriteStartArray("tensors");
        foreach (TensorSummary t in tensors)
        {
            json.WriteStartObject();
            json.WriteString("kind", t.Tensor.KindName);
            json.WriteNumber("layer", t.Tensor.Layer);
            json.WriteString("name", t.Tensor.Name);
            json.WriteString("format", t.Tensor.Format);
            Worst(json, "largest", t.Largest.Value, t.Largest.Step);
            Worst(json, "underflow", t.WorstUnderflow.Value, t.WorstUnderflow.Step);
            Worst(json, "saturation", t.WorstSaturation.Value, t.WorstSaturation.Step);
            if (t.WorstError.Value >= 0) Worst(json, "error", t.WorstError.Value, t.WorstError.Step);
            Number(json, "mean_underflow", t.MeanUnderflow);
            Number(json, "mean_error", t.MeanError);
            json.WriteNumber("not_finite", t.NonFinite);
            json.WriteStartArray("scales");
            for (int b = 0; b < t.Scales.Length; b++)
            {
                if (t.Scales[b] == 0) continue;
                json.WriteStartObject();
                json.WriteNumber("exponent", b + TensorStatistics.LowestScaleExponent);
                json.WriteNumber("count", t.Scales[b]);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    static void Worst(Utf8JsonWriter json, string name, double value, long step)
    {
        json.WriteStartObject(name);
        Number(json, "value", value);
        json.WriteNumber("step", step);
        json.WriteEndObject();
    }

    internal static void Number(Utf8JsonWriter json, string name, double value)
    {
        if (double.IsFinite(value)) json.WriteNumber(name, value);
        else json.WriteNull(name);
    }
}
