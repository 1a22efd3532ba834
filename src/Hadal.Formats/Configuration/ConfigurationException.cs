namespace Hadal.Formats;

/// <summary>A configuration file says something impossible or unsupported. The message names file, key, the value given, and what was expected.</summary>
public sealed class ConfigurationException : Exception
{
    /// <summary>Composes the message from its parts.</summary>
    /// <param name="file">The file.</param>
    /// <param name="key">The key, with its path; empty when the whole file is meant.</param>
    /// <param name="given">The value given, or a description of what was found.</param>
    /// <param name="expected">What was expected, or what to do.</param>
    /// <param name="inner">The cause, if another exception told.</param>
    public ConfigurationException(string file, string key, string given, string expected, Exception? inner = null)
        : base(key.Length == 0 ? $"{file}: {Text.Shorten(given)}. {expected}" : $"{file}: '{Text.Shorten(key)}' is {Text.Shorten(given)}; expected {expected}.", inner)
    {
        File = file;
        Key = key;
    }

    /// <summary>The file.</summary>
    public string File { get; }

    /// <summary>The key, with its path; empty when the whole file is meant.</summary>
    public string Key { get; }
}
