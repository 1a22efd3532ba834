using System.CommandLine;
using System.Text.Json;
using Hadal.Cli.Framework;
using Hadal.Model;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal inspect recipe</c>: the precision of every product and cached tensor.</summary>
static class InspectRecipeVerb
{
    public static Verb Create(Context context)
    {
        var name = new Argument<string?>("NAME") { Description = "A recipe's name, or a .json file that defines one; left out, all are listed.", Arity = ArgumentArity.ZeroOrOne };
        Option<bool> json = Options.Json();
        var verb = new Verb("recipe", "Shows what a recipe says: format, scales and accumulation of every product, and what is cached in which format.",
            "hadal inspect recipe", "hadal inspect recipe fp8", "hadal inspect recipe fp8 --json > mine.json")
        {
            name, json,
        };
        verb.SetAction(line =>
        {
            if (line.GetValue(name) is not string chosen)
            {
                if (line.GetValue(json)) context.Terminal.WriteJson(WriteAll);
                else
                    foreach (Recipe each in Recipe.All) context.Terminal.Output.WriteLine($"{each.Name,-24} {each.Summary}");
                return ExitCode.Fine;
            }

            Recipe recipe = Find(chosen);
            context.Terminal.Output.WriteLine(line.GetValue(json) ? recipe.ToJson() : Text(recipe));
            return ExitCode.Fine;
        });
        return verb;
    }

    static Recipe Find(string name)
    {
        try
        {
            return Recipe.Find(name);
        }
        catch (Exception exception) when (exception is ArgumentException or IOException or UnauthorizedAccessException)
        {
            throw CommandError.Failed(exception.Message, "the name of a recipe or a .json file that defines one", "hadal inspect recipe lists them");
        }
    }

    static void WriteAll(Utf8JsonWriter json)
    {
        json.WriteStartArray("recipes");
        foreach (Recipe recipe in Recipe.All)
        {
            using JsonDocument document = JsonDocument.Parse(recipe.ToJson());
            document.RootElement.WriteTo(json);
        }

        json.WriteEndArray();
    }

    /// <summary>The file's own words, indented instead of bracketed.</summary>
    static string Text(Recipe recipe)
    {
        using JsonDocument document = JsonDocument.Parse(recipe.ToJson());
        var lines = new List<string>();
        foreach (JsonProperty property in document.RootElement.EnumerateObject())
        {
            if (property.Value.ValueKind != JsonValueKind.Object)
            {
                lines.Add($"{property.Name,-24} {property.Value}");
                continue;
            }

            lines.Add(property.Name);
            lines.AddRange(property.Value.EnumerateObject().Select(p => $"  {p.Name,-22} {p.Value}"));
        }

        return string.Join('\n', lines);
    }
}
