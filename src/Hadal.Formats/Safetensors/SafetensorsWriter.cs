using System.Buffers;
using System.Buffers.Binary;
using System.Text.Json;
using Microsoft.Win32.SafeHandles;

namespace Hadal.Formats;

/// <summary>
/// Writes one safetensors file. All tensors are declared first, so the header is complete before the first data; then their bytes are written, tensors in any order, the
/// parts of one tensor in order. <see cref="Commit"/> makes the file appear whole; without it nothing appears.
/// </summary>
/// <remarks>
/// Layout: tensors sorted by element size (largest first, so that every tensor is aligned to its elements), then by name; the header is padded with spaces to a multiple of
/// 8 bytes. The same declarations and bytes make the same file. The metadata have <c>format</c> = <c>pt</c> unless given otherwise, and <see cref="SafetensorsChecksum.Key"/>:
/// a checksum by which <see cref="SafetensorsChecksum.Verify"/> finds flipped bits; other readers ignore it.
/// </remarks>
public sealed class SafetensorsWriter : IDisposable
{
    readonly string _path;
    readonly string _partial;
    readonly TensorEntry[] _tensors;
    readonly Progress[] _progress;
    readonly Dictionary<string, int> _byName = new(StringComparer.Ordinal);
    readonly long _checksumOffset;
    readonly ulong _headerChecksum;
    readonly SafeFileHandle _handle;
    bool _committed;

    sealed class Progress
    {
        internal long Written;
        internal readonly Checksum64 Checksum = new();
    }

    /// <summary>Checks free space, creates <c>PATH.partial</c> and writes the header.</summary>
    /// <param name="path">The file to be; it is replaced on <see cref="Commit"/>.</param>
    /// <param name="tensors">What will be written; names are unique.</param>
    /// <param name="metadata">Strings for the header; null for <c>format</c> = <c>pt</c> alone.</param>
    /// <exception cref="IOException">Too little free space, or the place cannot be written.</exception>
    /// <exception cref="ArgumentException">A name is empty, reserved or used twice, or a shape is impossible.</exception>
    public SafetensorsWriter(string path, IEnumerable<TensorDeclaration> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        _path = path;
        _partial = path + AtomicFile.PartialSuffix;
        TensorDeclaration[] sorted = [.. tensors.OrderByDescending(t => t.Type.Size()).ThenBy(t => t.Name, StringComparer.Ordinal)];
        byte[] header = BuildHeader(sorted, metadata);
        _checksumOffset = 8 + SafetensorsChecksum.Find(header);
        _headerChecksum = SafetensorsChecksum.OfHeader(header);
        _tensors = new TensorEntry[sorted.Length];
        _progress = new Progress[sorted.Length];
        long offset = 8 + header.Length;
        for (int i = 0; i < sorted.Length; i++)
        {
            TensorDeclaration t = sorted[i];
            if (t.Name.Length == 0 || string.Equals(t.Name, "__metadata__", StringComparison.Ordinal))
                throw new ArgumentException($"A tensor cannot be named '{t.Name}'.", nameof(tensors));
            if (!_byName.TryAdd(t.Name, i)) throw new ArgumentException($"Two tensors are named '{t.Name}'.", nameof(tensors));
            _tensors[i] = new TensorEntry(t.Name, t.Type, t.Type.Name(), t.Shape, path, offset, t.Length);
            _progress[i] = new Progress();
            offset = checked(offset + t.Length);
        }
        AtomicFile.RequireFreeSpace(Path.GetDirectoryName(Path.GetFullPath(path))!, offset);
        _handle = File.OpenHandle(_partial, FileMode.Create, FileAccess.Write, FileShare.None);
        try
        {
            Span<byte> length = stackalloc byte[8];
            BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)header.Length);
            RandomAccess.Write(_handle, length, 0);
            RandomAccess.Write(_handle, header, 8);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The tensors with their places, in file order.</summary>
    public IReadOnlyList<TensorEntry> Tensors => _tensors;

    /// <summary>Writes a whole tensor.</summary>
    public void Write(string name, ReadOnlySpan<byte> data)
    {
        int index = IndexOf(name);
        if (_progress[index].Written != 0 || data.Length != _tensors[index].Length)
            throw new ArgumentException($"{_tensors[index]} has {_tensors[index].Length} bytes, {_progress[index].Written} of them written; {data.Length} were given as the whole.", nameof(data));
        Append(name, data);
    }

    /// <summary>Writes the next part of a tensor.</summary>
    public void Append(string name, ReadOnlySpan<byte> part)
    {
        ObjectDisposedException.ThrowIf(_handle.IsClosed, this);
        int index = IndexOf(name);
        Progress progress = _progress[index];
        TensorEntry tensor = _tensors[index];
        if (part.Length > tensor.Length - progress.Written)
            throw new ArgumentException($"{tensor} has {tensor.Length} bytes, {progress.Written} of them written; {part.Length} more do not fit.", nameof(part));
        RandomAccess.Write(_handle, part, tensor.Offset + progress.Written);
        progress.Checksum.Append(part);
        progress.Written += part.Length;
    }

    /// <summary>Puts the checksum in, flushes to the disk and renames the file to its final name.</summary>
    /// <exception cref="InvalidOperationException">A tensor is not complete; the message names it.</exception>
    public void Commit()
    {
        Complete();
        Publish();
    }

    /// <summary>First half of <see cref="Commit"/>: everything that can fail for lack of space.</summary>
    internal void Complete()
    {
        ObjectDisposedException.ThrowIf(_handle.IsClosed, this);
        var total = new SafetensorsChecksum();
        total.Add(_headerChecksum);
        for (int i = 0; i < _tensors.Length; i++)
        {
            if (_progress[i].Written != _tensors[i].Length)
                throw new InvalidOperationException($"{_tensors[i]} has {_tensors[i].Length} bytes and {_progress[i].Written} were written; write the rest before committing.");
            total.Add(_progress[i].Checksum.Value);
        }
        RandomAccess.Write(_handle, total.Format(), _checksumOffset);
        RandomAccess.FlushToDisk(_handle);
        _handle.Dispose();
    }

    /// <summary>Second half of <see cref="Commit"/>: the rename.</summary>
    internal void Publish()
    {
        File.Move(_partial, _path, overwrite: true);
        _committed = true;
    }

    /// <summary>Removes what was written, unless it was committed.</summary>
    public void Dispose()
    {
        _handle.Dispose();
        if (!_committed) AtomicFile.TryDelete(_partial);
    }

    int IndexOf(string name) => _byName.TryGetValue(name, out int index)
        ? index
        : throw new ArgumentException($"Tensor '{name}' was not declared when the writer of {_path} was made.", nameof(name));

    static byte[] BuildHeader(TensorDeclaration[] sorted, IReadOnlyDictionary<string, string>? metadata)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            json.WriteStartObject("__metadata__");
            var strings = new SortedDictionary<string, string>(StringComparer.Ordinal);
            if (metadata is null) strings["format"] = "pt";
            else foreach ((string key, string value) in metadata) strings[key] = value;
            strings.Remove(SafetensorsChecksum.Key);
            // The checksum comes first, so that it is the first text of its kind.
            json.WriteString(SafetensorsChecksum.Key, SafetensorsChecksum.Placeholder);
            foreach ((string key, string value) in strings) json.WriteString(key, value);
            json.WriteEndObject();
            long offset = 0;
            foreach (TensorDeclaration t in sorted)
            {
                json.WriteStartObject(t.Name);
                json.WriteString("dtype", t.Type.Name());
                json.WriteStartArray("shape");
                foreach (long dimension in t.Shape) json.WriteNumberValue(dimension);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                offset = checked(offset + t.Length);
                json.WriteNumberValue(offset);
                json.WriteEndArray();
                json.WriteEndObject();
            }
            json.WriteEndObject();
        }
        byte[] header = new byte[(buffer.WrittenCount + 7) & ~7];
        buffer.WrittenSpan.CopyTo(header);
        header.AsSpan(buffer.WrittenCount).Fill((byte)' ');
        if (header.Length > SafetensorsHeader.MaximumLength)
            throw new ArgumentException($"The header of {sorted.Length} tensors would have {header.Length} bytes, more than the {SafetensorsHeader.MaximumLength} readers accept; write several files.");
        return header;
    }
}
