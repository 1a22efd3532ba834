using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Hadal.Formats;

namespace Hadal.Training.Data;

/// <summary>Training text as rows of equally many tokens, in memory: what packing made of the documents.</summary>
public sealed class TokenRows
{
    static ReadOnlySpan<byte> Magic => "HADALROW"u8;
    const int Version = 1, HeaderBytes = 40;
    readonly int[] _tokens;

    /// <summary>Takes rows.</summary>
    /// <param name="tokens">[rows, rowTokens] ids; −1 after the last token of a row that is not full.</param>
    /// <param name="rowTokens">Tokens of a row.</param>
    public TokenRows(int[] tokens, int rowTokens)
    {
        if (rowTokens < 2 || tokens.Length % rowTokens != 0)
            throw new ArgumentException($"{tokens.Length} tokens are no whole number of rows of {rowTokens}.", nameof(tokens));
        _tokens = tokens;
        RowTokens = rowTokens;
        foreach (int token in tokens) if (token >= 0) TokenCount++;
    }

    /// <summary>Rows.</summary>
    public int Count => _tokens.Length / RowTokens;

    /// <summary>Tokens of a row.</summary>
    public int RowTokens { get; }

    /// <summary>Tokens in all rows, unfilled places not counted.</summary>
    public long TokenCount { get; }

    /// <summary>Copies one row.</summary>
    public void Read(int row, Span<int> destination) => _tokens.AsSpan(row * RowTokens, RowTokens).CopyTo(destination);

    /// <summary>
    /// Writes a cache file: magic, version, row tokens, rows, checksum of the ids, ids as 32-bit little endian. Replaced at once or not at all.
    /// </summary>
    internal void Save(string path)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        string temporary = $"{path}.{Environment.ProcessId}.tmp";
        try
        {
            using (var file = new FileStream(temporary, FileMode.Create, FileAccess.Write))
            {
                ReadOnlySpan<byte> ids = MemoryMarshal.AsBytes(_tokens.AsSpan());
                Span<byte> header = stackalloc byte[HeaderBytes];
                header.Clear();
                Magic.CopyTo(header);
                BinaryPrimitives.WriteInt32LittleEndian(header[8..], Version);
                BinaryPrimitives.WriteInt32LittleEndian(header[12..], RowTokens);
                BinaryPrimitives.WriteInt64LittleEndian(header[16..], Count);
                BinaryPrimitives.WriteUInt64LittleEndian(header[24..], Checksum64.Compute(ids));
                file.Write(header);
                file.Write(ids);
            }

            File.Move(temporary, path, overwrite: true);
        }
        finally
        {
            File.Delete(temporary);
        }
    }

    /// <summary>Reads a cache file; null when it is missing, damaged, or of another version: then it is made again.</summary>
    internal static TokenRows? TryLoad(string path, int rowTokens)
    {
        try
        {
            if (!File.Exists(path)) return null;
            byte[] content = File.ReadAllBytes(path);
            if (content.Length < HeaderBytes || !content.AsSpan(0, 8).SequenceEqual(Magic)) return null;
            ReadOnlySpan<byte> header = content, ids = content.AsSpan(HeaderBytes);
            if (BinaryPrimitives.ReadInt32LittleEndian(header[8..]) != Version || BinaryPrimitives.ReadInt32LittleEndian(header[12..]) != rowTokens) return null;
            if (BinaryPrimitives.ReadInt64LittleEndian(header[16..]) * rowTokens * sizeof(int) != ids.Length) return null;
            if (BinaryPrimitives.ReadUInt64LittleEndian(header[24..]) != Checksum64.Compute(ids)) return null;
            return new TokenRows(MemoryMarshal.Cast<byte, int>(ids).ToArray(), rowTokens);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
