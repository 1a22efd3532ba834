using System.Globalization;
using System.Text.Json;

namespace Hadal.Formats;

/// <summary>
/// An object of a configuration file, read key by key: absent and null values take the default given, a wrong type is refused with key, value and expectation, and what
/// nobody asked for is left over for a warning.
/// </summary>
sealed class JsonSection(JsonElement element, string file, string prefix)
{
    readonly HashSet<string> _asked = new(StringComparer.Ordinal);

    internal string File => file;

    /// <summary>The key with the path of this section before it.</summary>
    internal string PathOf(string key) => prefix + key;

    /// <summary>True if the key is there; null counts.</summary>
    internal bool Has(string key)
    {
        _asked.Add(key);
        return element.TryGetProperty(key, out _);
    }

    /// <summary>The value, or null when the key is absent or null.</summary>
    internal JsonElement? Value(string key)
    {
        _asked.Add(key);
        return element.TryGetProperty(key, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;
    }

    internal int? Integer(string key)
    {
        if (Value(key) is not { } value) return null;
        return AsInteger(value) ?? throw Wrong(key, Show(value), IsWholeNumber(value) ? "a whole number below 2^31" : "a whole number");
    }

    internal int Integer(string key, int otherwise) => Integer(key) ?? otherwise;

    internal int Required(string key, string meaning) =>
        Integer(key) ?? throw Wrong(key, Has(key) ? "null" : "missing", $"a whole number ({meaning})");

    internal double? Number(string key)
    {
        if (Value(key) is not { } value) return null;
        if (value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double number) && double.IsFinite(number)) return number;
        throw Wrong(key, Show(value), "a finite number");
    }

    internal double Number(string key, double otherwise) => Number(key) ?? otherwise;

    internal bool Flag(string key, bool otherwise)
    {
        if (Value(key) is not { } value) return otherwise;
        return value.ValueKind switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => throw Wrong(key, Show(value), "true or false"),
        };
    }

    internal string? String(string key)
    {
        if (Value(key) is not { } value) return null;
        return value.ValueKind == JsonValueKind.String ? value.GetString() : throw Wrong(key, Show(value), "a string");
    }

    internal int[] Integers(string key)
    {
        if (Value(key) is not { } value) return [];
        if (value.ValueKind != JsonValueKind.Array) return [AsInteger(value) ?? throw Wrong(key, Show(value), "a whole number or a list of whole numbers")];
        return [.. value.EnumerateArray().Select(v => AsInteger(v) ?? throw Wrong(key, Show(value), "a whole number or a list of whole numbers"))];
    }

    internal JsonSection? Section(string key)
    {
        if (Value(key) is not { } value) return null;
        return value.ValueKind == JsonValueKind.Object ? new JsonSection(value, file, PathOf(key) + ".") : throw Wrong(key, Show(value), "an object or null");
    }

    /// <summary>Marks keys as known without reading them.</summary>
    internal void Ignore(params ReadOnlySpan<string> keys)
    {
        foreach (string key in keys) _asked.Add(key);
    }

    /// <summary>Adds a warning for each key that was neither read nor ignored.</summary>
    internal void WarnAboutRest(ICollection<string>? warnings)
    {
        if (warnings is null) return;
        foreach (JsonProperty property in element.EnumerateObject())
            if (!_asked.Contains(property.Name))
                warnings.Add($"{file}: '{Text.Shorten(PathOf(property.Name))}' is not known and was ignored; if it changes the model, results will differ.");
    }

    internal ConfigurationException Wrong(string key, string given, string expected) => new(file, PathOf(key), given, expected);

    internal static string Show(JsonElement value) => value.GetRawText();

    static bool IsWholeNumber(JsonElement value) =>
        value.ValueKind == JsonValueKind.Number && double.TryParse(value.GetRawText(), NumberStyles.Float, CultureInfo.InvariantCulture, out double wide) && wide == Math.Floor(wide);

    static int? AsInteger(JsonElement value)
    {
        if (value.ValueKind != JsonValueKind.Number) return null;
        if (value.TryGetInt32(out int number)) return number;
        // 64.0 and 1e3 are whole numbers too.
        return double.TryParse(value.GetRawText(), NumberStyles.Float, CultureInfo.InvariantCulture, out double wide) && wide == Math.Floor(wide) && Math.Abs(wide) <= int.MaxValue ? (int)wide : null;
    }
}
