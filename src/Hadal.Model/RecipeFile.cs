using System.Text.Json;
using Hadal.Numerics;
using Hadal.Tensors.Operations;

namespace Hadal.Model;

/// <content>
/// Recipes in files: a JSON object with <c>name</c>, <c>summary</c>, optionally <c>base</c> (a recipe by name, whose values hold where the file says nothing; else fp32),
/// the products <c>forward {input, weight, accumulation, output}</c>, <c>inputGradient {gradient, weight, …}</c>, <c>weightGradient {gradient, input, …}</c>,
/// <c>activations</c>, <c>attentionOutputScale</c> and <c>cache {residual, latents, attentionOutput, swiGluInput, expertInput, expertGradient}</c>. A format is written
/// <c>f32</c>, <c>bf16</c>, <c>e4m3 1x128</c>, <c>e4m3 128x128</c>, <c>e4m3 tensor</c>, <c>e5m6 1x128</c>, with <c>power-of-two</c> after it where wanted; in weight
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
            throw new ArgumentException($"{source} is not JSON: {exception.Message}", nameof(json), exception);
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

/// <summary>Reads the parts of a recipe; every key must be one it knows.</summary>
sealed class RecipeReader(string source)
{
    public Recipe Read(JsonElement root)
    {
        Keys(root, "", "name", "summary", "base", "forward", "inputGradient", "weightGradient", "activations", "attentionOutputScale", "cache");
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
            format = word is "power-of-two" or "plain" ? format with { Scale = Scale(word, path) } : format with { Granularity = Shape(word, path, overTokens) };
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
            throw new ArgumentException($"{source}: {path}: groups of {along} do not divide the 128 of the contraction that is summed between two promotions into whole groups of 128. Use {right}, 128x128 or tensor.");
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
