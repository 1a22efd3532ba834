using System.Text.Json;
using Hadal.Numerics;
using Hadal.Tensors.Operations;

namespace Hadal.Model;

/// <content>
/// Recipes in files: a JSON object with <c>name</c>, <c>summary</c>, optionally <c>base</c> (a recipe by name, whose values hold where the file says nothing; else fp32),
/// the products <c>forward {input, weight, accumulation, output}</c>, <c>inputGradient {gradient, weight, …}</c>, <c>weightGradient {gradient, input, …}</c>,
/// <c>activations</c>, <c>attentionOutputScale</c>, <c>delayedSteps</c> and <c>cache {residual, latents, attentionOutput, swiGluInput, expertInput, expertGradient}</c>. A format is written
/// <c>f32</c>, <c>bf16</c>, <c>e4m3 1x128</c>, <c>e4m3 128x128</c>, <c>e4m3 tensor</c>, <c>e5m6 1x128</c>, with <c>power-of-two</c> or <c>delayed</c> after it where wanted; in weight
/// gradients, whose contraction runs over tokens, tiles are <c>128x1</c>.
/// </content>
public sealed partial record Recipe
{
    const long LargestFile = 1 << 20;

    /// <summary>Reads and checks a recipe.</summary>
    /// <exception cref="ArgumentException">The file is not a recipe, or the recipe cannot work; the message names the value and the reason.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static Recipe Load(string path)
    {
        if (new FileInfo(path).Length > LargestFile) throw new ArgumentException($"{path} has {new FileInfo(path).Length} bytes; a recipe has at most {LargestFile}.", nameof(path));
        return Parse(File.ReadAllText(path), path);
    }

    /// <summary>The recipe as <see cref="Parse"/> reads it, every value written out.</summary>
    public string ToJson() => RecipeWriter.Write(this);

    /// <summary>As <see cref="Load"/> from text; <paramref name="source"/> is named in messages.</summary>
    /// <exception cref="ArgumentException">As <see cref="Load"/>.</exception>
    public static Recipe Parse(string json, string source)
    {
        JsonDocument document;
        try
        {
            document = JsonDocument.Parse(json, new JsonDocumentOptions { MaxDepth = 8, CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true });
        }
        catch (JsonException exception)
        {
            throw new ArgumentException($"{source} is not JSON: {Hadal.Formats.JsonFault.Describe(exception)}.", nameof(json), exception);
        }

        using (document)
        {
            var reader = new RecipeReader(source);
            Recipe recipe = reader.Read(document.RootElement);
            recipe.Validate();
            return recipe;
        }
    }
}

/// <summary>Writes recipes as files have them.</summary>
static class RecipeWriter
{
    public static string Write(Recipe recipe)
    {
        using var memory = new MemoryStream();
        using (var json = new Utf8JsonWriter(memory, new JsonWriterOptions { Indented = true, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping })) Write(recipe, json);
        return System.Text.Encoding.UTF8.GetString(memory.ToArray());
    }

    static void Write(Recipe recipe, Utf8JsonWriter json)
    {
        json.WriteStartObject();
        json.WriteString("name", recipe.Name);
        json.WriteString("summary", recipe.Summary);
        Product(json, "forward", "input", "weight", recipe.Forward, overTokens: false);
        Product(json, "inputGradient", "gradient", "weight", recipe.InputGradient, overTokens: false);
        Product(json, "weightGradient", "gradient", "input", recipe.WeightGradient, overTokens: true);
        json.WriteString("activations", Format(new QuantizationFormat(recipe.Activations), overTokens: false));
        if (recipe.AttentionOutputScale is ScaleKind scale) json.WriteString("attentionOutputScale", scale == ScaleKind.PowerOfTwo ? "power-of-two" : "plain");
        if (recipe.HasDelayedScales) json.WriteNumber("delayedSteps", recipe.DelayedSteps);
        json.WriteStartObject("cache");
        foreach ((string name, QuantizationFormat format) in recipe.Caches) json.WriteString(name["cache.".Length..], Format(format, overTokens: false));
        json.WriteEndObject();
        json.WriteEndObject();
    }

    static void Product(Utf8JsonWriter json, string name, string left, string right, ProductFormat product, bool overTokens)
    {
        json.WriteStartObject(name);
        json.WriteString(left, Format(product.Left, overTokens));
        json.WriteString(right, Format(product.Right, overTokens));
        json.WriteString("accumulation", product.Accumulation switch
        {
            Accumulation.Chain => "chain", Accumulation.Promoted => "promoted", Accumulation.TensorCore => "tensor-core", _ => "tensor-core-promoted",
        });
        json.WriteString("output", Format(new QuantizationFormat(product.Output), overTokens: false));
        json.WriteEndObject();
    }

    static string Format(QuantizationFormat format, bool overTokens)
    {
        string number = format.Number switch { NumberFormat.F32 => "f32", NumberFormat.BF16 => "bf16", NumberFormat.E4M3 => "e4m3", _ => "e5m6" };
        string shape = format.Granularity switch { Granularity.None => "", Granularity.Tile => overTokens ? " 128x1" : " 1x128", Granularity.Block => " 128x128", _ => " tensor" };
        return number + shape + (format.Scale == ScaleKind.PowerOfTwo ? " power-of-two" : "") + (format.Origin == ScaleOrigin.Delayed ? " delayed" : "");
    }
}

/// <summary>Reads the parts of a recipe; every key must be one it knows.</summary>
sealed class RecipeReader(string source)
{
    public Recipe Read(JsonElement root)
    {
        Keys(root, "", "name", "summary", "base", "forward", "inputGradient", "weightGradient", "activations", "attentionOutputScale", "delayedSteps", "cache");
        Recipe recipe = root.TryGetProperty("base", out JsonElement based) ? Recipe.Find(Text(based, "base")) : Recipe.Fp32;
        recipe = recipe with { Name = root.TryGetProperty("name", out JsonElement name) ? Text(name, "name") : Path.GetFileNameWithoutExtension(source) };
        if (root.TryGetProperty("summary", out JsonElement summary)) recipe = recipe with { Summary = Text(summary, "summary") };
        if (root.TryGetProperty("forward", out JsonElement forward)) recipe = recipe with { Forward = Product(forward, "forward", "input", "weight", recipe.Forward, overTokens: false) };
        if (root.TryGetProperty("inputGradient", out JsonElement input))
            recipe = recipe with { InputGradient = Product(input, "inputGradient", "gradient", "weight", recipe.InputGradient, overTokens: false) };
        if (root.TryGetProperty("weightGradient", out JsonElement weight))
            recipe = recipe with { WeightGradient = Product(weight, "weightGradient", "gradient", "input", recipe.WeightGradient, overTokens: true) };
        if (root.TryGetProperty("activations", out JsonElement activations)) recipe = recipe with { Activations = Format(activations, "activations", overTokens: false).Number };
        if (root.TryGetProperty("attentionOutputScale", out JsonElement scale)) recipe = recipe with { AttentionOutputScale = Scale(Text(scale, "attentionOutputScale"), "attentionOutputScale") };
        if (root.TryGetProperty("delayedSteps", out JsonElement steps))
            recipe = recipe with { DelayedSteps = steps.ValueKind == JsonValueKind.Number && steps.TryGetInt32(out int count) ? count : throw Wrong("delayedSteps", steps.GetRawText(), "a whole number of steps") };
        return root.TryGetProperty("cache", out JsonElement cache) ? Cache(cache, recipe) : recipe;
    }

    Recipe Cache(JsonElement cache, Recipe recipe)
    {
        Keys(cache, "cache", "residual", "latents", "attentionOutput", "swiGluInput", "expertInput", "expertGradient");
        foreach (JsonProperty entry in cache.EnumerateObject())
        {
            QuantizationFormat format = Format(entry.Value, "cache." + entry.Name, overTokens: false);
            recipe = entry.Name switch
            {
                "residual" => recipe with { Residual = format },
                "latents" => recipe with { Latents = format },
                "attentionOutput" => recipe with { AttentionOutput = format },
                "swiGluInput" => recipe with { SwiGluInput = format },
                "expertInput" => recipe with { ExpertInput = format },
                _ => recipe with { ExpertGradient = format },
            };
        }

        return recipe;
    }

    ProductFormat Product(JsonElement element, string path, string left, string right, ProductFormat product, bool overTokens)
    {
        Keys(element, path, left, right, "accumulation", "output");
        if (element.TryGetProperty(left, out JsonElement first)) product = product with { Left = Format(first, $"{path}.{left}", overTokens) };
        if (element.TryGetProperty(right, out JsonElement second)) product = product with { Right = Format(second, $"{path}.{right}", overTokens) };
        if (element.TryGetProperty("output", out JsonElement output)) product = product with { Output = Format(output, $"{path}.output", overTokens).Number };
        if (!element.TryGetProperty("accumulation", out JsonElement accumulation)) return product;
        string text = Text(accumulation, $"{path}.accumulation");
        return product with
        {
            Accumulation = text switch
            {
                "chain" => Accumulation.Chain,
                "promoted" => Accumulation.Promoted,
                "tensor-core" => Accumulation.TensorCore,
                "tensor-core-promoted" => Accumulation.TensorCorePromoted,
                _ => throw Wrong($"{path}.accumulation", $"'{text}'", "chain, promoted, tensor-core or tensor-core-promoted"),
            },
        };
    }

    QuantizationFormat Format(JsonElement element, string path, bool overTokens)
    {
        string text = Text(element, path);
        string[] words = text.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        NumberFormat number = (words.Length > 0 ? words[0] : "") switch
        {
            "f32" or "fp32" => NumberFormat.F32,
            "bf16" => NumberFormat.BF16,
            "e4m3" => NumberFormat.E4M3,
            "e5m6" => NumberFormat.E5M6,
            _ => throw Wrong(path, $"'{text}'", "f32, bf16, e4m3 or e5m6, then the shape that shares a scale"),
        };
        var format = new QuantizationFormat(number, Granularity.None, number == NumberFormat.E5M6 ? ScaleKind.PowerOfTwo : ScaleKind.Plain);
        foreach (string word in words[1..])
        {
            format = word switch
            {
                "power-of-two" or "plain" => format with { Scale = Scale(word, path) },
                "delayed" => format with { Origin = ScaleOrigin.Delayed },
                "current" => format with { Origin = ScaleOrigin.Current },
                _ => format with { Granularity = Shape(word, path, overTokens) },
            };
        }

        return format.Fault is { } fault ? throw new ArgumentException($"{source}: {path} is '{text}': {fault}.") : format;
    }

    Granularity Shape(string word, string path, bool overTokens)
    {
        if (word is "tensor") return Granularity.Tensor;
        string[] sides = word.Split('x');
        if (sides.Length != 2 || !int.TryParse(sides[0], out int rows) || !int.TryParse(sides[1], out int columns) || rows < 1 || columns < 1)
            throw Wrong(path, $"'{word}'", "1x128, 128x1, 128x128 or tensor");
        if ((rows, columns) == (128, 128)) return Granularity.Block;
        (int along, int across) = overTokens ? (rows, columns) : (columns, rows);
        string right = overTokens ? "128x1 (tokens by channels)" : "1x128 (tokens by channels)", contraction = overTokens ? "tokens" : "channels";
        if (along == 1 && across > 1)
            throw new ArgumentException($"{source}: {path}: a scale of {word} lies along the wrong dimension: the contraction runs over {contraction}, and a scale must cover part of it. Use {right}.");
        if (along != 128)
            throw new ArgumentException($"{source}: {path}: a scale of {word} covers {along} of the contraction; only groups of 128 are computed. Use {right}, 128x128 or tensor.");
        return across == 1 ? Granularity.Tile : throw Wrong(path, $"'{word}'", $"{right}, 128x128 or tensor");
    }

    ScaleKind Scale(string text, string path) => text switch
    {
        "plain" => ScaleKind.Plain,
        "power-of-two" => ScaleKind.PowerOfTwo,
        _ => throw Wrong(path, $"'{text}'", "plain or power-of-two"),
    };

    string Text(JsonElement element, string path) =>
        element.ValueKind == JsonValueKind.String ? element.GetString()! : throw Wrong(path, element.ValueKind.ToString(), "a string");

    void Keys(JsonElement element, string path, params ReadOnlySpan<string> known)
    {
        if (element.ValueKind != JsonValueKind.Object) throw Wrong(path.Length == 0 ? "the file" : path, element.ValueKind.ToString(), "an object");
        foreach (JsonProperty property in element.EnumerateObject())
            if (known.IndexOf(property.Name) < 0) throw Wrong(path.Length == 0 ? "a key" : $"a key of {path}", $"'{property.Name}'", string.Join(", ", known.ToArray()));
    }

    ArgumentException Wrong(string path, string given, string expected) => new($"{source}: {path} is {given}; expected {expected}.");
}
