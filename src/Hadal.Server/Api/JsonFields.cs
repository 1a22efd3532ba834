using System.Globalization;
using System.Text.Json;
using Microsoft.AspNetCore.Http;

namespace Hadal.Server.Api;

/// <summary>One object of a request's body, field by field. A refusal names the field, what was given and what is expected; null counts as absent.</summary>
readonly struct JsonFields
{
    const int DeepestBody = 64;
    const int LongestQuote = 60;
    readonly JsonElement _object;
    readonly string _path;

    JsonFields(JsonElement element, string path)
    {
        _object = element;
        _path = path;
    }

    /// <summary>Reads a body and takes what is needed from it.</summary>
    /// <exception cref="ApiException">400: it is no JSON object; 422: a field is wrong.</exception>
    public static async Task<T> ReadAsync<T>(HttpContext context, Func<JsonFields, T> take)
    {
        JsonDocument document;
        try
        {
            document = await JsonDocument.ParseAsync(context.Request.Body, new JsonDocumentOptions { MaxDepth = DeepestBody }, context.RequestAborted);
        }
        catch (JsonException exception)
        {
            throw new ApiException(ApiError.BadRequest(string.Create(CultureInfo.InvariantCulture,
                $"The body is no JSON: line {exception.LineNumber + 1}, byte {exception.BytePositionInLine + 1}. Expected one JSON object of at most {DeepestBody} levels, in UTF-8.")));
        }

        using (document)
        {
            if (document.RootElement.ValueKind != JsonValueKind.Object)
                throw new ApiException(ApiError.BadRequest($"The body is {Quote(document.RootElement)}; expected a JSON object."));
            try
            {
                return take(new JsonFields(document.RootElement, ""));
            }
            catch (Exception late) when (late is InvalidOperationException or JsonException)
            {
                // The one thing that the document finds out only when a text is read, or written on: the serializer calls it by another name.
                throw new ApiException(ApiError.BadRequest("A text of the body has half of a surrogate pair; expected whole characters."));
            }
        }
    }

    /// <summary>The field's path, for messages.</summary>
    public string PathOf(string name) => _path.Length == 0 ? name : $"{_path}.{name}";

    /// <summary>The value of a field.</summary>
    /// <returns>False when it is absent or null.</returns>
    public bool TryGet(string name, out JsonElement value) => _object.TryGetProperty(name, out value) && value.ValueKind != JsonValueKind.Null;

    /// <summary>A text that may be absent.</summary>
    public string? Text(string name) => !TryGet(name, out JsonElement value) ? null
        : value.ValueKind == JsonValueKind.String ? value.GetString() : throw Wrong(name, value, "a text");

    /// <summary>A text that must be there.</summary>
    public string RequiredText(string name) => Text(name) ?? throw Missing(name, "a text");

    /// <summary>One of a few texts.</summary>
    public string? Choice(string name, params ReadOnlySpan<string> words)
    {
        if (!TryGet(name, out JsonElement value)) return null;
        if (value.ValueKind == JsonValueKind.String)
        {
            string text = value.GetString()!;
            foreach (string word in words)
                if (string.Equals(word, text, StringComparison.Ordinal)) return word;
        }

        throw Wrong(name, value, $"one of {string.Join(", ", words!)}");
    }

    /// <summary>A number in a range.</summary>
    public double? Number(string name, double least, double most)
    {
        if (!TryGet(name, out JsonElement value)) return null;
        if (value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double number) && number >= least && number <= most) return number;
        throw Wrong(name, value, string.Create(CultureInfo.InvariantCulture, $"a number from {least} to {most}"));
    }

    /// <summary>A whole number in a range.</summary>
    public long? Integer(string name, long least, long most)
    {
        if (!TryGet(name, out JsonElement value)) return null;
        if (value.ValueKind == JsonValueKind.Number)
        {
            if (value.TryGetInt64(out long whole) && whole >= least && whole <= most) return whole;

            // Some clients write 1.0 or 1e3 for whole numbers.
            if (!value.TryGetInt64(out _) && value.TryGetDouble(out double number) && number >= least && number <= most && Math.Floor(number) == number && Math.Abs(number) < 1L << 53) return (long)number;
        }

        throw Wrong(name, value, string.Create(CultureInfo.InvariantCulture, $"a whole number from {least} to {most}"));
    }

    /// <summary>True, false, or false when absent.</summary>
    public bool Flag(string name) => TryGet(name, out JsonElement value) && value.ValueKind switch
    {
        JsonValueKind.True => true,
        JsonValueKind.False => false,
        _ => throw Wrong(name, value, "true or false"),
    };

    /// <summary>An object that may be absent.</summary>
    public JsonFields? Object(string name) => !TryGet(name, out JsonElement value) ? null
        : value.ValueKind == JsonValueKind.Object ? new JsonFields(value, PathOf(name)) : throw Wrong(name, value, "an object");

    /// <summary>The objects of an array; none when it is absent.</summary>
    public IEnumerable<JsonFields> Objects(string name)
    {
        if (!TryGet(name, out JsonElement value)) yield break;
        if (value.ValueKind != JsonValueKind.Array) throw Wrong(name, value, "an array of objects");
        int place = 0;
        foreach (JsonElement item in value.EnumerateArray())
        {
            string path = string.Create(CultureInfo.InvariantCulture, $"{PathOf(name)}[{place++}]");
            if (item.ValueKind != JsonValueKind.Object) throw new ApiException(ApiError.Invalid(path, $"{path} is {Quote(item)}; expected an object."));
            yield return new JsonFields(item, path);
        }
    }

    /// <summary>A field that is refused.</summary>
    public ApiException Wrong(string name, JsonElement value, string expected) => Refused(name, $"{PathOf(name)} is {Quote(value)}; expected {expected}.");

    /// <summary>A field that is refused, in other words.</summary>
    public ApiException Refused(string name, string message) => new(ApiError.Invalid(PathOf(name), message));

    /// <summary>A field that is not there.</summary>
    public ApiException Missing(string name, string expected) => new(ApiError.Invalid(PathOf(name), $"{PathOf(name)} is missing; expected {expected}."));

    /// <summary>A value as a message shows it.</summary>
    static string Quote(JsonElement value)
    {
        string text = value.GetRawText();
        if (text.Length <= LongestQuote) return text;
        int cut = char.IsHighSurrogate(text[LongestQuote - 1]) ? LongestQuote - 1 : LongestQuote;
        return text[..cut] + "…";
    }
}
