namespace Hadal.Formats;

/// <summary>A checkpoint's files do not follow their format. The message says what is wrong, where (file, tensor, byte offset) and what to do about it.</summary>
public sealed class CheckpointFormatException : Exception
{
    /// <summary>Composes the message from its parts.</summary>
    /// <param name="what">What was found and what was expected.</param>
    /// <param name="file">The file it was found in.</param>
    /// <param name="remedy">What the user can do.</param>
    /// <param name="tensor">The tensor concerned, if one is.</param>
    /// <param name="offset">Byte offset in the file, if known.</param>
    /// <param name="inner">The cause, if another exception told.</param>
    public CheckpointFormatException(string what, string file, string remedy, string? tensor = null, long? offset = null, Exception? inner = null)
        : base(Compose(what, file, remedy, tensor, offset), inner)
    {
        File = file;
        Tensor = tensor;
        Offset = offset;
        Remedy = remedy;
    }

    /// <summary>The file that was being read.</summary>
    public string File { get; }

    /// <summary>The tensor concerned, if one is.</summary>
    public string? Tensor { get; }

    /// <summary>Byte offset in <see cref="File"/>, if known.</summary>
    public long? Offset { get; }

    /// <summary>What the user can do.</summary>
    public string Remedy { get; }

    static string Compose(string what, string file, string remedy, string? tensor, long? offset)
    {
        string where = file;
        if (tensor is not null) where += $", tensor '{Text.Shorten(tensor)}'";
        if (offset is not null) where += $", byte {offset}";
        return $"{where}: {what}{(what.EndsWith('.') ? "" : ".")} {remedy}";
    }
}
