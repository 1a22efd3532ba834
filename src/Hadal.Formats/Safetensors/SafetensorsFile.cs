using System.Buffers.Binary;
using System.IO.MemoryMappedFiles;
using Microsoft.Win32.SafeHandles;

namespace Hadal.Formats;

/// <summary>
/// One safetensors file, opened for reading. The header is checked completely when the file is opened; data are read on demand, of any size. Reading from several threads
/// at once is allowed.
/// </summary>
public sealed unsafe class SafetensorsFile : IDisposable
{
    readonly SafeFileHandle _handle;
    readonly Dictionary<string, TensorEntry> _byName;
    readonly Lock _mapping = new();
    MemoryMappedFile? _mappedFile;
    MemoryMappedViewAccessor? _view;
    byte* _data;

    SafetensorsFile(string path, SafeFileHandle handle, SafetensorsHeader.Parsed header, long length)
    {
        (Path, _handle, Length) = (path, handle, length);
        Entries = header.Entries;
        Metadata = header.Metadata;
        _byName = header.Entries.ToDictionary(e => e.Name, StringComparer.Ordinal);
    }

    /// <summary>Path as given.</summary>
    public string Path { get; }

    /// <summary>Bytes of the file.</summary>
    public long Length { get; }

    /// <summary>The tensors, in the order of their data.</summary>
    public IReadOnlyList<TensorEntry> Entries { get; }

    /// <summary>The free-form strings of the header, such as <c>format</c> = <c>pt</c>.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Opens a file and checks its header.</summary>
    /// <exception cref="CheckpointFormatException">The file is not a well-formed safetensors file.</exception>
    /// <exception cref="IOException">The file is absent or cannot be read.</exception>
    public static SafetensorsFile Open(string path)
    {
        SafeFileHandle handle = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.Read, FileOptions.RandomAccess);
        try
        {
            long length = RandomAccess.GetLength(handle);
            if (length < 8)
                throw new CheckpointFormatException($"the file has {length} bytes; a safetensors file begins with an 8-byte header length.", path, "The file is truncated or not a safetensors file. Fetch or write it again.", offset: 0);
            Span<byte> prefix = stackalloc byte[8];
            ReadExactly(handle, prefix, 0, path);
            int headerLength = SafetensorsHeader.CheckLength(BinaryPrimitives.ReadUInt64LittleEndian(prefix), length, path);
            byte[] json = GC.AllocateUninitializedArray<byte>(headerLength);
            ReadExactly(handle, json, 8, path);
            return new SafetensorsFile(path, handle, SafetensorsHeader.Parse(json, path, length - 8 - headerLength), length);
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>Parses a whole file held in memory and returns its entries; their offsets count from the beginning of <paramref name="bytes"/>.</summary>
    /// <exception cref="CheckpointFormatException">The bytes are not a well-formed safetensors file.</exception>
    public static IReadOnlyList<TensorEntry> ReadHeader(ReadOnlySpan<byte> bytes, string name)
    {
        if (bytes.Length < 8)
            throw new CheckpointFormatException($"there are {bytes.Length} bytes; a safetensors file begins with an 8-byte header length.", name, "The file is truncated or not a safetensors file. Fetch or write it again.", offset: 0);
        int headerLength = SafetensorsHeader.CheckLength(BinaryPrimitives.ReadUInt64LittleEndian(bytes), bytes.Length, name);
        return SafetensorsHeader.Parse(bytes.Slice(8, headerLength), name, bytes.Length - 8 - headerLength).Entries;
    }

    /// <summary>The entry with a name, or null.</summary>
    public TensorEntry? Find(string name) => _byName.GetValueOrDefault(name);

    /// <summary>Copies <paramref name="destination"/>.Length bytes, starting <paramref name="start"/> bytes into a tensor.</summary>
    /// <exception cref="CheckpointFormatException">The element type is unknown, or the file has become shorter.</exception>
    public void Read(TensorEntry entry, long start, Span<byte> destination)
    {
        Check(entry, start, destination.Length);
        ReadExactly(_handle, destination, entry.Offset + start, Path, entry.Name);
    }

    /// <summary>A tensor's bytes, copied into a new array (at most 2 GB; read larger ones in parts).</summary>
    public byte[] Read(TensorEntry entry)
    {
        Check(entry, 0, 0);
        if (entry.Length > Array.MaxLength)
            throw new ArgumentException($"Tensor '{entry.Name}' has {entry.Length} bytes, more than one array can hold; read it in parts.", nameof(entry));
        byte[] bytes = GC.AllocateUninitializedArray<byte>((int)entry.Length);
        Read(entry, 0, bytes);
        return bytes;
    }

    /// <summary>
    /// A view of <paramref name="length"/> bytes, starting <paramref name="start"/> bytes into a tensor, without a copy (the file is memory-mapped on first use). Valid until this object is
    /// disposed. A file that another process shortens meanwhile ends the process on access; <see cref="Read(TensorEntry, long, Span{byte})"/> reports it instead.
    /// </summary>
    public ReadOnlySpan<byte> View(TensorEntry entry, long start, int length)
    {
        Check(entry, start, length);
        return new ReadOnlySpan<byte>(Map() + entry.Offset + start, length);
    }

    /// <summary>A view of a whole tensor of at most 2 GB.</summary>
    public ReadOnlySpan<byte> View(TensorEntry entry)
    {
        if (entry.Length > int.MaxValue)
            throw new ArgumentException($"Tensor '{entry.Name}' has {entry.Length} bytes, more than one span can cover; view it in parts.", nameof(entry));
        return View(entry, 0, (int)entry.Length);
    }

    /// <summary>The header's JSON, as it is in the file.</summary>
    internal byte[] ReadHeaderBytes()
    {
        Span<byte> prefix = stackalloc byte[8];
        ReadExactly(_handle, prefix, 0, Path);
        byte[] json = GC.AllocateUninitializedArray<byte>(SafetensorsHeader.CheckLength(BinaryPrimitives.ReadUInt64LittleEndian(prefix), Length, Path));
        ReadExactly(_handle, json, 8, Path);
        return json;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_mapping)
        {
            if (_data is not null) _view!.SafeMemoryMappedViewHandle.ReleasePointer();
            _data = null;
            _view?.Dispose();
            _mappedFile?.Dispose();
            _handle.Dispose();
        }
    }

    byte* Map()
    {
        lock (_mapping)
        {
            ObjectDisposedException.ThrowIf(_handle.IsClosed, this);
            if (_data is null)
            {
                _mappedFile = MemoryMappedFile.CreateFromFile(_handle, mapName: null, capacity: 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: true);
                _view = _mappedFile.CreateViewAccessor(0, Length, MemoryMappedFileAccess.Read);
                byte* data = null;
                _view.SafeMemoryMappedViewHandle.AcquirePointer(ref data);
                _data = data + _view.PointerOffset;
            }
            return _data;
        }
    }

    void Check(TensorEntry entry, long start, int length)
    {
        ArgumentNullException.ThrowIfNull(entry);
        if (!ReferenceEquals(Find(entry.Name), entry)) throw new ArgumentException($"Tensor '{entry.Name}' does not belong to {Path}.", nameof(entry));
        if (entry.Type == ElementType.Unknown)
            throw new CheckpointFormatException($"the element type '{Text.Shorten(entry.TypeName)}' is not one of {ElementTypes.KnownNames}.", Path, "Convert the tensor to one of these types.", entry.Name, entry.Offset);
        if (start < 0 || start > entry.Length - length)
            throw new ArgumentOutOfRangeException(nameof(start), start, $"Tensor '{entry.Name}' has {entry.Length} bytes; {length} from byte {start} on do not exist.");
    }

    static void ReadExactly(SafeFileHandle handle, Span<byte> destination, long offset, string path, string? tensor = null)
    {
        while (!destination.IsEmpty)
        {
            int count = RandomAccess.Read(handle, destination, offset);
            if (count == 0)
                throw new CheckpointFormatException($"the file ends here, {destination.Length} bytes too early.", path, "It was shortened while being read. Fetch or write it again.", tensor, offset);
            destination = destination[count..];
            offset += count;
        }
    }
}
