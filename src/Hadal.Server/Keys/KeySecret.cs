using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;

namespace Hadal.Server.Keys;

/// <summary>The text of a key: <c>hk-</c>, nine characters by which it is found, and 43 that are secret.</summary>
public static class KeySecret
{
    /// <summary>Characters of the public half, <c>hk-</c> included.</summary>
    public const int PrefixLength = 12;

    /// <summary>Characters of a key that this server makes.</summary>
    public const int Length = PrefixLength + 43;

    /// <summary>Most characters of any key, the host's own included.</summary>
    public const int LongestKey = 512;

    const string Letters = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";

    /// <summary>Makes a key: its public half has 52 bits of randomness, its secret half 256.</summary>
    public static string Make() => "hk-" + RandomNumberGenerator.GetString(Letters, PrefixLength - 3) + Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(32));

    /// <summary>The public half of a key that this server may have made; null for any other text.</summary>
    public static string? PrefixOf(string key) => key.Length == Length && key.StartsWith("hk-", StringComparison.Ordinal) ? key[..PrefixLength] : null;

    /// <summary>SHA-256 of the key's text.</summary>
    public static byte[] Hash(string key) => SHA256.HashData(Encoding.UTF8.GetBytes(key));

    /// <summary>Compares in a time that does not depend on where the two differ.</summary>
    public static bool Matches(string key, ReadOnlySpan<byte> hash) => CryptographicOperations.FixedTimeEquals(Hash(key), hash);

    /// <summary>What may be shown of a key in a message: its last four characters.</summary>
    public static string Mask(string key) => key.Length < 12 ? "****" : "****" + key[^4..];
}
