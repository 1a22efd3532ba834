using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Hadal.Numerics;

/// <summary>Many words at once: eight Philox blocks beside each other, one in each lane.</summary>
public readonly partial struct CounterRandom
{
    /// <summary>destination[i] = UInt64(firstIndex + i).</summary>
    public void Fill(Span<ulong> destination, ulong firstIndex = 0)
    {
        ref ulong to = ref MemoryMarshal.GetReference(destination);
        int i = 0;
        if ((firstIndex & 1) == 0)
        {
            for (; i <= destination.Length - 16; i += 16)
            {
                (Vector512<ulong> even, Vector512<ulong> odd) = EightBlocks((firstIndex + (ulong)i) >> 1);
                Interleave(even, odd, upper: false).StoreUnsafe(ref to, (nuint)i);
                Interleave(even, odd, upper: true).StoreUnsafe(ref to, (nuint)i + 8);
            }
        }

        for (; i < destination.Length; i++) Unsafe.Add(ref to, i) = UInt64(firstIndex + (ulong)i);
    }

    (Vector512<ulong> Even, Vector512<ulong> Odd) EightBlocks(ulong first)
    {
        Vector512<ulong> low = Vector512.Create(0xFFFF_FFFFUL);
        Vector512<ulong> block = Vector512.Create(first) + Vector512.Create(0UL, 1, 2, 3, 4, 5, 6, 7);
        Vector512<ulong> word0 = block & low, word1 = block >>> 32, word2 = Vector512.Create((ulong)((uint)Purpose | (uint)Kind.Bits64)), word3 = Vector512.Create((ulong)Stream);
        uint key0 = (uint)Seed, key1 = (uint)(Seed >> 32);
        for (int round = 0; round < 10; round++)
        {
            Vector512<ulong> product0 = Multiply(word0, 0xD2511F53), product1 = Multiply(word2, 0xCD9E8D57);
            word0 = (product1 >>> 32) ^ word1 ^ Vector512.Create((ulong)key0);
            word2 = (product0 >>> 32) ^ word3 ^ Vector512.Create((ulong)key1);
            word1 = product1 & low;
            word3 = product0 & low;
            key0 += 0x9E3779B9;
            key1 += 0xBB67AE85;
        }

        return (word0 | (word1 << 32), word2 | (word3 << 32));
    }

    // Lanes hold 32-bit words; the product has 64 bits.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector512<ulong> Multiply(Vector512<ulong> words, uint factor)
    {
        if (Avx512F.IsSupported) return Avx512F.Multiply(words.AsUInt32(), Vector512.Create((ulong)factor).AsUInt32());
        if (!Avx2.IsSupported) return words * Vector512.Create((ulong)factor);
        Vector256<uint> factors = Vector256.Create((ulong)factor).AsUInt32();
        return Vector512.Create(Avx2.Multiply(words.GetLower().AsUInt32(), factors), Avx2.Multiply(words.GetUpper().AsUInt32(), factors));
    }

    // Lanes 0 to 3, or 4 to 7, of both: even, odd, even, odd …
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector512<ulong> Interleave(Vector512<ulong> even, Vector512<ulong> odd, bool upper)
    {
        Vector512<ulong> places = upper ? Vector512.Create(4UL, 4, 5, 5, 6, 6, 7, 7) : Vector512.Create(0UL, 0, 1, 1, 2, 2, 3, 3);
        Vector512<ulong> odds = Vector512.Create(0UL, ulong.MaxValue, 0, ulong.MaxValue, 0, ulong.MaxValue, 0, ulong.MaxValue);
        return Vector512.ConditionalSelect(odds, Vector512.Shuffle(odd, places), Vector512.Shuffle(even, places));
    }
}
