using System.Runtime.InteropServices;
using Hadal.Formats;
using Hadal.Formats.Gguf;
using Hadal.Numerics;
using Hadal.Text;

namespace Hadal.Model.Conversion;

/// <summary>
/// Writes a checkpoint of the public layout as one GGUF file that llama.cpp runs (<c>deepseek2</c>): <c>kv_b_proj</c> cut into its key and value parts for absorbed
/// attention, experts stacked, the tokenizer inside. Modules of multi-token prediction are left out. The file appears whole or not at all.
/// </summary>
public static class GgufConverter
{
    /// <summary>Converts <paramref name="source"/> into the file <paramref name="destination"/>.</summary>
    /// <param name="source">A directory with config.json, safetensors and tokenizer.json.</param>
    /// <param name="destination">The file.</param>
    /// <param name="format">F32, BF16 or F16; Same is F32 for weights stored as such and BF16 for all others. Norms, gates and selection biases are F32 in every case.</param>
    /// <param name="overwrite">Whether a file that is there may be replaced.</param>
    /// <param name="progress">Is told how far the work is.</param>
    /// <param name="cancel">Ends with an <see cref="OperationCanceledException"/>; the destination stays as it was.</param>
    /// <exception cref="CheckpointFormatException">The weights do not fit config.json, are damaged, or do not fit the target type.</exception>
    /// <exception cref="ConfigurationException">config.json says something impossible, or something that llama.cpp cannot run.</exception>
    /// <exception cref="TokenizerFormatException">tokenizer.json is damaged.</exception>
    /// <exception cref="IOException">There is no tokenizer, or the destination is there already or cannot be written.</exception>
    public static ConversionReport Convert(
        string source, string destination, WeightFormat format, bool overwrite = false, IProgress<ConversionProgress>? progress = null, CancellationToken cancel = default)
    {
        if (!overwrite && Path.Exists(destination)) throw new IOException($"{destination} is there already. Give another name, or ask to replace it.");
        var warnings = new List<string>();
        ModelConfiguration configuration = ModelConfiguration.Load(source, warnings);
        GgufPlan.RequireRunnable(configuration, Path.Combine(source, "config.json"));
        string tokenizerPath = Path.Combine(source, "tokenizer.json");
        if (!File.Exists(tokenizerPath)) throw new FileNotFoundException($"{source} holds no tokenizer.json, and a GGUF file contains its model's tokenizer. Put it beside config.json.");
        Tokenizer tokenizer = Tokenizer.Load(tokenizerPath);
        TokenizerVocabulary vocabulary = tokenizer.ToVocabulary();
        if (tokenizer.VocabularySize > configuration.VocabularySize)
            throw new ConfigurationException(Path.Combine(source, "config.json"), "vocab_size", $"{configuration.VocabularySize}", $"at least {tokenizer.VocabularySize}, the size of tokenizer.json's vocabulary");
        if (!vocabulary.IsDeepSeek) warnings.Add("tokenizer.json does not split text as DeepSeek-V3's does; llama.cpp will split it so, and may choose other tokens.");
        using Checkpoint checkpoint = Checkpoint.Open(source);
        warnings.AddRange(checkpoint.Warnings);
        CheckpointWeights.RequireEnough(checkpoint, ModelLoader.Shape(configuration) with { MtpDepth = 0 });
        if (configuration.MtpLayers > 0 && checkpoint.Find($"model.layers.{configuration.Layers}.eh_proj.weight") is not null)
            warnings.Add($"{(configuration.MtpLayers == 1 ? "The module of multi-token prediction is" : $"The {configuration.MtpLayers} modules of multi-token prediction are")} left out: llama.cpp's deepseek2 runs the main model.");
        GgufElementType type = Type(format, checkpoint);
        List<GgufItem> items = GgufPlan.Items(configuration, type);
        items.RemoveAll(item => item.Tensor.Name.EndsWith("exp_probs_b.bias", StringComparison.Ordinal) && checkpoint.Find(item.Sources[0]) is null);
        checkpoint.Verify();
        long bytes = items.Sum(item => item.Tensor.Length), done = 0;
        string folder = Path.GetDirectoryName(Path.GetFullPath(destination))!;
        Directory.CreateDirectory(folder);
        AtomicFile.RequireFreeSpace(folder, checked(bytes + (64L << 20)));
        GgufMetadata metadata = GgufPlan.Metadata(configuration, vocabulary, tokenizer, Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(source))), type);
        var writer = new GgufTensorWriter(checkpoint, configuration, cancel);
        Dictionary<string, GgufItem> byName = items.ToDictionary(item => item.Tensor.Name, StringComparer.Ordinal);
        GgufFile.Write(destination, metadata, [.. items.Select(item => item.Tensor)], (tensor, stream) =>
        {
            writer.Write(byName[tensor.Name], stream);
            progress?.Report(new ConversionProgress("converting", done += tensor.Length, bytes));
        });
        return new ConversionReport(items.Count, checkpoint.Entries.Sum(entry => entry.Length), bytes, [Path.GetFileName(destination)], [], warnings);
    }

    static GgufElementType Type(WeightFormat format, Checkpoint checkpoint) => format switch
    {
        WeightFormat.F32 => GgufElementType.F32,
        WeightFormat.BF16 => GgufElementType.BF16,
        WeightFormat.F16 => GgufElementType.F16,
        WeightFormat.Same => checkpoint.Get("model.embed_tokens.weight").Type switch
        {
            ElementType.F32 or ElementType.F64 => GgufElementType.F32,
            ElementType.F16 => GgufElementType.F16,
            _ => GgufElementType.BF16,
        },
        _ => throw new ArgumentException($"GGUF files are written as F32, BF16 or F16, not as {format}.", nameof(format)),
    };
}

/// <summary>Puts the data of one GGUF tensor together.</summary>
sealed class GgufTensorWriter(Checkpoint checkpoint, ModelConfiguration configuration, CancellationToken cancel)
{
    const int RowsAtOnce = TileQuantizer.Tile;
    const float LargestF16 = 65520, LargestBF16 = 3.3961775e38f; // from here on rounding gives infinity

    readonly TensorDecoder _decoder = new(checkpoint);
    float[] _values = [], _turned = [];
    byte[] _bytes = [];

    internal void Write(GgufItem item, Stream stream)
    {
        foreach (string name in item.Sources)
        {
            cancel.ThrowIfCancellationRequested();
            TensorEntry entry = checkpoint.Get(name);
            TensorEntry? scale = entry.Type == ElementType.F8E4M3 ? ConversionPlan.RequireScale(checkpoint, entry) : null;
            if (item.Part == GgufPart.Whole) WriteRows(item.Tensor.Type, entry, scale, stream);
            else WriteHeads(item, entry, scale, stream);
        }
    }

    void WriteRows(GgufElementType type, TensorEntry entry, TensorEntry? scale, Stream stream)
    {
        int columns = checked((int)entry.Shape[^1]);
        long rows = entry.ElementCount / columns;
        for (long row = 0; row < rows; row += RowsAtOnce)
        {
            cancel.ThrowIfCancellationRequested();
            Span<float> values = TensorConverter.Grow(ref _values, checked((int)Math.Min(RowsAtOnce, rows - row) * columns));
            _decoder.Decode(entry, scale, Target(type), row * columns, columns, values);
            Encode(type, entry, row * columns, values, stream);
        }
    }

    /// <summary>Rows of head h are h·(nope + value) on, keys first.</summary>
    void WriteHeads(GgufItem item, TensorEntry entry, TensorEntry? scale, Stream stream)
    {
        int latent = configuration.KeyValueLoraRank, keys = configuration.NopeHeadDim, values = configuration.ValueHeadDim;
        Span<float> all = TensorConverter.Grow(ref _values, checked((int)entry.ElementCount));
        for (int row = 0; row < entry.Shape[0]; row += RowsAtOnce)
        {
            int count = (int)Math.Min(RowsAtOnce, entry.Shape[0] - row);
            _decoder.Decode(entry, scale, Target(item.Tensor.Type), (long)row * latent, latent, all.Slice(row * latent, count * latent));
        }

        for (int head = 0; head < configuration.Heads; head++)
        {
            int start = head * (keys + values) * latent;
            if (item.Part == GgufPart.Values)
            {
                Encode(item.Tensor.Type, entry, start + (keys * latent), all.Slice(start + (keys * latent), values * latent), stream);
                continue;
            }

            Span<float> turned = TensorConverter.Grow(ref _turned, latent * keys);
            for (int k = 0; k < keys; k++)
                for (int l = 0; l < latent; l++) turned[(l * keys) + k] = all[start + (k * latent) + l];
            Encode(item.Tensor.Type, entry, start, turned, stream);
        }
    }

    void Encode(GgufElementType type, TensorEntry entry, long start, Span<float> values, Stream stream)
    {
        if (type == GgufElementType.F32)
        {
            stream.Write(MemoryMarshal.AsBytes(values));
            return;
        }

        float limit = type == GgufElementType.F16 ? LargestF16 : LargestBF16;
        if (TileScale.LargestMagnitude(values) >= limit)
        {
            for (int i = 0; i < values.Length; i++)
                if (float.IsFinite(values[i]) && Math.Abs(values[i]) >= limit) throw TensorDecoder.TooLarge(entry, Target(type), start + i, values[i]);
        }

        Span<byte> bytes = TensorConverter.Grow(ref _bytes, values.Length * 2);
        if (type == GgufElementType.F16) F16.FromSingle(values, MemoryMarshal.Cast<byte, Half>(bytes));
        else BF16.FromSingle(values, MemoryMarshal.Cast<byte, BF16>(bytes));
        stream.Write(bytes);
    }

    static ElementType Target(GgufElementType type) => type switch { GgufElementType.F32 => ElementType.F32, GgufElementType.F16 => ElementType.F16, _ => ElementType.BF16 };
}
