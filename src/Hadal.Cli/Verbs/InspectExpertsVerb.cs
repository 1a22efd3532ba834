using System.CommandLine;
using System.Globalization;
using Hadal.Cli.Framework;
using Hadal.Inference;
using Hadal.Model;
using Hadal.Parallel.Serving;
using Hadal.Tensors;
using Hadal.Text;
using Hadal.Training;
using Hadal.Training.Data;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal inspect experts</c>: which experts a text uses, and a record of it for plans.</summary>
static class InspectExpertsVerb
{
    public static Verb Create(Context context)
    {
        Option<string> model = Options.Model("models/nano");
        var data = new Option<string[]>("--data")
        {
            Description = "What to read: files, folders, bundled:austen, bundled:kjv, arithmetic:N. Texts are read one after the other.", HelpName = "SOURCE", AllowMultipleArgumentsPerToken = true,
            DefaultValueFactory = _ => ["bundled:austen", "bundled:kjv"],
        };
        Option<int> windows = Options.Integer("--windows", "Windows of each text.", 8, 1, 100_000);
        Option<int> tokens = Options.Integer("--window-tokens", "Tokens of a window.", 2048, 1, 1 << 24);
        Option<int> sample = Options.Integer("--sample", "Tokens of a window whose single choices are kept; plans of units need some.", 1024, 0, 1 << 20);
        Option<string?> output = Options.Text("--output", "FILE", "Writes the record, for hadal plan serve --routing.");
        Option<bool> force = OutputFile.Force();
        Option<bool> json = Options.Json();
        Option<string> backend = Options.Backend();
        var verb = new Verb("experts", "Reads text with a model and shows how evenly its experts are used; --output keeps counts by window, layer and expert, and the choices of some tokens.",
            "hadal inspect experts --model models/nano", "hadal inspect experts --model models/nano --data bundled:kjv --windows 4 --output routing.json")
        {
            model, data, windows, tokens, sample, output, force, json, backend,
        };
        verb.SetAction(line =>
        {
            string folder = line.GetRequiredValue(model);
            ModelFolder.Require(folder);
            Tokenizer tokenizer = ModelFolder.Tokenizer(folder, "put the model's tokenizer.json beside its config.json");
            string? file = line.GetValue(output) is { } given ? OutputFile.Prepare(given, "routing.json", line.GetValue(force)) : null;
            using IBackend device = Backends.Create(line.GetRequiredValue(backend), context);
            using LoadedModel loaded = ModelFolder.Load(folder, device, context);
            if (loaded.Model.Blocks.All(b => b.Routed is null)) throw CommandError.Failed($"The model in {folder} has no routed experts.", "a model whose layers have experts", "choose another --model");
            RoutingRecord record = Record(context, loaded.Model, tokenizer, Path.GetFileName(Path.TrimEndingDirectorySeparator(folder)), line.GetRequiredValue(data), line.GetValue(windows), line.GetValue(tokens), line.GetValue(sample));
            if (file is not null)
            {
                using FileStream stream = File.Create(file);
                record.Write(stream);
                context.Terminal.Error.WriteLine($"written to {file}");
            }

            if (line.GetValue(json)) context.Terminal.WriteJson(writer => WriteJson(writer, record));
            else
                foreach (string row in Text(record)) context.Terminal.Output.WriteLine(row);
            return ExitCode.Fine;
        });
        return verb;
    }

    static RoutingRecord Record(Context context, Transformer model, Tokenizer tokenizer, string name, string[] sources, int windows, int windowTokens, int sample)
    {
        var recorder = new RoutingRecorder(model, sample);
        using var progress = new ProgressLine(context.Terminal);
        int longest = Math.Min(256, model.Shape.MaxPositions);
        using var session = new GenerationSession(model, longest, recorder);
        foreach (string source in sources)
        {
            int[] ids = [.. ModelEvaluation.Texts([source], tokenizer, 0, DocumentBoundary.File, 0).SelectMany(t => t.Documents).SelectMany(d => d.Tokens).Take(checked((int)Math.Min(int.MaxValue, (long)windows * windowTokens)))];
            for (int at = 0; at < ids.Length;)
            {
                // Rows of fresh sequences: a window is cut where it is full.
                int count = Math.Min(Math.Min(longest, ids.Length - at), windowTokens - recorder.Tokens);
                session.Truncate(0);
                session.Append(ids.AsSpan(at, count));
                at += count;
                if (recorder.Tokens >= windowTokens) recorder.EndWindow(source);
                progress.Report($"reading {source}", at, ids.Length, "tokens");
                context.Cancellation.ThrowIfCancellationRequested();
            }

            recorder.EndWindow(source);
        }

        return recorder.ToRecord(name);
    }

    static IEnumerable<string> Text(RoutingRecord record)
    {
        yield return F($"{record.Model}: {record.Experts} experts, {record.TopK} of them for a token, {record.Windows.Sum(w => (long)w.Tokens):N0} tokens in {record.Windows.Count} windows");
        yield return $"{"layer",6} {"most/mean",10} {"least/mean",11} {"unused",7} {"effective experts",18}   most used";
        for (int layer = 0; layer < record.Layers.Count; layer++)
        {
            long[] counts = Counts(record, layer);
            (double most, double least, int unused, double effective) = Measure(counts);
            int[] used = [.. Enumerable.Range(0, counts.Length).OrderByDescending(e => counts[e]).Take(6)];
            yield return F($"{record.Layers[layer],6} {most,10:0.00} {least,11:0.00} {unused,7} {effective,18:0.0}   {string.Join(' ', used)}");
        }
    }

    static void WriteJson(System.Text.Json.Utf8JsonWriter json, RoutingRecord record)
    {
        json.WriteString("model", record.Model);
        json.WriteNumber("experts", record.Experts);
        json.WriteNumber("top_k", record.TopK);
        json.WriteNumber("windows", record.Windows.Count);
        json.WriteNumber("tokens", record.Windows.Sum(w => (long)w.Tokens));
        json.WriteStartArray("layers");
        for (int layer = 0; layer < record.Layers.Count; layer++)
        {
            long[] counts = Counts(record, layer);
            (double most, double least, int unused, double effective) = Measure(counts);
            json.WriteStartObject();
            json.WriteNumber("layer", record.Layers[layer]);
            json.WriteNumber("most_over_mean", most);
            json.WriteNumber("least_over_mean", least);
            json.WriteNumber("unused", unused);
            json.WriteNumber("effective_experts", effective);
            json.WriteStartArray("counts");
            foreach (long count in counts) json.WriteNumberValue(count);
            json.WriteEndArray();
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    static long[] Counts(RoutingRecord record, int layer) => [.. Enumerable.Range(0, record.Experts).Select(e => record.Windows.Sum(w => (long)w.Counts[layer][e]))];

    // Effective experts: e to the entropy of the use; as many equally used ones would be as even.
    static (double Most, double Least, int Unused, double Effective) Measure(long[] counts)
    {
        double sum = Math.Max(1, counts.Sum()), mean = sum / counts.Length;
        double entropy = -counts.Where(c => c > 0).Sum(c => c / sum * Math.Log(c / sum));
        return (counts.Max() / mean, counts.Min() / mean, counts.Count(c => c == 0), Math.Exp(entropy));
    }

    static string F(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
