using System.Buffers.Binary;
using System.Globalization;
using System.Threading.Channels;
using Hadal.Formats;

namespace Hadal.Inference.Serving.Paging;

/// <summary>
/// Remembered pages on disk: one file per page, named by its key, in a folder that its owner alone can read: they come from what people wrote. Written behind the engine's back by
/// one task, bounded in bytes and in the time since they were last used, the least recently used going first, checksummed: a file that is damaged, cut or of another form is deleted and counts as absent. <see cref="Write"/> and <see cref="TryRead"/> belong to one thread.
/// </summary>
sealed class PageStore : IAsyncDisposable
{
    const int HeaderBytes = 40, Waiting = 32;
    static ReadOnlySpan<byte> Magic => "HADALPG1"u8;
    readonly string _directory;
    readonly long _mostBytes;
    readonly int _pageBytes;
    readonly Lock _gate = new();
    readonly Dictionary<BlockKey, LinkedListNode<(BlockKey Key, DateTime Used)>> _known = [];
    readonly LinkedList<(BlockKey Key, DateTime Used)> _byUse = new(); // least recently used first
    readonly TimeSpan _longestUnused;
    readonly Timer _timer;
    readonly Channel<(BlockKey Key, byte[] File)> _writes = Channel.CreateBounded<(BlockKey, byte[])>(Waiting);
    readonly Task _writer;

    /// <summary>Opens or makes the directory; what fits is known at once, too much is deleted.</summary>
    /// <param name="directory">Files of other names in it are left alone.</param>
    /// <param name="pageBytes">Bytes of a page.</param>
    /// <param name="mostBytes">Most bytes of all files.</param>
    /// <param name="longestUnused">A page that was not read or written for so long goes.</param>
    public PageStore(string directory, int pageBytes, long mostBytes, TimeSpan longestUnused)
    {
        _directory = directory;
        _pageBytes = pageBytes;
        _mostBytes = mostBytes;
        _longestUnused = longestUnused;
        MakePrivate(directory);
        foreach (FileInfo file in new DirectoryInfo(directory).EnumerateFiles("*.page").OrderBy(f => f.LastWriteTimeUtc).ThenBy(f => f.Name, StringComparer.Ordinal))
        {
            if (file.Length == HeaderBytes + pageBytes && TryParse(Path.GetFileNameWithoutExtension(file.Name), out BlockKey key)) _known[key] = _byUse.AddLast((key, file.LastWriteTimeUtc));
        }

        Shrink();
        _writer = Task.Run(WriteAll);
        TimeSpan period = longestUnused < TimeSpan.FromHours(1) ? longestUnused : TimeSpan.FromHours(1);
        _timer = new Timer(static store => ((PageStore)store!).Shrink(), this, period, period);
    }

    /// <summary>Files known.</summary>
    public int Count
    {
        get
        {
            lock (_gate) return _known.Count;
        }
    }

    /// <summary>Whether a page is on disk or on its way there.</summary>
    public bool Knows(BlockKey key)
    {
        lock (_gate) return _known.ContainsKey(key);
    }

    /// <summary>Hands a page over to be written; when the disk cannot keep up it is dropped.</summary>
    /// <param name="fill">Copies the page into the buffer.</param>
    public void Write<T>(BlockKey key, T state, Action<T, Memory<byte>> fill)
    {
        if (Knows(key) || HeaderBytes + (long)_pageBytes > _mostBytes || _writes.Reader.Count >= Waiting) return;
        byte[] file = new byte[HeaderBytes + _pageBytes];
        fill(state, file.AsMemory(HeaderBytes));
        Magic.CopyTo(file);
        BinaryPrimitives.WriteUInt64LittleEndian(file.AsSpan(8), key.High);
        BinaryPrimitives.WriteUInt64LittleEndian(file.AsSpan(16), key.Low);
        BinaryPrimitives.WriteInt64LittleEndian(file.AsSpan(24), _pageBytes);
        BinaryPrimitives.WriteUInt64LittleEndian(file.AsSpan(32), Checksum64.Compute(file.AsSpan(HeaderBytes)));
        if (!_writes.Writer.TryWrite((key, file))) return;
        lock (_gate) _known[key] = _byUse.AddLast((key, DateTime.UtcNow));
    }

    /// <summary>Reads a page; false when it is not there, or not intact.</summary>
    public bool TryRead(BlockKey key, Span<byte> page)
    {
        lock (_gate)
        {
            if (!_known.TryGetValue(key, out LinkedListNode<(BlockKey Key, DateTime Used)>? node)) return false;
            _byUse.Remove(node);
            node.Value = (key, DateTime.UtcNow);
            _byUse.AddLast(node);
        }

        string path = PathOf(key);
        try
        {
            if (!File.Exists(path)) return false; // still on its way
            byte[] file = File.ReadAllBytes(path);
            if (file.Length == HeaderBytes + _pageBytes && file.AsSpan(0, 8).SequenceEqual(Magic)
                && BinaryPrimitives.ReadUInt64LittleEndian(file.AsSpan(8)) == key.High && BinaryPrimitives.ReadUInt64LittleEndian(file.AsSpan(16)) == key.Low
                && BinaryPrimitives.ReadInt64LittleEndian(file.AsSpan(24)) == _pageBytes
                && BinaryPrimitives.ReadUInt64LittleEndian(file.AsSpan(32)) == Checksum64.Compute(file.AsSpan(HeaderBytes)))
            {
                file.AsSpan(HeaderBytes).CopyTo(page);
                File.SetLastWriteTimeUtc(path, DateTime.UtcNow);
                return true;
            }
        }
        catch (IOException)
        {
        }
        catch (UnauthorizedAccessException)
        {
        }

        Delete(key);
        return false;
    }

    /// <summary>Finishes what is on its way.</summary>
    public async ValueTask DisposeAsync()
    {
        await _timer.DisposeAsync().ConfigureAwait(false);
        _writes.Writer.TryComplete();
        await _writer.ConfigureAwait(false);
    }

    async Task WriteAll()
    {
        await foreach ((BlockKey key, byte[] file) in _writes.Reader.ReadAllAsync().ConfigureAwait(false))
        {
            try
            {
                AtomicFile.WriteAllBytes(PathOf(key), file);
                Shrink();
            }
            catch (IOException)
            {
                Delete(key); // a full disk costs the cache, not the service
            }
            catch (UnauthorizedAccessException)
            {
                Delete(key);
            }
        }
    }

    void Shrink()
    {
        while (true)
        {
            BlockKey oldest;
            lock (_gate)
            {
                if (_byUse.First is null) return;
                (oldest, DateTime used) = _byUse.First.Value;
                if (_known.Count * (long)(HeaderBytes + _pageBytes) <= _mostBytes && DateTime.UtcNow - used <= _longestUnused) return;
            }

            Delete(oldest);
        }
    }

    void Delete(BlockKey key)
    {
        lock (_gate)
        {
            if (_known.Remove(key, out LinkedListNode<(BlockKey Key, DateTime Used)>? node)) _byUse.Remove(node);
        }

        try
        {
            File.Delete(PathOf(key));
        }
        catch (IOException)
        {
        }
        catch (UnauthorizedAccessException)
        {
        }
    }

    static void MakePrivate(string directory)
    {
        if (OperatingSystem.IsWindows())
        {
            Directory.CreateDirectory(directory);
            return;
        }

        const UnixFileMode Owner = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
        Directory.CreateDirectory(directory, Owner);
        if (File.GetUnixFileMode(directory) != Owner) File.SetUnixFileMode(directory, Owner); // it was there already
    }

    string PathOf(BlockKey key) => Path.Combine(_directory, $"{key}.page");

    static bool TryParse(string name, out BlockKey key)
    {
        key = default;
        if (name.Length != 32 || !ulong.TryParse(name.AsSpan(0, 16), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong high)
            || !ulong.TryParse(name.AsSpan(16), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong low)) return false;
        key = new BlockKey(high, low);
        return true;
    }
}
