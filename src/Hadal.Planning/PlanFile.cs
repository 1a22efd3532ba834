using System.Globalization;
using System.Text.Json;

namespace Hadal.Planning;

/// <summary>One object of a file that a plan reads. Every value has bounds; a key that nobody knows is an error, for a misspelt one would silently mean its default.</summary>
sealed class PlanFile
{
    const long LargestFile = 1 << 20;
    readonly JsonElement _element;
    readonly string _source, _prefix;
    readonly HashSet<string> _known = new(StringComparer.Ordinal);

    PlanFile(JsonElement element, string source, string prefix)
    {
        (_element, _source, _prefix) = (element, source, prefix);
    }

    /// <summary>Reads a file with one object.</summary>
    public static T Read<T>(string path, Func<PlanFile, T> read)
    {
        string text;
        try
        {
            long length = new FileInfo(path).Length;
            if (length > LargestFile) throw new PlanException($"{path} has {length} bytes; a file of a plan has at most {LargestFile}.");
            text = File.ReadAllText(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new PlanException($"{path} cannot be read: {exception.Message}", exception);
        }

        return Parse(text, path, read);
    }

    /// <summary>Reads a text with one object; <paramref name="source"/> is named in messages.</summary>
    public static T Parse<T>(string text, string source, Func<PlanFile, T> read)
    {
        JsonDocument document;
        try
        {
            document = JsonDocument.Parse(text, new JsonDocumentOptions { MaxDepth = 8, CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true });
        }
        catch (JsonException exception)
        {
            throw new PlanException($"{source} is not JSON: {exception.Message}", exception);
        }

        using (document)
        {
            if (document.RootElement.ValueKind != JsonValueKind.Object) throw new PlanException($"{source} holds no object; expected {{ … }}.");
            var file = new PlanFile(document.RootElement, source, "");
            T result = read(file);
            file.RefuseTheRest();
            return result;
        }
    }

    /// <summary>An object inside; null when it is not there.</summary>
    public T? Section<T>(string key, Func<PlanFile, T> read)
        where T : class
    {
        if (!TryGet(key, JsonValueKind.Object, "an object", out JsonElement value)) return null;
        var section = new PlanFile(value, _source, _prefix + key + ".");
        T result = read(section);
        section.RefuseTheRest();
        return result;
    }

    public string? Text(string key) => TryGet(key, JsonValueKind.String, "a text", out JsonElement value) ? value.GetString() : null;

    public double Number(string key, double lowest, double highest, double? absent = null)
    {
        string expected = string.Create(CultureInfo.InvariantCulture, $"a number from {lowest:G6} to {highest:G6}");
        if (!TryGet(key, JsonValueKind.Number, expected, out JsonElement value)) return absent ?? throw Missing(key, expected);
        double number = value.GetDouble();
        return number >= lowest && number <= highest ? number : throw Wrong(key, value.GetRawText(), expected);
    }

    public long Integer(string key, long lowest, long highest, long? absent = null)
    {
        string expected = string.Create(CultureInfo.InvariantCulture, $"a whole number from {lowest} to {highest}");
        if (!TryGet(key, JsonValueKind.Number, expected, out JsonElement value)) return absent ?? throw Missing(key, expected);
        return value.TryGetInt64(out long number) && number >= lowest && number <= highest ? number : throw Wrong(key, value.GetRawText(), expected);
    }

    public PlanException Wrong(string key, string given, string expected) =>
        new($"{_source}: '{_prefix}{key}' is {(given.Length > 80 ? given[..80] + "…" : given)}; expected {expected}.");

    PlanException Missing(string key, string expected) => new($"{_source}: '{_prefix}{key}' is missing; expected {expected}.");

    void RefuseTheRest()
    {
        foreach (JsonProperty property in _element.EnumerateObject())
        {
            if (!_known.Contains(property.Name))
                throw new PlanException($"{_source}: '{_prefix}{property.Name}' is not known here; known are {string.Join(", ", _known.Order(StringComparer.Ordinal))}.");
        }
    }

    bool TryGet(string key, JsonValueKind kind, string expected, out JsonElement value)
    {
        _known.Add(key);
        if (!_element.TryGetProperty(key, out value) || value.ValueKind == JsonValueKind.Null) return false;
        return value.ValueKind == kind ? true : throw Wrong(key, value.GetRawText(), expected);
    }
}
