namespace Hadal.Formats.Gguf;

/// <summary>Keys and values of a GGUF file, in the order of their addition. A key can be given once.</summary>
public sealed class GgufMetadata
{
    readonly List<Action<Stream>> _values = [];
    readonly HashSet<string> _keys = new(StringComparer.Ordinal);

    // The format's numbers of value types.
    const int Unsigned32 = 4, Signed32 = 5, Float32 = 6, Boolean = 7, Text = 8, Array = 9;

    /// <summary>Keys.</summary>
    public int Count => _keys.Count;

    /// <summary>A whole number, stored as 32 bits without sign.</summary>
    /// <exception cref="ArgumentException">The number is negative or the key was given before.</exception>
    public void Add(string key, int value)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(value);
        Add(key, Unsigned32, stream => GgufFile.WriteInteger(stream, value, 4));
    }

    /// <summary>A real number, stored as binary32.</summary>
    /// <exception cref="ArgumentException">The key was given before.</exception>
    public void Add(string key, double value) => Add(key, Float32, stream => GgufFile.WriteInteger(stream, BitConverter.SingleToUInt32Bits((float)value), 4));

    /// <summary>A truth value.</summary>
    /// <exception cref="ArgumentException">The key was given before.</exception>
    public void Add(string key, bool value) => Add(key, Boolean, stream => stream.WriteByte(value ? (byte)1 : (byte)0));

    /// <summary>A text.</summary>
    /// <exception cref="ArgumentException">The key was given before.</exception>
    public void Add(string key, string value) => Add(key, Text, stream => GgufFile.WriteText(stream, value));

    /// <summary>A list of texts.</summary>
    /// <exception cref="ArgumentException">The key was given before.</exception>
    public void Add(string key, IReadOnlyList<string> values) => Add(key, Array, stream =>
    {
        GgufFile.WriteInteger(stream, Text, 4);
        GgufFile.WriteInteger(stream, values.Count, 8);
        foreach (string value in values) GgufFile.WriteText(stream, value);
    });

    /// <summary>A list of whole numbers, stored as 32 bits with sign.</summary>
    /// <exception cref="ArgumentException">The key was given before.</exception>
    public void Add(string key, IReadOnlyList<int> values) => Add(key, Array, stream =>
    {
        GgufFile.WriteInteger(stream, Signed32, 4);
        GgufFile.WriteInteger(stream, values.Count, 8);
        foreach (int value in values) GgufFile.WriteInteger(stream, value, 4);
    });

    internal void WriteTo(Stream stream)
    {
        foreach (Action<Stream> value in _values) value(stream);
    }

    void Add(string key, int type, Action<Stream> write)
    {
        if (key.Length == 0 || !_keys.Add(key)) throw new ArgumentException($"The key '{key}' is empty or was given before.", nameof(key));
        _values.Add(stream =>
        {
            GgufFile.WriteText(stream, key);
            GgufFile.WriteInteger(stream, type, 4);
            write(stream);
        });
    }
}
