using System.Globalization;
using System.Runtime.InteropServices;
using Hadal.Formats;
using Hadal.Numerics;
using Hadal.Tensors;
using Hadal.Training.Ranks;

namespace Hadal.Training.State;

/// <summary>What a rank needs of one tensor of the state.</summary>
/// <param name="Name">In the file.</param>
/// <param name="Tensor">Flat, as long as in the file.</param>
/// <param name="Ranges">Elements to read.</param>
readonly record struct StatePart(string Name, Tensor Tensor, FlatRange[] Ranges);

/// <summary>
/// <c>training-state.safetensors</c>: what a run needs beyond the public model to go on with the same bits. Flat tensors <c>master</c> (F32),
/// <c>first_moment</c>, <c>second_moment</c> (BF16), <c>average</c> and <c>scaling_history</c> (F32, when there is one); in the metadata the schema version, the position and the run's identity.
/// </summary>
static class TrainingState
{
    internal const string FileName = "training-state.safetensors";
    const string Schema = "hadal-training-state-1";
    const int Chunk = 1 << 24;

    /// <summary>The first NaN or infinity of a state that is to be written; null when everything is finite.</summary>
    internal static (string Name, long Element, float Value)? FindNonFinite(IEnumerable<(string Name, Tensor Tensor)> tensors)
    {
        foreach ((string name, Tensor tensor) in tensors)
        {
            bool wide = tensor.DType == DType.F32;
            for (long at = 0; at < tensor.Length; at += Chunk)
            {
                Span<byte> bytes = Bytes(tensor, at, (int)Math.Min(Chunk, tensor.Length - at));
                int found = wide ? TileQuantizer.FirstNonFinite(MemoryMarshal.Cast<byte, float>(bytes)) : BF16.FirstNonFinite(MemoryMarshal.Cast<byte, BF16>(bytes));
                if (found >= 0) return (name, at + found, wide ? MemoryMarshal.Cast<byte, float>(bytes)[found] : MemoryMarshal.Cast<byte, BF16>(bytes)[found].ToSingle());
            }
        }

        return null;
    }

    /// <summary>Writes the file into a folder.</summary>
    internal static void Write(string folder, IEnumerable<(string Name, Tensor Tensor)> tensors, TrainingPosition position, string identity)
    {
        (string Name, Tensor Tensor)[] all = [.. tensors];
        var metadata = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["schema"] = Schema,
            ["step"] = position.Step.ToString(CultureInfo.InvariantCulture),
            ["steps"] = position.Steps.ToString(CultureInfo.InvariantCulture),
            ["next_micro_batch"] = position.NextMicroBatch.ToString(CultureInfo.InvariantCulture),
            ["tokens"] = position.Tokens.ToString(CultureInfo.InvariantCulture),
            ["average_updates"] = position.AverageUpdates.ToString(CultureInfo.InvariantCulture),
            ["seconds"] = position.Seconds.ToString("R", CultureInfo.InvariantCulture),
            ["run"] = identity,
        };
        using var writer = new SafetensorsWriter(Path.Combine(folder, FileName), all.Select(t => new TensorDeclaration(t.Name, TypeOf(t.Tensor), [t.Tensor.Length])), metadata);
        foreach ((string name, Tensor tensor) in all)
            for (long at = 0; at < tensor.Length; at += Chunk) writer.Append(name, Bytes(tensor, at, (int)Math.Min(Chunk, tensor.Length - at)));
        writer.Commit();
    }

    /// <summary>Reads the file of a folder into tensors of the same names and shapes.</summary>
    /// <exception cref="TrainingStateException">It has another version or shape, or belongs to another run.</exception>
    internal static TrainingPosition Read(string folder, IEnumerable<(string Name, Tensor Tensor)> tensors, string identity) =>
        Read(folder, tensors.Select(one => new StatePart(one.Name, one.Tensor, [new(0, checked((int)one.Tensor.Length))])), identity);

    /// <summary>Reads parts of the file into tensors of the same names and shapes, whichever layout of ranks wrote it.</summary>
    /// <inheritdoc cref="Read(string, IEnumerable{ValueTuple{string, Tensor}}, string)" path="/exception"/>
    internal static TrainingPosition Read(string folder, IEnumerable<StatePart> parts, string identity)
    {
        string path = Path.Combine(folder, FileName);
        using SafetensorsFile file = Open(path);
        string schema = file.Metadata.GetValueOrDefault("schema", "no version");
        if (!string.Equals(schema, Schema, StringComparison.Ordinal))
            Throw.State($"'{path}' is of version '{schema}'; this program reads '{Schema}'.", "Continue it with the program that wrote it, or choose another output folder.");
        string given = file.Metadata.GetValueOrDefault("run", "");
        if (!string.Equals(given, identity, StringComparison.Ordinal))
            Throw.State($"'{path}' belongs to another run: {Differences(given, identity)}.", "Continue with the configuration in its folder, or choose another output folder to begin anew.");
        foreach ((string name, Tensor tensor, FlatRange[] ranges) in parts)
        {
            TensorEntry? entry = file.Find(name);
            if (entry is null || entry.Type != TypeOf(tensor) || entry.ElementCount != tensor.Length)
                Throw.State($"'{path}' holds {(entry is null ? $"no tensor '{name}'" : entry)}; this model needs {name} {tensor}.", "It belongs to a model of another shape: choose another output folder.");
            foreach (FlatRange range in ranges)
                for (long at = range.Start; at < range.End; at += Chunk) file.Read(entry, at * tensor.DType.Size(), Bytes(tensor, at, (int)Math.Min(Chunk, range.End - at)));
        }

        return new TrainingPosition
        {
            Step = Number(file, path, "step"), Steps = Number(file, path, "steps"), NextMicroBatch = Number(file, path, "next_micro_batch"), Tokens = Number(file, path, "tokens"),
            AverageUpdates = Number(file, path, "average_updates"),
            Seconds = double.TryParse(file.Metadata.GetValueOrDefault("seconds"), NumberStyles.Float, CultureInfo.InvariantCulture, out double seconds) ? seconds : 0,
        };
    }

    static SafetensorsFile Open(string path)
    {
        try
        {
            return SafetensorsFile.Open(path);
        }
        catch (Exception exception) when (exception is IOException or CheckpointFormatException)
        {
            throw new TrainingStateException($"'{path}' cannot be read: {exception.Message} Restore it from a backup, or choose another output folder to begin anew.", exception);
        }
    }

    static long Number(SafetensorsFile file, string path, string key)
    {
        if (!long.TryParse(file.Metadata.GetValueOrDefault(key), NumberStyles.None, CultureInfo.InvariantCulture, out long value))
            Throw.State($"'{path}' does not say '{key}'.", "Restore it from a backup, or choose another output folder to begin anew.");
        return value;
    }

    // Lines of an identity are "key": value, but for the one with the hash of the prepared texts. That follows from the keys, so it is told only where they agree.
    static string Differences(string given, string expected)
    {
        const int Most = 4;
        string[] theirs = given.Split('\n', StringSplitOptions.TrimEntries), ours = expected.Split('\n', StringSplitOptions.TrimEntries);
        if (theirs.Length != ours.Length) return "its configuration has another form";
        (string There, string Here)[] differences = [.. theirs.Zip(ours).Where(pair => !string.Equals(pair.First, pair.Second, StringComparison.Ordinal)).Select(pair => (pair.First.TrimEnd(','), pair.Second.TrimEnd(',')))];
        string[] keys = [.. differences.Where(one => one.There.Contains(':', StringComparison.Ordinal)).Select(one => $"there {one.There}, here {one.Here}")];
        if (keys.Length == 0) return $"the texts or the tokenizer are others (prepared data {string.Join(", ", differences.Select(one => $"{one.There} there, {one.Here} here"))})";
        return string.Join("; ", keys.Take(Most)) + (keys.Length > Most ? $"; and {keys.Length - Most} more" : "");
    }

    static ElementType TypeOf(Tensor tensor) => tensor.DType switch
    {
        DType.F32 => ElementType.F32,
        DType.BF16 => ElementType.BF16,
        _ => throw new ArgumentException($"Training state holds F32 and BF16, not {tensor.DType}.", nameof(tensor)),
    };

    static unsafe Span<byte> Bytes(Tensor tensor, long start, int count)
    {
        int size = tensor.DType.Size();
        byte* first = size == 4 ? (byte*)tensor.Pointer<float>() : (byte*)tensor.Pointer<ushort>();
        return new Span<byte>(first + (start * size), count * size);
    }
}
