using System.Buffers.Binary;
using System.Text.Json;

namespace Hadal.Parallel.Serving;

/// <summary>What was routed while a stretch of text was read.</summary>
/// <param name="Label">What was read.</param>
/// <param name="Tokens">How many tokens.</param>
/// <param name="Counts">[layers][experts]: tokens that chose each expert.</param>
/// <param name="Choices">[layers][some tokens · topK]: the choices of the first tokens, ascending for each; empty when only counts were kept.</param>
public sealed record RoutingWindow(string Label, int Tokens, int[][] Counts, ushort[][] Choices);

/// <summary>
/// Recorded routing of a model: counts by window, layer and expert, and the choices of some tokens. <c>hadal inspect experts</c> writes it, plans of serving units read it. The file
/// is JSON; choices are 16-bit numbers, little-endian, in base64.
/// </summary>
/// <param name="Model">Name of the model, for titles.</param>
/// <param name="Experts">Routed experts of a layer.</param>
/// <param name="TopK">Experts of a token.</param>
/// <param name="Groups">Groups of the gate.</param>
/// <param name="TopGroups">Groups that a token may choose from.</param>
/// <param name="Layers">Index in the checkpoint of each recorded layer.</param>
/// <param name="Windows">In order of time.</param>
public sealed record RoutingRecord(string Model, int Experts, int TopK, int Groups, int TopGroups, IReadOnlyList<int> Layers, IReadOnlyList<RoutingWindow> Windows)
{
    const long LargestFile = 256L << 20;
    const string Kind = "hadal-routing";

    /// <summary>Tokens whose choices every window has in every layer.</summary>
    public int SampledTokens => Windows.Min(w => w.Choices.Length == 0 ? 0 : w.Choices.Min(c => c.Length / TopK));

    /// <summary>Writes the file.</summary>
    public void Write(Stream stream)
    {
        using var json = new Utf8JsonWriter(stream);
        json.WriteStartObject();
        json.WriteString("format", Kind);
        json.WriteNumber("version", 1);
        json.WriteString("model", Model);
        json.WriteNumber("experts", Experts);
        json.WriteNumber("top_k", TopK);
        json.WriteNumber("groups", Groups);
        json.WriteNumber("top_groups", TopGroups);
        json.WriteStartArray("layers");
        foreach (int layer in Layers) json.WriteNumberValue(layer);
        json.WriteEndArray();
        json.WriteStartArray("windows");
        foreach (RoutingWindow window in Windows)
        {
            json.WriteStartObject();
            json.WriteString("label", window.Label);
            json.WriteNumber("tokens", window.Tokens);
            json.WriteStartArray("counts");
            foreach (int[] counts in window.Counts)
            {
                json.WriteStartArray();
                foreach (int count in counts) json.WriteNumberValue(count);
                json.WriteEndArray();
            }

            json.WriteEndArray();
            if (window.Choices.Length > 0)
            {
                json.WriteStartArray("choices");
                foreach (ushort[] choices in window.Choices)
                {
                    byte[] bytes = new byte[2 * choices.Length];
                    for (int i = 0; i < choices.Length; i++) BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(2 * i), choices[i]);
                    json.WriteBase64StringValue(bytes);
                }

                json.WriteEndArray();
            }

            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    /// <summary>Reads a file.</summary>
    /// <exception cref="InvalidDataException">It is no such file, or it is damaged; the message says where.</exception>
    public static RoutingRecord Load(string path)
    {
        long length = new FileInfo(path).Length;
        if (length > LargestFile) throw new InvalidDataException($"{path} has {length} bytes; a routing file has at most {LargestFile}.");
        return Parse(File.ReadAllBytes(path), path);
    }

    /// <summary>As <see cref="Load"/> from bytes; <paramref name="source"/> is named in messages.</summary>
    public static RoutingRecord Parse(ReadOnlyMemory<byte> utf8, string source)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(utf8, new JsonDocumentOptions { MaxDepth = 8 });
            return Read(document.RootElement, source);
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException or KeyNotFoundException or FormatException)
        {
            throw new InvalidDataException($"{source} is no routing file: {exception.Message} Write one with hadal inspect experts --output.", exception);
        }
    }

    static RoutingRecord Read(JsonElement root, string source)
    {
        if (root.ValueKind != JsonValueKind.Object || !root.TryGetProperty("format", out JsonElement kind) || !kind.ValueEquals(Kind))
            throw new InvalidDataException($"{source} is no routing file: it does not say \"format\": \"{Kind}\". Write one with hadal inspect experts --output.");
        int version = root.GetProperty("version").GetInt32();
        if (version != 1) throw new InvalidDataException($"{source} has version {version}; expected 1, which this program reads.");
        int experts = Number(root, "experts", 1, ushort.MaxValue + 1, source), topK = Number(root, "top_k", 1, Math.Min(experts, 256), source);
        int groups = Number(root, "groups", 1, experts, source), topGroups = Number(root, "top_groups", 1, groups, source);
        if (experts % groups != 0) throw new InvalidDataException($"{source} has {experts} experts in {groups} groups; expected groups of one size.");
        int[] layers = [.. root.GetProperty("layers").EnumerateArray().Select(l => l.GetInt32())];
        if (layers.Length is < 1 or > 4096) throw new InvalidDataException($"{source} has {layers.Length} layers; expected 1 to 4096.");
        var windows = new List<RoutingWindow>();
        foreach (JsonElement window in root.GetProperty("windows").EnumerateArray())
        {
            string where = $"{source}, window {windows.Count}";
            int[][] counts = [.. window.GetProperty("counts").EnumerateArray().Select(layer => layer.EnumerateArray().Select(c => c.GetInt32()).ToArray())];
            if (counts.Length != layers.Length || counts.Any(c => c.Length != experts || c.Any(n => n < 0)))
                throw new InvalidDataException($"{where}: counts are not one number from 0 up for each of {experts} experts of {layers.Length} layers.");
            ushort[][] choices = window.TryGetProperty("choices", out JsonElement given) ? [.. given.EnumerateArray().Select(c => Choices(c, experts, topK, where))] : [];
            if (choices.Length != 0 && choices.Length != layers.Length) throw new InvalidDataException($"{where} has choices of {choices.Length} layers; expected {layers.Length}.");
            windows.Add(new(window.GetProperty("label").GetString() ?? "", Number(window, "tokens", 0, int.MaxValue, where), counts, choices));
        }

        if (windows.Count == 0) throw new InvalidDataException($"{source} has no window; expected at least one.");
        return new(root.GetProperty("model").GetString() ?? "", experts, topK, groups, topGroups, layers, windows);
    }

    static ushort[] Choices(JsonElement text, int experts, int topK, string where)
    {
        byte[] bytes = text.GetBytesFromBase64();
        if (bytes.Length % (2 * topK) != 0) throw new InvalidDataException($"{where}: choices of {bytes.Length} bytes; expected {2 * topK} for each token.");
        var choices = new ushort[bytes.Length / 2];
        for (int i = 0; i < choices.Length; i++)
        {
            choices[i] = BinaryPrimitives.ReadUInt16LittleEndian(bytes.AsSpan(2 * i));
            if (choices[i] >= experts || (i % topK > 0 && choices[i] <= choices[i - 1]))
                throw new InvalidDataException($"{where}: token {i / topK} chose expert {choices[i]}; expected {topK} different experts below {experts}, ascending.");
        }

        return choices;
    }

    static int Number(JsonElement element, string key, int least, int most, string source)
    {
        JsonElement value = element.GetProperty(key);
        return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number) && number >= least && number <= most
            ? number
            : throw new InvalidDataException($"{source}: '{key}' is {value.GetRawText()}; expected a whole number from {least} to {most}.");
    }
}
