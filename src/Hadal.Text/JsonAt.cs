using System.Text.Json;

namespace Hadal.Text;

/// <summary>A JSON element together with its path, so that every complaint says where.</summary>
readonly struct JsonAt(JsonElement element, string path)
{
    const string Remedy = "Take the file from its publisher again, or repair this place.";

    public JsonElement Element => element;

    public string Path => path;

    public bool IsNull => element.ValueKind is JsonValueKind.Null or JsonValueKind.Undefined;

    public bool IsObject => element.ValueKind == JsonValueKind.Object;

    public bool IsArray => element.ValueKind == JsonValueKind.Array;

    /// <summary>A member, or null JSON when it is absent.</summary>
    public JsonAt this[string name]
    {
        get
        {
            string where = path.Length == 0 ? name : $"{path}.{name}";
            if (!IsObject) throw Wrong("an object");
            try
            {
                return element.TryGetProperty(name, out JsonElement member) ? new(member, where) : new(default, where);
            }
            catch (InvalidOperationException e)
            {
                throw new TokenizerFormatException($"{(path.Length == 0 ? "(root)" : path)}: a key with half a surrogate pair. {Remedy}", e);
            }
        }
    }

    public JsonAt Object() => IsObject ? this : throw Wrong("an object");

    public IEnumerable<JsonAt> Items()
    {
        if (!IsArray) throw Wrong("an array");
        return Enumerate(element, path);

        static IEnumerable<JsonAt> Enumerate(JsonElement array, string path)
        {
            int index = 0;
            foreach (JsonElement item in array.EnumerateArray()) yield return new(item, $"{path}[{index++}]");
        }
    }

    public string Text()
    {
        if (element.ValueKind != JsonValueKind.String) throw Wrong("a string");
        try
        {
            return element.GetString()!;
        }
        catch (InvalidOperationException e)
        {
            throw new TokenizerFormatException($"{path}: a string with half a surrogate pair. {Remedy}", e);
        }
    }

    public string TextOr(string absent) => IsNull ? absent : Text();

    public bool FlagOr(bool absent) => element.ValueKind switch
    {
        JsonValueKind.Null or JsonValueKind.Undefined => absent,
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => throw Wrong("true or false"),
    };

    /// <summary>A token id.</summary>
    public int Id()
    {
        if (element.ValueKind != JsonValueKind.Number || !element.TryGetInt32(out int id) || id < 0 || id >= TokenizerDefinition.LargestVocabulary)
            throw Wrong($"a token id, a whole number from 0 to {TokenizerDefinition.LargestVocabulary - 1},");
        return id;
    }

    /// <summary>The complaint that something else was expected here.</summary>
    public TokenizerFormatException Wrong(string expected) =>
        new(path.Length == 0 ? "(root)" : path, $"{expected} was expected, but the file has {Describe()}.", Remedy);

    /// <summary>A complaint about what is here.</summary>
    public TokenizerFormatException Refuse(string what, string remedy = Remedy) => new(path.Length == 0 ? "(root)" : path, what, remedy);

    string Describe()
    {
        if (element.ValueKind == JsonValueKind.Undefined) return "nothing";
        string raw = element.GetRawText();
        return raw.Length <= 60 ? raw : string.Concat(raw.AsSpan(0, 60), "…");
    }
}
