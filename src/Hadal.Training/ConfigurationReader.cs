using System.Globalization;
using System.Text.Json;

namespace Hadal.Training;

/// <summary>Reads one object of a run.json: every value with its limits, and afterwards the keys that nobody asked for.</summary>
sealed class ConfigurationReader(JsonElement element, string prefix, ICollection<string> warnings)
{
    readonly HashSet<string> _known = new(StringComparer.Ordinal);

    internal T Section<T>(string key, T absent, Func<ConfigurationReader, T> read)
    {
        if (!TryGet(key, JsonValueKind.Object, "an object", out JsonElement value)) return absent;
        var section = new ConfigurationReader(value, prefix + key + ".", warnings);
        T result = read(section);
        section.WarnAboutTheRest();
        return result;
    }

    internal string? Text(string key, string? absent) => TryGet(key, JsonValueKind.String, "a text", out JsonElement value) ? value.GetString() : absent;

    internal IReadOnlyList<string> Texts(string key, IReadOnlyList<string> absent)
    {
        if (!TryGet(key, JsonValueKind.Array, "a list of texts", out JsonElement value)) return absent;
        var result = new List<string>();
        foreach (JsonElement item in value.EnumerateArray())
        {
            if (item.ValueKind != JsonValueKind.String) Throw.Configuration(prefix + key, value.GetRawText(), "a list of texts");
            result.Add(item.GetString()!);
        }

        return result;
    }

    internal bool Flag(string key, bool absent)
    {
        _known.Add(key);
        if (!element.TryGetProperty(key, out JsonElement value) || value.ValueKind == JsonValueKind.Null) return absent;
        if (value.ValueKind is not (JsonValueKind.True or JsonValueKind.False)) Throw.Configuration(prefix + key, value.GetRawText(), "true or false");
        return value.GetBoolean();
    }

    internal double Number(string key, double absent, double lowest, double highest) => OptionalNumber(key, lowest, highest) ?? absent;

    internal double? OptionalNumber(string key, double lowest, double highest)
    {
        if (!TryGet(key, JsonValueKind.Number, Range(lowest, highest), out JsonElement value)) return null;
        double number = value.GetDouble();
        if (!(number >= lowest && number <= highest)) Throw.Configuration(prefix + key, value.GetRawText(), Range(lowest, highest));
        return number;
    }

    internal long Integer(string key, long absent, long lowest, long highest) => OptionalInteger(key, lowest, highest) ?? absent;

    internal long? OptionalInteger(string key, long lowest, long highest)
    {
        string expected = string.Create(CultureInfo.InvariantCulture, $"an integer from {lowest} to {highest}");
        if (!TryGet(key, JsonValueKind.Number, expected, out JsonElement value)) return null;
        if (!value.TryGetInt64(out long number) || number < lowest || number > highest) Throw.Configuration(prefix + key, value.GetRawText(), expected);
        return number;
    }

    internal T Choice<T>(string key, T absent, params ReadOnlySpan<(string Name, T Value)> choices)
    {
        string names = "";
        foreach ((string name, _) in choices) names += (names.Length > 0 ? ", " : "one of ") + name;
        if (!TryGet(key, JsonValueKind.String, names, out JsonElement value)) return absent;
        foreach ((string name, T choice) in choices)
            if (value.ValueEquals(name)) return choice;
        Throw.Configuration(prefix + key, value.GetRawText(), names);
        return absent;
    }

    internal void WarnAboutTheRest()
    {
        foreach (JsonProperty property in element.EnumerateObject())
        {
            if (_known.Contains(property.Name)) continue;
            warnings.Add($"'{prefix}{property.Name}' is not known and has no effect; known here: {string.Join(", ", _known.Order(StringComparer.Ordinal))}.");
        }
    }

    bool TryGet(string key, JsonValueKind kind, string expected, out JsonElement value)
    {
        _known.Add(key);
        if (!element.TryGetProperty(key, out value) || value.ValueKind == JsonValueKind.Null) return false;
        if (value.ValueKind != kind) Throw.Configuration(prefix + key, value.GetRawText(), expected);
        return true;
    }

    static string Range(double lowest, double highest) => string.Create(CultureInfo.InvariantCulture, $"a number from {lowest} to {highest}");
}
