using System.CommandLine;
using System.Globalization;
using Hadal.Cli.Framework;
using Hadal.Formats;
using Hadal.Model;
using Hadal.Training;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal inspect memory</c>: what each recipe keeps per token and layer from forward to backward.</summary>
static class InspectMemoryVerb
{
    const int PresetVocabulary = 4096; // records do not depend on it

    public static Verb Create(Context context)
    {
        Option<string?> model = Options.Text("--model", "DIR", "Folder with a config.json; only its shape is read.");
        Option<string?> preset = Options.Text("--preset", "NAME", $"A shape by name: {string.Join(", ", Shapes().Select(s => s.Name))}. Without --model and --preset, all of them.");
        Option<int> tokens = Options.Integer("--tokens", "Tokens of a micro-batch; routed rows are counted at their worst case.", 4096, 1, 1 << 24);
        Option<bool> entries = Options.Switch("--entries", "Every tensor of the records, with its format.");
        Option<bool> json = Options.Json();
        var verb = new Verb("memory", "Bytes that training keeps per token and layer under each recipe, counted on the records that a step allocates.",
            "hadal inspect memory", "hadal inspect memory --preset v3-671b --entries", "hadal inspect memory --model models/nano --json")
        {
            model, preset, tokens, entries, json,
        };
        verb.SetAction(line =>
        {
            (string Name, TransformerShape Shape)[] shapes = Chosen(line.GetValue(model), line.GetValue(preset));
            int count = line.GetValue(tokens);
            if (line.GetValue(json)) context.Terminal.WriteJson(writer => WriteJson(writer, shapes, count));
            else
                foreach (string row in Text(shapes, count, line.GetValue(entries))) context.Terminal.Output.WriteLine(row);
            return ExitCode.Fine;
        });
        return verb;
    }

    static IEnumerable<(string Name, TransformerShape Shape)> Shapes() =>
        [.. ModelPresets.Names.Select(name => (name, ModelLoader.Shape(ModelPresets.Find(name, PresetVocabulary)))), .. KnownShapes.All];

    static (string Name, TransformerShape Shape)[] Chosen(string? folder, string? preset)
    {
        if (folder is not null)
        {
            ModelFolder.Require(folder);
            return [(Path.GetFileName(Path.TrimEndingDirectorySeparator(folder)), ModelLoader.Shape(ModelConfiguration.Load(folder, [])))];
        }

        (string Name, TransformerShape Shape)[] shapes = [.. Shapes().Where(s => preset is null || string.Equals(s.Name, preset, StringComparison.Ordinal))];
        return shapes.Length > 0 ? shapes : throw CommandError.Failed($"There is no shape '{preset}'.", string.Join(", ", Shapes().Select(s => s.Name)), "choose one of them, or give --model");
    }

    static IEnumerable<string> Text((string Name, TransformerShape Shape)[] shapes, int tokens, bool entries)
    {
        yield return $"{"shape",-14} {"recipe",-20} {"dense",10} {"sparse",10}   bytes per token and layer; {"all layers",14} bytes per token";
        foreach ((string name, TransformerShape shape) in shapes)
        {
            foreach (Recipe recipe in Distinct())
            {
                RecordMemory memory = RecordMemory.Of(shape, recipe, tokens);
                yield return string.Create(CultureInfo.InvariantCulture,
                    $"{name,-14} {recipe.Name,-20} {memory.DenseBytesPerToken,10:N0} {memory.SparseBytesPerToken,10:N0} {"",28}{memory.BytesPerToken(shape),14:N0}");
                if (!entries) continue;
                foreach ((string kind, IReadOnlyList<RecordMemoryEntry> list) in new[] { ("dense", memory.Dense), ("sparse", memory.Sparse) })
                    foreach (RecordMemoryEntry entry in list)
                        yield return string.Create(CultureInfo.InvariantCulture, $"  {kind,-7}{entry.Name,-36}{entry.Format,-24}{(double)entry.Bytes / tokens,12:N1}");
            }
        }
    }

    /// <summary>Recipes that keep the same tensors in the same formats are one row.</summary>
    static IEnumerable<Recipe> Distinct() => [Recipe.Fp32, Recipe.Bf16, Recipe.Fp8];

    static void WriteJson(System.Text.Json.Utf8JsonWriter json, (string Name, TransformerShape Shape)[] shapes, int tokens)
    {
        json.WriteNumber("tokens", tokens);
        json.WriteStartArray("shapes");
        foreach ((string name, TransformerShape shape) in shapes)
        {
            foreach (Recipe recipe in Distinct())
            {
                RecordMemory memory = RecordMemory.Of(shape, recipe, tokens);
                json.WriteStartObject();
                json.WriteString("shape", name);
                json.WriteString("recipe", recipe.Name);
                json.WriteNumber("dense_bytes_per_token", memory.DenseBytesPerToken);
                json.WriteNumber("sparse_bytes_per_token", memory.SparseBytesPerToken);
                json.WriteNumber("bytes_per_token", memory.BytesPerToken(shape));
                foreach ((string kind, IReadOnlyList<RecordMemoryEntry> list) in new[] { ("dense", memory.Dense), ("sparse", memory.Sparse) })
                {
                    json.WriteStartArray(kind);
                    foreach (RecordMemoryEntry entry in list)
                    {
                        json.WriteStartObject();
                        json.WriteString("name", entry.Name);
                        json.WriteString("format", entry.Format);
                        json.WriteNumber("bytes", entry.Bytes);
                        json.WriteEndObject();
                    }

                    json.WriteEndArray();
                }

                json.WriteEndObject();
            }
        }

        json.WriteEndArray();
    }
}
