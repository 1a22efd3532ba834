using System.Text;

namespace Hadal.Formats;

/// <summary>
/// Files that appear whole or not at all: written beside their place under the name <c>NAME.partial</c>, flushed to the disk, then renamed over what was there. A reader, or
/// the next start after a crash or a power cut, finds the old file or the new one. A leftover <c>.partial</c> of a killed process is overwritten by the next attempt.
/// </summary>
public static class AtomicFile
{
    /// <summary>The ending of files that are being written.</summary>
    public const string PartialSuffix = ".partial";

    /// <summary>Writes a file through a stream. If <paramref name="write"/> throws, the partial file is removed and the old file stays.</summary>
    /// <exception cref="IOException">The disk is full, the place cannot be written, or another writer is at it.</exception>
    public static void Write(string path, Action<Stream> write)
    {
        ArgumentNullException.ThrowIfNull(write);
        string partial = path + PartialSuffix;
        try
        {
            using (var stream = new FileStream(partial, FileMode.Create, FileAccess.Write, FileShare.None, bufferSize: 1 << 16))
            {
                write(stream);
                stream.Flush(flushToDisk: true);
            }
            File.Move(partial, path, overwrite: true);
        }
        catch
        {
            TryDelete(partial);
            throw;
        }
    }

    /// <summary>Writes a file with the given bytes.</summary>
    public static void WriteAllBytes(string path, ReadOnlySpan<byte> bytes)
    {
        byte[] copy = bytes.ToArray();
        Write(path, stream => stream.Write(copy));
    }

    /// <summary>Writes a file with the given text as UTF-8, without byte order mark.</summary>
    public static void WriteAllText(string path, string text) => WriteAllBytes(path, Encoding.UTF8.GetBytes(text));

    /// <summary>Refuses to begin when the disk has less room than will be needed.</summary>
    /// <param name="directory">An existing directory on the disk in question.</param>
    /// <param name="needed">Bytes about to be written.</param>
    /// <exception cref="IOException">Less is free; the message has both numbers.</exception>
    public static void RequireFreeSpace(string directory, long needed)
    {
        long free = new DriveInfo(Path.GetFullPath(directory)).AvailableFreeSpace;
        if (free < needed)
            throw new IOException($"{directory}: {needed:N0} bytes are about to be written and {free:N0} are free. Free {needed - free:N0} bytes or choose another directory.");
    }

    internal static void TryDelete(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (IOException)
        {
            // The first error is the one to tell.
        }
        catch (UnauthorizedAccessException)
        {
        }
    }
}
