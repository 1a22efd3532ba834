using Hadal.Formats;
using Hadal.Numerics;

namespace Hadal.Model.Conversion;

/// <summary>
/// Rewrites a checkpoint of the public layout: other element types, other sharding, other spelling of config.json. Every tensor of the source comes out, tokenizer and
/// other files beside the weights are copied. Memory stays a few pieces of a tensor, whatever the size of the model. The destination appears whole or not at all.
/// </summary>
public static class CheckpointConverter
{
    /// <summary>Converts <paramref name="source"/> into <paramref name="destination"/>.</summary>
    /// <param name="source">A directory with config.json and safetensors.</param>
    /// <param name="destination">A directory that is not there yet, is empty, or holds a model that may be replaced.</param>
    /// <param name="options">What to convert to.</param>
    /// <param name="progress">Is told how far the work is.</param>
    /// <param name="cancel">Ends with an <see cref="OperationCanceledException"/>; the destination stays as it was.</param>
    /// <exception cref="CheckpointFormatException">The weights do not fit config.json, are damaged, or do not fit the target type.</exception>
    /// <exception cref="ConfigurationException">config.json says something impossible.</exception>
    /// <exception cref="IOException">The destination cannot be replaced or written, or the disk has too little room.</exception>
    public static ConversionReport Convert(
        string source, string destination, ConversionOptions options, IProgress<ConversionProgress>? progress = null, CancellationToken cancel = default)
    {
        ModelDirectory.RequireReplaceable(source, destination, options.Overwrite);
        var warnings = new List<string>();
        ModelConfiguration configuration = ModelConfiguration.Load(source, warnings);
        using Checkpoint checkpoint = Checkpoint.Open(source);
        warnings.AddRange(checkpoint.Warnings);
        ConversionItem[] items = ConversionPlan.Make(checkpoint, configuration, options, warnings);
        QuantizationConfiguration? quantization = Quantization(configuration, options);
        ScaleKind scaleKind = quantization is { PowerOfTwoScales: true } ? ScaleKind.PowerOfTwo : ScaleKind.Plain;
        byte[] json = ConfigurationRewriter.Rewrite(Path.Combine(source, "config.json"), TorchType(options.Format), quantization, options.Style);
        TensorDeclaration[] declarations = [.. items.SelectMany(item => item.Declarations())];
        string[] sideFiles = ModelDirectory.SideFiles(source);
        long bytes = declarations.Sum(declaration => declaration.Length), sideBytes = sideFiles.Sum(file => new FileInfo(file).Length);
        Verify(checkpoint, progress, cancel);

        string parent = Path.GetDirectoryName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(destination)))!;
        Directory.CreateDirectory(parent);
        AtomicFile.RequireFreeSpace(parent, checked(bytes + sideBytes + json.Length + (1L << 20)));
        string partial = ModelDirectory.CreatePartial(destination);
        try
        {
            IReadOnlyList<string> files;
            using (var writer = new CheckpointWriter(partial, declarations, options.ShardLength))
            {
                files = writer.FileNames;
                long done = 0, total = checkpoint.Entries.Sum(entry => entry.Length);
                var converter = new TensorConverter(checkpoint, writer, scaleKind, warnings, part => progress?.Report(new ConversionProgress("converting", done += part, total)));
                foreach (ConversionItem item in items) converter.Convert(item, cancel);
                writer.Commit();
            }

            foreach (string file in sideFiles) File.Copy(file, Path.Combine(partial, Path.GetFileName(file)));
            AtomicFile.WriteAllBytes(Path.Combine(partial, "config.json"), json);
            cancel.ThrowIfCancellationRequested();
            ModelDirectory.Publish(partial, destination);
            return new ConversionReport(declarations.Length, checkpoint.Entries.Sum(entry => entry.Length), bytes, files, [.. sideFiles.Select(file => Path.GetFileName(file))], warnings);
        }
        catch
        {
            ModelDirectory.TryDelete(partial);
            throw;
        }
    }

    static void Verify(Checkpoint checkpoint, IProgress<ConversionProgress>? progress, CancellationToken cancel)
    {
        long done = 0, total = checkpoint.Files.Sum(file => file.Length);
        foreach (SafetensorsFile file in checkpoint.Files)
        {
            cancel.ThrowIfCancellationRequested();
            SafetensorsChecksum.Verify(file);
            progress?.Report(new ConversionProgress("checking", done += file.Length, total));
        }
    }

    static QuantizationConfiguration? Quantization(ModelConfiguration configuration, ConversionOptions options) => options.Format switch
    {
        WeightFormat.Same => configuration.Quantization,
        WeightFormat.Fp8 => new QuantizationConfiguration(PowerOfTwoScales: options.Scales is { } kind ? kind == ScaleKind.PowerOfTwo : configuration.Quantization?.PowerOfTwoScales ?? false),
        _ => null,
    };

    static string? TorchType(WeightFormat format) => format switch
    {
        WeightFormat.F32 => "float32",
        WeightFormat.BF16 or WeightFormat.Fp8 => "bfloat16",
        WeightFormat.F16 => "float16",
        _ => null,
    };
}
