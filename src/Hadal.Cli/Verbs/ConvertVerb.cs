using System.CommandLine;
using System.Globalization;
using Hadal.Cli.Framework;
using Hadal.Formats;
using Hadal.Model.Conversion;
using Hadal.Numerics;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal convert IN OUT</c>: another element type, sharding or spelling of a checkpoint, or a GGUF file of it.</summary>
static class ConvertVerb
{
    public static Verb Create(Context context)
    {
        var input = new Argument<string>("IN") { Description = "Folder with config.json and safetensors, single or sharded, F32, BF16, F16 or FP8." };
        var output = new Argument<string>("OUT") { Description = "Folder to be made; a name that ends in .gguf is one file for llama.cpp." };
        Option<string> type = Options.Choice("--dtype", "What weights become; fp8 is E4M3 with 128×128 blocks, laid out as the published V3.", "same", "f32", "bf16", "f16", "fp8");
        Option<string> scales = Options.Choice("--scale-format", "Scales of fp8 weights: float, or ue8m0 for powers of two.", "same", "float", "ue8m0");
        Option<long> shard = Options.Bytes("--max-shard-size", "Most bytes of data in one file.", CheckpointWriter.DefaultShardLength, 1);
        Option<string> style = Options.Choice("--config-style", "Spelling of config.json: hub as the published models, rope-parameters as newer libraries write.", "same", "hub", "rope-parameters");
        Option<bool> force = Options.Switch("--force", "Replace a model that is at OUT already.");
        Option<bool> json = Options.Json();
        var verb = new Verb("convert", "Rewrites a checkpoint with another element type, sharding or spelling; nothing of it is lost, and OUT appears whole or not at all. A GGUF file holds the main model and its tokenizer, for llama.cpp.",
            "hadal convert models/nano models/nano-bf16 --dtype bf16",
            "hadal convert models/nano models/nano-fp8 --dtype fp8 --scale-format ue8m0",
            "hadal convert models/nano models/nano.gguf --dtype bf16",
            "hadal convert downloads/model models/model --dtype f32 --max-shard-size 2GB --config-style rope-parameters")
        {
            input, output, type, scales, shard, style, force, json,
        };
        verb.SetAction(line =>
        {
            string source = line.GetRequiredValue(input), destination = line.GetRequiredValue(output);
            if (!Directory.Exists(source)) throw CommandError.Failed($"There is no folder {source}.", "a folder with config.json and safetensors", "check the path given as IN");
            WeightFormat format = Format(line.GetRequiredValue(type));
            ScaleKind? kind = line.GetRequiredValue(scales) switch { "float" => ScaleKind.Plain, "ue8m0" => ScaleKind.PowerOfTwo, _ => null };
            if (kind is not null && format != WeightFormat.Fp8)
                throw CommandError.WrongUse($"--scale-format {line.GetValue(scales)} was given with --dtype {line.GetValue(type)}.", "--dtype fp8, which has scales", "add --dtype fp8, or leave --scale-format out");
            var options = new ConversionOptions
            {
                Format = format, Scales = kind, ShardLength = line.GetValue(shard), Overwrite = line.GetValue(force),
                Style = line.GetRequiredValue(style) switch { "hub" => ConfigurationStyle.Hub, "rope-parameters" => ConfigurationStyle.RopeParameters, _ => null },
            };
            bool gguf = destination.EndsWith(".gguf", StringComparison.OrdinalIgnoreCase);
            if (gguf) RefuseForGguf(line.GetResult(shard), line.GetResult(style), format);
            ConversionReport report;
            using (var progress = new ProgressLine(context.Terminal))
            {
                report = gguf
                    ? GgufConverter.Convert(source, destination, format, options.Overwrite, new Reports(progress), context.Cancellation)
                    : CheckpointConverter.Convert(source, destination, options, new Reports(progress), context.Cancellation);
            }

            ModelFolder.Warn(report.Warnings, context);
            context.Terminal.Error.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{report.Tensors:N0} tensors, {report.SourceBytes:N0} bytes became {report.Bytes:N0} in {report.Files.Count} {(report.Files.Count == 1 ? "file" : "files")}; written to {destination}"));
            if (line.GetValue(json)) WriteJson(context.Terminal, destination, report);
            return ExitCode.Fine;
        });
        return verb;
    }

    static void RefuseForGguf(System.CommandLine.Parsing.OptionResult? shard, System.CommandLine.Parsing.OptionResult? style, WeightFormat format)
    {
        if (format == WeightFormat.Fp8) throw CommandError.WrongUse("--dtype fp8 was given with a .gguf file.", "f32, bf16 or f16, which llama.cpp knows", "give another --dtype, or a folder as OUT");
        foreach (var option in new[] { shard, style })
            if (option is { Implicit: false }) throw CommandError.WrongUse($"{option.IdentifierToken} was given with a .gguf file.", "one file without config.json", $"leave {option.IdentifierToken} out, or give a folder as OUT");
    }

    static WeightFormat Format(string name) => name switch
    {
        "f32" => WeightFormat.F32,
        "bf16" => WeightFormat.BF16,
        "f16" => WeightFormat.F16,
        "fp8" => WeightFormat.Fp8,
        _ => WeightFormat.Same,
    };

    static void WriteJson(Terminal terminal, string destination, ConversionReport report) => terminal.WriteJson(writer =>
    {
        writer.WriteString("folder", destination);
        writer.WriteNumber("tensors", report.Tensors);
        writer.WriteNumber("source_bytes", report.SourceBytes);
        writer.WriteNumber("bytes", report.Bytes);
        writer.WriteStartArray("files");
        foreach (string file in report.Files) writer.WriteStringValue(file);
        writer.WriteEndArray();
        writer.WriteStartArray("copied");
        foreach (string file in report.Copied) writer.WriteStringValue(file);
        writer.WriteEndArray();
    });

    sealed class Reports(ProgressLine line) : IProgress<ConversionProgress>
    {
        public void Report(ConversionProgress value) => line.Report(value.Stage, value.Bytes, value.Total, "bytes");
    }
}
