using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;

namespace Hadal.Inference.Serving.Paging;

/// <summary>
/// Name of the content of one full page: a hash chain over blocks of 64 token ids, begun with the model's fingerprint and the owner, so that equal keys mean equal
/// prefixes of one model and one owner. 128 bits of SHA-256.
/// </summary>
/// <param name="High">First half.</param>
/// <param name="Low">Second half.</param>
readonly record struct BlockKey(ulong High, ulong Low)
{
    /// <summary>The start of the chain.</summary>
    /// <param name="fingerprint">Of the model.</param>
    /// <param name="owner">Who may find the pages; empty for everybody.</param>
    public static BlockKey Root(string fingerprint, string owner) => Hash(Encoding.UTF8.GetBytes($"hadal-pages-1\0{fingerprint}\0{owner}"));

    /// <summary>The next link. Allocates nothing.</summary>
    /// <param name="tokens">The 64 ids of the block.</param>
    public BlockKey Next(ReadOnlySpan<int> tokens)
    {
        Span<byte> content = stackalloc byte[16 + (GenerationSession.PageLength * sizeof(int))];
        BinaryPrimitives.WriteUInt64LittleEndian(content, High);
        BinaryPrimitives.WriteUInt64LittleEndian(content[8..], Low);
        MemoryMarshal.AsBytes(tokens).CopyTo(content[16..]);
        return Hash(content);
    }

    /// <summary>32 hexadecimal digits.</summary>
    public override string ToString() => $"{High:x16}{Low:x16}";

    static BlockKey Hash(ReadOnlySpan<byte> content)
    {
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(content, hash);
        return new BlockKey(BinaryPrimitives.ReadUInt64BigEndian(hash), BinaryPrimitives.ReadUInt64BigEndian(hash[8..]));
    }
}
