using System.Text.Json;

namespace Hadal.Formats;

/// <summary>
/// The weights of a model as the public hub stores them: a directory with <c>model.safetensors</c>, or with shards and <c>model.safetensors.index.json</c> whose
/// <c>weight_map</c> says which shard holds which tensor; or a single safetensors file. Opening checks every header and that index and shards agree.
/// </summary>
public sealed class Checkpoint : IDisposable
{
    /// <summary>Name of the one weights file of an unsharded checkpoint.</summary>
    public const string SingleFileName = "model.safetensors";

    /// <summary>Name of the index of a sharded checkpoint.</summary>
    public const string IndexFileName = "model.safetensors.index.json";

    internal const long MaximumIndexLength = 100_000_000;

    readonly List<SafetensorsFile> _files;
    readonly Dictionary<string, (TensorEntry Entry, SafetensorsFile File)> _tensors = new(StringComparer.Ordinal);

    Checkpoint(string path, List<SafetensorsFile> files, List<string> warnings)
    {
        (Path, _files, Warnings) = (path, files, warnings);
    }

    /// <summary>Path as given.</summary>
    public string Path { get; }

    /// <summary>The files, in the order of their names.</summary>
    public IReadOnlyList<SafetensorsFile> Files => _files;

    /// <summary>All tensors, sorted by name (ordinal).</summary>
    public IReadOnlyList<TensorEntry> Entries { get; private set; } = [];

    /// <summary>Oddities that do not prevent loading, such as a tensor in a shard that the index does not list.</summary>
    public IReadOnlyList<string> Warnings { get; }

    /// <summary>Opens a directory, or one safetensors file. Where both forms lie in a directory, <c>model.safetensors</c> wins, as in other loaders.</summary>
    /// <exception cref="CheckpointFormatException">A file does not follow its format, or index and shards disagree.</exception>
    /// <exception cref="IOException">Something is absent or cannot be read.</exception>
    public static Checkpoint Open(string path)
    {
        if (File.Exists(path)) return OpenFiles(path, [path], index: null);
        if (!Directory.Exists(path)) throw new DirectoryNotFoundException($"{path}: there is no such directory or file. Give the directory of a checkpoint, or a .safetensors file.");
        string single = System.IO.Path.Combine(path, SingleFileName);
        if (File.Exists(single)) return OpenFiles(path, [single], index: null);
        string indexPath = System.IO.Path.Combine(path, IndexFileName);
        if (!File.Exists(indexPath)) throw new FileNotFoundException($"{path}: there is neither {SingleFileName} nor {IndexFileName} in this directory. Give the directory of a checkpoint in the public layout.");
        Dictionary<string, string> index = ReadIndex(indexPath);
        var shards = new List<string>();
        foreach (string shard in index.Values.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal))
        {
            string file = System.IO.Path.Combine(path, shard);
            if (!File.Exists(file))
                throw new CheckpointFormatException($"it names the shard '{Text.Shorten(shard)}', which is not in the directory.", indexPath, "Fetch the missing shard.");
            shards.Add(file);
        }
        return OpenFiles(path, shards, index);
    }

    /// <summary>The entry with a name, or null.</summary>
    public TensorEntry? Find(string name) => _tensors.TryGetValue(name, out var found) ? found.Entry : null;

    /// <summary>The entry with a name; its absence is an error that names what is there.</summary>
    /// <exception cref="CheckpointFormatException">There is no such tensor.</exception>
    public TensorEntry Get(string name) => Find(name)
        ?? throw new CheckpointFormatException($"the checkpoint has no such tensor among its {_tensors.Count}.", Path, "Check that the weights belong to this config.json and that no shard is missing.", name);

    /// <summary>Copies bytes of a tensor, starting <paramref name="start"/> bytes into it.</summary>
    public void Read(TensorEntry entry, long start, Span<byte> destination) => FileOf(entry).Read(entry, start, destination);

    /// <summary>A tensor's bytes in a new array (at most 2 GB).</summary>
    public byte[] Read(TensorEntry entry) => FileOf(entry).Read(entry);

    /// <summary>A view of bytes of a tensor without a copy, valid until this object is disposed.</summary>
    public ReadOnlySpan<byte> View(TensorEntry entry, long start, int length) => FileOf(entry).View(entry, start, length);

    /// <summary>A view of a whole tensor of at most 2 GB.</summary>
    public ReadOnlySpan<byte> View(TensorEntry entry) => FileOf(entry).View(entry);

    /// <summary>Reads all data of the files that carry a checksum (Hadal's own do) and compares.</summary>
    /// <exception cref="CheckpointFormatException">Bits of a file have changed.</exception>
    public void Verify()
    {
        foreach (SafetensorsFile file in _files) SafetensorsChecksum.Verify(file);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (SafetensorsFile file in _files) file.Dispose();
    }

    /// <summary>Reads <c>weight_map</c>: tensor name to shard file name, each a plain file name of this directory.</summary>
    internal static Dictionary<string, string> ReadIndex(string path)
    {
        long length = new FileInfo(path).Length;
        if (length > MaximumIndexLength)
            throw new CheckpointFormatException($"the index has {length} bytes, more than the {MaximumIndexLength} accepted.", path, "This is not the index of a checkpoint.");
        return ParseIndex(File.ReadAllBytes(path), path);
    }

    internal static Dictionary<string, string> ParseIndex(ReadOnlySpan<byte> json, string path)
    {
        const string remedy = "The index is damaged. Fetch or write it again.";
        Dictionary<string, string>? map = null;
        if (json.StartsWith("\uFEFF"u8)) json = json[3..];
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = 16 });
        try
        {
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject) throw new CheckpointFormatException("the index is not a JSON object.", path, remedy);
            while (reader.Read() && reader.TokenType != JsonTokenType.EndObject)
            {
                bool isMap = reader.ValueTextEquals("weight_map"u8);
                reader.Read();
                if (!isMap)
                {
                    reader.Skip();
                    continue;
                }
                if (map is not null) throw new CheckpointFormatException("'weight_map' appears twice.", path, remedy, offset: reader.TokenStartIndex);
                if (reader.TokenType != JsonTokenType.StartObject) throw new CheckpointFormatException("'weight_map' is not an object.", path, remedy, offset: reader.TokenStartIndex);
                map = new Dictionary<string, string>(StringComparer.Ordinal);
                while (reader.Read() && reader.TokenType != JsonTokenType.EndObject)
                {
                    string name = reader.GetString()!;
                    reader.Read();
                    if (reader.TokenType != JsonTokenType.String) throw new CheckpointFormatException("its shard is not a string.", path, remedy, name, reader.TokenStartIndex);
                    string shard = reader.GetString()!;
                    CheckShardName(shard, name, path);
                    if (!map.TryAdd(name, shard)) throw new CheckpointFormatException("the tensor appears twice in 'weight_map'.", path, remedy, name, reader.TokenStartIndex);
                }
            }
            if (reader.TokenType != JsonTokenType.EndObject || reader.Read()) throw new CheckpointFormatException("the index is not one JSON object.", path, remedy, offset: reader.TokenStartIndex);
        }
        catch (JsonException error)
        {
            throw new CheckpointFormatException("the index is not valid JSON.", path, remedy, offset: reader.BytesConsumed, inner: error);
        }
        catch (InvalidOperationException error)
        {
            throw new CheckpointFormatException("the index contains text that is not valid Unicode.", path, remedy, offset: reader.BytesConsumed, inner: error);
        }
        if (map is null) throw new CheckpointFormatException("'weight_map' is missing.", path, remedy);
        if (map.Count == 0) throw new CheckpointFormatException("'weight_map' is empty.", path, remedy);
        return map;
    }

    static void CheckShardName(string shard, string tensor, string path)
    {
        bool plain = shard.EndsWith(".safetensors", StringComparison.Ordinal) && shard[0] != '.' && shard.Length <= 255;
        foreach (char c in shard) plain &= c is not ('/' or '\\' or ':') && !char.IsControl(c);
        if (!plain)
            throw new CheckpointFormatException($"it is said to be in '{Text.Shorten(shard)}', which is not a plain file name ending in .safetensors.", path, "A shard lies beside its index; do not load checkpoints from sources you do not trust.", tensor);
    }

    static Checkpoint OpenFiles(string path, List<string> paths, Dictionary<string, string>? index)
    {
        var warnings = new List<string>();
        var checkpoint = new Checkpoint(path, [], warnings);
        try
        {
            foreach (string file in paths) checkpoint._files.Add(SafetensorsFile.Open(file));
            foreach (SafetensorsFile file in checkpoint._files)
                foreach (TensorEntry entry in file.Entries)
                    checkpoint.AddEntry(entry, file, index, warnings);
            if (index is not null)
                foreach ((string name, string shard) in index)
                    if (!checkpoint._tensors.ContainsKey(name))
                        throw new CheckpointFormatException($"the index says that it is in '{shard}', but that shard does not hold it.", System.IO.Path.Combine(path, IndexFileName), "Index and shards come from different checkpoints. Fetch them again.", name);
            checkpoint.Entries = [.. checkpoint._tensors.Values.Select(t => t.Entry).OrderBy(e => e.Name, StringComparer.Ordinal)];
            return checkpoint;
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
    }

    void AddEntry(TensorEntry entry, SafetensorsFile file, Dictionary<string, string>? index, List<string> warnings)
    {
        string fileName = System.IO.Path.GetFileName(file.Path);
        if (_tensors.TryGetValue(entry.Name, out var other))
            throw new CheckpointFormatException($"it is also in '{System.IO.Path.GetFileName(other.File.Path)}'.", file.Path, "A tensor belongs into one shard. Fetch or write the checkpoint again.", entry.Name, entry.Offset);
        if (index is not null && !index.ContainsKey(entry.Name))
        {
            warnings.Add($"{file.Path}: tensor '{Text.Shorten(entry.Name)}' is not listed in {IndexFileName}; it is ignored.");
            return;
        }
        if (index is not null && !string.Equals(index[entry.Name], fileName, StringComparison.Ordinal))
            throw new CheckpointFormatException($"the index says that it is in '{index[entry.Name]}', but it is here.", file.Path, "Index and shards come from different checkpoints. Fetch them again.", entry.Name, entry.Offset);
        _tensors.Add(entry.Name, (entry, file));
    }

    SafetensorsFile FileOf(TensorEntry entry)
    {
        ArgumentNullException.ThrowIfNull(entry);
        if (_tensors.TryGetValue(entry.Name, out var found) && ReferenceEquals(found.Entry, entry)) return found.File;
        throw new ArgumentException($"Tensor '{entry.Name}' does not belong to {Path}.", nameof(entry));
    }
}
