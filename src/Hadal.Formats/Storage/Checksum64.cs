using System.Buffers.Binary;
using System.Numerics;

namespace Hadal.Formats;

/// <summary>
/// XXH64 (seed 0), the 64-bit checksum of Hadal's files: finds torn writes and flipped bits at memory speed. It is no protection against deliberate change.
/// A value of this type is a running hash: append any number of parts, then ask for the result; the result depends on the bytes, not on how they were cut.
/// </summary>
public sealed class Checksum64
{
    const ulong Prime1 = 0x9E3779B185EBCA87, Prime2 = 0xC2B2AE3D27D4EB4F, Prime3 = 0x165667B19E3779F9, Prime4 = 0x85EBCA77C2B2AE63, Prime5 = 0x27D4EB2F165667C5;

    readonly byte[] _pending = new byte[32];
    ulong _lane1 = unchecked(Prime1 + Prime2), _lane2 = Prime2, _lane3, _lane4 = unchecked(0 - Prime1);
    ulong _length;
    int _pendingCount;

    /// <summary>The checksum of one span.</summary>
    public static ulong Compute(ReadOnlySpan<byte> bytes)
    {
        var sum = new Checksum64();
        sum.Append(bytes);
        return sum.Value;
    }

    /// <summary>Forgets everything appended.</summary>
    public void Reset()
    {
        (_lane1, _lane2, _lane3, _lane4) = (unchecked(Prime1 + Prime2), Prime2, 0, unchecked(0 - Prime1));
        _length = 0;
        _pendingCount = 0;
    }

    /// <summary>Adds bytes to those already seen.</summary>
    public void Append(ReadOnlySpan<byte> bytes)
    {
        _length += (ulong)bytes.Length;
        if (_pendingCount > 0)
        {
            int taken = Math.Min(32 - _pendingCount, bytes.Length);
            bytes[..taken].CopyTo(_pending.AsSpan(_pendingCount));
            _pendingCount += taken;
            bytes = bytes[taken..];
            if (_pendingCount < 32) return;
            Stripes(_pending);
            _pendingCount = 0;
        }
        int whole = bytes.Length & ~31;
        Stripes(bytes[..whole]);
        bytes[whole..].CopyTo(_pending);
        _pendingCount = bytes.Length - whole;
    }

    /// <summary>The checksum of everything appended so far; more may follow.</summary>
    public ulong Value
    {
        get
        {
            ulong hash;
            if (_length >= 32)
            {
                hash = BitOperations.RotateLeft(_lane1, 1) + BitOperations.RotateLeft(_lane2, 7) + BitOperations.RotateLeft(_lane3, 12) + BitOperations.RotateLeft(_lane4, 18);
                hash = Merge(Merge(Merge(Merge(hash, _lane1), _lane2), _lane3), _lane4);
            }
            else
            {
                hash = Prime5;
            }
            hash += _length;
            ReadOnlySpan<byte> rest = _pending.AsSpan(0, _pendingCount);
            for (; rest.Length >= 8; rest = rest[8..])
                hash = BitOperations.RotateLeft(hash ^ Round(0, BinaryPrimitives.ReadUInt64LittleEndian(rest)), 27) * Prime1 + Prime4;
            if (rest.Length >= 4)
            {
                hash = BitOperations.RotateLeft(hash ^ (BinaryPrimitives.ReadUInt32LittleEndian(rest) * Prime1), 23) * Prime2 + Prime3;
                rest = rest[4..];
            }
            foreach (byte b in rest) hash = BitOperations.RotateLeft(hash ^ (b * Prime5), 11) * Prime1;
            hash = (hash ^ (hash >> 33)) * Prime2;
            hash = (hash ^ (hash >> 29)) * Prime3;
            return hash ^ (hash >> 32);
        }
    }

    void Stripes(ReadOnlySpan<byte> bytes)
    {
        (ulong lane1, ulong lane2, ulong lane3, ulong lane4) = (_lane1, _lane2, _lane3, _lane4);
        for (; bytes.Length >= 32; bytes = bytes[32..])
        {
            lane1 = Round(lane1, BinaryPrimitives.ReadUInt64LittleEndian(bytes));
            lane2 = Round(lane2, BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]));
            lane3 = Round(lane3, BinaryPrimitives.ReadUInt64LittleEndian(bytes[16..]));
            lane4 = Round(lane4, BinaryPrimitives.ReadUInt64LittleEndian(bytes[24..]));
        }
        (_lane1, _lane2, _lane3, _lane4) = (lane1, lane2, lane3, lane4);
    }

    static ulong Round(ulong lane, ulong input) => BitOperations.RotateLeft(lane + input * Prime2, 31) * Prime1;

    static ulong Merge(ulong hash, ulong lane) => (hash ^ Round(0, lane)) * Prime1 + Prime4;
}
