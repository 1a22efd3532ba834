using System.CommandLine;
using System.Globalization;
using Hadal.Cli.Framework;
using Hadal.Formats;
using Hadal.Inference;
using Hadal.Model;
using Hadal.Tensors;
using Spectre.Console;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal inspect forward|config|tensors|memory|recipe|record|diverge</c>: looks into a model or a recorded run.</summary>
static class InspectVerb
{
    public static Verb Create(Context context) =>
        new("inspect", "Looks into a model or a recorded run: what a forward and backward compute, what config.json says, which tensors there are, what training keeps, in which precision, and what the flight recorder saw.",
            "hadal inspect config --model models/nano",
            "hadal inspect memory", "hadal inspect recipe fp8", "hadal inspect record models/run",
            "hadal inspect forward --model models/nano --tokens tokens.safetensors --out result.safetensors --backward")
        {
            Forward(context),
            Config(context),
            Tensors(context),
            InspectMemoryVerb.Create(context),
            InspectExpertsVerb.Create(context),
            InspectRecipeVerb.Create(context),
            InspectRecordVerb.Create(context),
            InspectDivergeVerb.Create(context),
        };

    static Verb Forward(Context context)
    {
        Option<string> model = Options.Model();
        Option<string?> tokens = Options.Text("--tokens", "F.safetensors", "File with int32 input_ids [B,T].", required: true);
        Option<string?> output = Options.Text("--out", "O.safetensors", "File to write: F32 logits [B,T,V] and loss [1].", required: true);
        Option<bool> backward = Options.Switch("--backward", "Also write grad.NAME for every tensor of the checkpoint: the gradient of exactly that loss.");
        Option<Recipe> recipe = Options.Recipe();
        Option<string> backend = Options.Backend();
        var verb = new Verb("forward", "Runs tokens through a model and writes logits, loss and, if asked, every gradient.",
            "hadal inspect forward --model models/nano --tokens tokens.safetensors --out result.safetensors",
            "hadal inspect forward --model models/nano --tokens tokens.safetensors --out result.safetensors --backward --recipe fp8 --backend cpu")
        {
            model, tokens, output, backward, recipe, backend,
        };
        verb.SetAction(line =>
        {
            string folder = line.GetRequiredValue(model), file = line.GetRequiredValue(tokens)!;
            ModelFolder.Require(folder);
            OutputFile.Require(line.GetRequiredValue(output)!, "--out");
            if (!File.Exists(file)) throw CommandError.Failed($"There is no file {file}.", "a safetensors file with int32 input_ids [B,T]", "check the path given to --tokens");
            using IBackend device = Backends.Create(line.GetRequiredValue(backend), context);
            var warnings = new List<string>();
            double loss = ForwardInspection.Run(folder, file, line.GetRequiredValue(output)!, line.GetValue(backward), line.GetRequiredValue(recipe), device, warnings, context.Cancellation);
            ModelFolder.Warn(warnings, context);
            context.Terminal.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"loss {loss:R} nats per token; written to {line.GetValue(output)}"));
            return ExitCode.Fine;
        });
        return verb;
    }

    static Verb Config(Context context)
    {
        Option<string> model = Options.Model();
        Option<bool> json = Options.Json();
        var verb = new Verb("config", "Shows the architecture that config.json describes, and how many parameters it has.",
            "hadal inspect config --model models/nano", "hadal inspect config --model models/nano --json")
        {
            model, json,
        };
        verb.SetAction(line =>
        {
            string folder = line.GetRequiredValue(model);
            ModelFolder.Require(folder);
            var warnings = new List<string>();
            ModelConfiguration configuration = ModelConfiguration.Load(folder, warnings);
            ModelFolder.Warn(warnings, context);
            (string Name, object Value)[] facts = Facts(configuration);
            if (line.GetValue(json))
            {
                context.Terminal.WriteJson(writer =>
                {
                    foreach ((string name, object value) in facts)
                    {
                        if (value is long number) writer.WriteNumber(name, number);
                        else if (value is double real) writer.WriteNumber(name, real);
                        else writer.WriteString(name, value.ToString());
                    }
                });
                return ExitCode.Fine;
            }

            Table table = new Table().Border(TableBorder.None).HideHeaders().AddColumn("").AddColumn(new TableColumn("").RightAligned());
            foreach ((string name, object value) in facts)
                table.AddRow(Terminal.Plain(name.Replace('_', ' ')), Terminal.Plain(value is long number ? number.ToString("N0", CultureInfo.InvariantCulture) : value.ToString()!));
            context.Terminal.Screen.Write(table);
            return ExitCode.Fine;
        });
        return verb;
    }

    static (string Name, object Value)[] Facts(ModelConfiguration c)
    {
        ParameterCounts counts = c.CountParameters();
        return
        [
            ("model_type", c.ModelType), ("vocabulary", (long)c.VocabularySize), ("hidden", (long)c.HiddenSize), ("layers", (long)c.Layers),
            ("dense_layers", (long)c.FirstDenseLayers), ("dense_intermediate", (long)c.IntermediateSize), ("heads", (long)c.Heads),
            ("q_lora_rank", (long)c.QueryLoraRank), ("kv_lora_rank", (long)c.KeyValueLoraRank), ("nope_head_dim", (long)c.NopeHeadDim),
            ("rope_head_dim", (long)c.RopeHeadDim), ("value_head_dim", (long)c.ValueHeadDim), ("routed_experts", (long)c.RoutedExperts),
            ("experts_per_token", (long)c.ExpertsPerToken), ("groups", (long)c.ExpertGroups), ("kept_groups", (long)c.TopGroups),
            ("shared_experts", (long)c.SharedExperts), ("expert_intermediate", (long)c.MoeIntermediateSize), ("scoring", c.Scoring.ToString()),
            ("routed_scaling_factor", c.RoutedScalingFactor), ("rope_theta", c.RopeTheta), ("yarn_factor", c.RopeScaling?.Factor ?? 1.0),
            ("max_positions", (long)c.MaxPositionEmbeddings), ("mtp_layers", (long)c.MtpLayers), ("parameters", counts.Main),
            ("parameters_per_token", counts.Activated), ("parameters_mtp", counts.Mtp),
        ];
    }

    static Verb Tensors(Context context)
    {
        Option<string> model = Options.Model();
        Option<bool> json = Options.Json();
        var verb = new Verb("tensors", "Lists the tensors of a checkpoint: name, type, shape, bytes.",
            "hadal inspect tensors --model models/nano", "hadal inspect tensors --model model.safetensors --json")
        {
            model, json,
        };
        verb.SetAction(line =>
        {
            string path = line.GetRequiredValue(model);
            if (!Path.Exists(path)) throw CommandError.Failed($"There is nothing at {path}.", "a safetensors file, or a folder with some", "check the path given to --model");
            using Checkpoint checkpoint = Checkpoint.Open(path);
            ModelFolder.Warn(checkpoint.Warnings, context);
            if (line.GetValue(json))
            {
                context.Terminal.WriteJson(writer =>
                {
                    writer.WriteStartArray("tensors");
                    foreach (TensorEntry entry in checkpoint.Entries)
                    {
                        writer.WriteStartObject();
                        writer.WriteString("name", entry.Name);
                        writer.WriteString("dtype", entry.TypeName);
                        writer.WriteStartArray("shape");
                        foreach (long extent in entry.Shape) writer.WriteNumberValue(extent);
                        writer.WriteEndArray();
                        writer.WriteNumber("bytes", entry.Length);
                        writer.WriteString("file", Path.GetFileName(entry.File));
                        writer.WriteEndObject();
                    }

                    writer.WriteEndArray();
                });
                return ExitCode.Fine;
            }

            foreach (TensorEntry entry in checkpoint.Entries)
                context.Terminal.Output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{entry.TypeName,-8} {entry.Length,14:N0}  {entry.Name} [{string.Join(", ", entry.Shape)}]"));
            context.Terminal.Output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{checkpoint.Entries.Count} tensors, {checkpoint.Entries.Sum(entry => entry.Length):N0} bytes"));
            return ExitCode.Fine;
        });
        return verb;
    }
}
