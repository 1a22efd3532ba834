using System.Net;
using System.Security.Cryptography;
using System.Text;
using Hadal.Server.Accounts;

namespace Hadal.Server.Keys;

/// <summary>
/// Keys that are nobody's, counted by the network address they come from. An address that used up its attempts is not told whether a key is right, except for keys that were accepted from it
/// before: programs behind the same address that work go on working, guessing does not. Other addresses notice nothing.
/// </summary>
sealed class WrongKeyThrottle(AddressThrottle addresses)
{
    const string Purpose = "key";

    // One place for each remainder of a hash: a key that another one drove out only waits, and only where its address used up its attempts.
    readonly byte[]?[] _accepted = new byte[8192][];

    /// <summary>Until a key from this address is looked at; null: now.</summary>
    public TimeSpan? UntilLooked(IPAddress? address, string key) =>
        addresses.UntilNext(Purpose, address) is TimeSpan wait && !WasAccepted(Mark(address, key)) ? wait : null;

    /// <summary>Notes what became of a key.</summary>
    public void Note(IPAddress? address, string key, bool accepted)
    {
        if (!accepted) addresses.Count(Purpose, address);
        else if (Mark(address, key) is var mark && !WasAccepted(mark)) Volatile.Write(ref Place(mark), mark);
    }

    bool WasAccepted(byte[] mark) => Volatile.Read(ref Place(mark)) is byte[] known && CryptographicOperations.FixedTimeEquals(known, mark);

    ref byte[]? Place(byte[] mark) => ref _accepted[BitConverter.ToUInt16(mark) % _accepted.Length];

    // Neither keys nor addresses are kept.
    static byte[] Mark(IPAddress? address, string key) => SHA256.HashData(Encoding.UTF8.GetBytes($"{AddressThrottle.Group(address)}\n{key}"));
}
