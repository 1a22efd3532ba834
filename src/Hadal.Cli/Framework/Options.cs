using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;

namespace Hadal.Cli.Framework;

/// <summary>Options in the one style: numbers have ranges, choices are listed, and a refusal says what was expected.</summary>
static class Options
{
    /// <summary>A whole number in a range.</summary>
    public static Option<int> Integer(string name, string description, int usual, int least, int most = int.MaxValue) => new(name)
    {
        Description = description,
        HelpName = "N",
        DefaultValueFactory = _ => usual,
        CustomParser = result => Parse(result, name, $"a whole number from {least} to {most}",
            text => int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int value) && value >= least && value <= most ? value : null, usual),
    };

    /// <summary>A whole number that may be left out.</summary>
    public static Option<int?> OptionalInteger(string name, string description, int least, int most = int.MaxValue) => new(name)
    {
        Description = description,
        HelpName = "N",
        CustomParser = result => Parse<int>(result, name, $"a whole number from {least} to {most}",
            text => int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int value) && value >= least && value <= most ? value : null, 0),
    };

    /// <summary>A seed: any whole number from 0 to 2⁶⁴−1.</summary>
    public static Option<ulong> Seed(ulong usual = 0) => new("--seed")
    {
        Description = "Seed of every random choice; the same seed gives the same result.",
        HelpName = "N",
        DefaultValueFactory = _ => usual,
        CustomParser = result => Parse(result, "--seed", "a whole number from 0 to 2^64-1",
            text => ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out ulong value) ? value : null, usual),
    };

    /// <summary>A number in a range, with a decimal point whatever the locale says.</summary>
    public static Option<double> Real(string name, string description, double usual, double least, double most) => new(name)
    {
        Description = description,
        HelpName = "X",
        DefaultValueFactory = _ => usual,
        CustomParser = result => Parse(result, name, string.Create(CultureInfo.InvariantCulture, $"a number from {least} to {most}"),
            text => double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double value) && value >= least && value <= most ? value : null, usual),
    };

    /// <summary>A number of bytes: <c>5GB</c>, <c>200MiB</c>, <c>4096</c>.</summary>
    public static Option<long> Bytes(string name, string description, long usual, long least) => new(name)
    {
        Description = description,
        HelpName = "SIZE",
        DefaultValueFactory = _ => usual,
        CustomParser = result => Parse(result, name, $"at least {least} bytes, such as 5GB, 200MiB or 4096", text => ParseBytes(text) is { } value && value >= least ? value : null, usual),
    };

    /// <summary>A time that may be left out: <c>800ms</c>, <c>2s</c>, <c>1.5min</c>.</summary>
    public static Option<TimeSpan?> Duration(string name, string description) => new(name)
    {
        Description = description,
        HelpName = "TIME",
        CustomParser = result => Parse<TimeSpan>(result, name, "a time from 1ms to 1h, such as 800ms, 2s or 1.5min",
            text => ParseDuration(text) is { } value && value >= TimeSpan.FromMilliseconds(1) && value <= TimeSpan.FromHours(1) ? value : null, TimeSpan.FromSeconds(1)),
    };

    /// <summary>One of a few words; the first is the default.</summary>
    public static Option<string> Choice(string name, string description, params string[] words) => new(name)
    {
        Description = description,
        HelpName = string.Join('|', words),
        DefaultValueFactory = _ => words[0],
        CustomParser = result =>
        {
            string text = result.Tokens[0].Value;
            if (words.Contains(text, StringComparer.Ordinal)) return text;
            result.AddError(OptionError.Message($"{name} was given \"{text}\".", $"one of {string.Join(", ", words)}"));
            return words[0];
        },
    };

    /// <summary>One of a few words, or none.</summary>
    public static Option<string?> OptionalChoice(string name, string description, params string[] words) => new(name)
    {
        Description = description,
        HelpName = string.Join('|', words),
        CustomParser = result =>
        {
            string text = result.Tokens[0].Value;
            if (words.Contains(text, StringComparer.Ordinal)) return text;
            result.AddError(OptionError.Message($"{name} was given \"{text}\".", $"one of {string.Join(", ", words)}"));
            return null;
        },
    };

    /// <summary>A switch.</summary>
    public static Option<bool> Switch(string name, string description) => new(name) { Description = description };

    /// <summary>A word, a path, a text.</summary>
    public static Option<string?> Text(string name, string helpName, string description, bool required = false) => new(name)
    {
        Description = description,
        HelpName = helpName,
        Required = required,
    };

    /// <summary>The folder of a checkpoint.</summary>
    public static Option<string> Model(string? usual = null)
    {
        var option = new Option<string>("--model")
        {
            Description = "Folder with config.json, safetensors and, for text, tokenizer.json.",
            HelpName = "DIR",
            Required = usual is null,
        };
        if (usual is not null) option.DefaultValueFactory = _ => usual;
        return option;
    }

    /// <summary>Which set of operations runs.</summary>
    public static Option<string> Backend() => Choice("--backend", "The set of operations that runs; there is no silent fallback.", Backends.Names);

    /// <summary>Precision: the name of a recipe, or a file that defines one.</summary>
    public static Option<Hadal.Model.Recipe> Recipe() => new("--recipe")
    {
        Description = $"Precision of products and cached tensors: {string.Join(", ", Hadal.Model.Recipe.All.Select(r => r.Name))}, or a .json file that defines one.",
        HelpName = "NAME",
        DefaultValueFactory = _ => Hadal.Model.Recipe.Fp32,
        CustomParser = result =>
        {
            string text = result.Tokens[0].Value, expected = $"{string.Join(", ", Hadal.Model.Recipe.All.Select(r => r.Name))}, or a .json file that defines one";
            if (!text.EndsWith(".json", StringComparison.OrdinalIgnoreCase) && Hadal.Model.Recipe.All.All(r => !string.Equals(r.Name, text, StringComparison.Ordinal)))
            {
                result.AddError(OptionError.Message($"--recipe was given \"{text}\".", expected));
                return Hadal.Model.Recipe.Fp32;
            }

            try
            {
                return Hadal.Model.Recipe.Find(text);
            }
            catch (Exception exception) when (exception is ArgumentException or IOException or UnauthorizedAccessException)
            {
                result.AddError(OptionError.Message($"--recipe was given \"{text}\": {ErrorReport.Text(exception)}", expected));
                return Hadal.Model.Recipe.Fp32;
            }
        },
    };

    /// <summary>Machine-readable output.</summary>
    public static Option<bool> Json() => Switch("--json", "Print one JSON object on standard output instead of text.");

    static T Parse<T>(ArgumentResult result, string name, string expected, Func<string, T?> parse, T otherwise)
        where T : struct
    {
        string text = result.Tokens.Count > 0 ? result.Tokens[0].Value : "";
        if (parse(text) is { } value) return value;
        result.AddError(OptionError.Message($"{name} was given \"{text}\".", expected));
        return otherwise;
    }

    static long? ParseBytes(string text)
    {
        (string Unit, long Size)[] units =
        [
            ("KiB", 1L << 10), ("MiB", 1L << 20), ("GiB", 1L << 30), ("TiB", 1L << 40), ("KB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("TB", 1_000_000_000_000), ("B", 1), ("", 1),
        ];
        (string unit, long size) = Array.Find(units, entry => text.EndsWith(entry.Unit, StringComparison.OrdinalIgnoreCase));
        return double.TryParse(text.AsSpan(0, text.Length - unit.Length), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double number) && number * size < 9e18 ? (long)(number * size) : null;
    }

    static TimeSpan? ParseDuration(string text)
    {
        (string Unit, double Seconds)[] units = [("ms", 0.001), ("min", 60), ("h", 3600), ("s", 1)];
        (string? unit, double seconds) = Array.Find(units, entry => text.EndsWith(entry.Unit, StringComparison.Ordinal));
        return unit is not null && double.TryParse(text.AsSpan(0, text.Length - unit.Length), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double number) && number * seconds < 1e6
            ? TimeSpan.FromSeconds(number * seconds) : null;
    }
}
