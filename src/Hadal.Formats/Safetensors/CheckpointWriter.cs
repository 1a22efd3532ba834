using System.Text.Json;

namespace Hadal.Formats;

/// <summary>
/// Writes the weights of a model in the public layout: <c>model.safetensors</c>, or, when they exceed the shard size, <c>model-00001-of-000NN.safetensors</c> and the index.
/// Tensors are declared first and written in any order. <see cref="Commit"/> makes the files appear, the index last.
/// </summary>
/// <remarks>
/// Each file is atomic. A set of shards is not, as a set; so a directory that already holds weights of another sharding is refused, and replacing a whole checkpoint is done
/// by writing a new directory and renaming it.
/// </remarks>
public sealed class CheckpointWriter : IDisposable
{
    /// <summary>Default bound on the bytes of a shard's data.</summary>
    public const long DefaultShardLength = 5_000_000_000;

    readonly string _directory;
    readonly List<SafetensorsWriter> _writers = [];
    readonly List<string> _fileNames = [];
    readonly Dictionary<string, int> _shardOf = new(StringComparer.Ordinal);
    readonly long _totalLength;

    /// <summary>Distributes the tensors over shards, in the given order, and creates the partial files.</summary>
    /// <param name="directory">Created if absent.</param>
    /// <param name="tensors">What will be written; names are unique.</param>
    /// <param name="shardLength">A shard takes tensors while their bytes stay within this bound, and at least one.</param>
    /// <param name="metadata">Strings for each header; null for <c>format</c> = <c>pt</c>.</param>
    /// <exception cref="IOException">Too little free space, or weights of another sharding are there.</exception>
    public CheckpointWriter(string directory, IEnumerable<TensorDeclaration> tensors, long shardLength = DefaultShardLength, IReadOnlyDictionary<string, string>? metadata = null)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(shardLength);
        _directory = directory;
        List<List<TensorDeclaration>> shards = [[]];
        long shardTotal = 0;
        foreach (TensorDeclaration tensor in tensors)
        {
            if (shards[^1].Count > 0 && tensor.Length > shardLength - shardTotal)
            {
                shards.Add([]);
                shardTotal = 0;
            }
            if (!_shardOf.TryAdd(tensor.Name, shards.Count - 1)) throw new ArgumentException($"Two tensors are named '{tensor.Name}'.", nameof(tensors));
            shards[^1].Add(tensor);
            shardTotal += tensor.Length;
            _totalLength = checked(_totalLength + tensor.Length);
        }
        for (int i = 0; i < shards.Count; i++) _fileNames.Add(shards.Count == 1 ? Checkpoint.SingleFileName : $"model-{i + 1:D5}-of-{shards.Count:D5}.safetensors");
        Directory.CreateDirectory(directory);
        RefuseOtherWeights();
        AtomicFile.RequireFreeSpace(directory, _totalLength);
        try
        {
            for (int i = 0; i < shards.Count; i++) _writers.Add(new SafetensorsWriter(Path.Combine(directory, _fileNames[i]), shards[i], metadata));
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Names of the weight files, in order.</summary>
    public IReadOnlyList<string> FileNames => _fileNames;

    /// <summary>Writes a whole tensor.</summary>
    public void Write(string name, ReadOnlySpan<byte> data) => WriterOf(name).Write(name, data);

    /// <summary>Writes the next part of a tensor.</summary>
    public void Append(string name, ReadOnlySpan<byte> part) => WriterOf(name).Append(name, part);

    /// <summary>Makes the files appear under their names: first every shard is complete on the disk, then they are renamed, then the index is written.</summary>
    public void Commit()
    {
        foreach (SafetensorsWriter writer in _writers) writer.Complete();
        foreach (SafetensorsWriter writer in _writers) writer.Publish();
        if (_writers.Count > 1) AtomicFile.Write(Path.Combine(_directory, Checkpoint.IndexFileName), WriteIndex);
    }

    /// <summary>Removes what was written, unless it was committed.</summary>
    public void Dispose()
    {
        foreach (SafetensorsWriter writer in _writers) writer.Dispose();
    }

    void WriteIndex(Stream stream)
    {
        using var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true });
        json.WriteStartObject();
        json.WriteStartObject("metadata");
        json.WriteNumber("total_size", _totalLength);
        json.WriteEndObject();
        json.WriteStartObject("weight_map");
        foreach ((string name, int shard) in _shardOf.OrderBy(e => e.Key, StringComparer.Ordinal)) json.WriteString(name, _fileNames[shard]);
        json.WriteEndObject();
        json.WriteEndObject();
    }

    void RefuseOtherWeights()
    {
        string? other = Directory.EnumerateFiles(_directory, "model*.safetensors*")
            .Select(f => Path.GetFileName(f))
            .Where(f => !f.EndsWith(AtomicFile.PartialSuffix, StringComparison.Ordinal) && !_fileNames.Contains(f, StringComparer.Ordinal))
            .Where(f => _fileNames.Count == 1 || !string.Equals(f, Checkpoint.IndexFileName, StringComparison.Ordinal))
            .Order(StringComparer.Ordinal).FirstOrDefault();
        if (other is not null)
            throw new IOException($"{_directory}: '{other}' is already there and would mix with the {_fileNames.Count} weight file(s) about to be written. Choose an empty directory, or remove the old weights.");
    }

    SafetensorsWriter WriterOf(string name) => _shardOf.TryGetValue(name, out int shard)
        ? _writers[shard]
        : throw new ArgumentException($"Tensor '{name}' was not declared when the writer of {_directory} was made.", nameof(name));
}
