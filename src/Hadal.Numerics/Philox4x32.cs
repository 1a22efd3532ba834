using System.Runtime.CompilerServices;

namespace Hadal.Numerics;

/// <summary>One Philox block: four 32-bit words.</summary>
public readonly record struct PhiloxBlock(uint Word0, uint Word1, uint Word2, uint Word3);

/// <summary>
/// Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw ("Parallel random numbers: as easy as 1, 2, 3", SC'11): a keyed bijection of 128-bit
/// counters, ten rounds of multiply and xor. No state, so any element can be computed anywhere, in any order.
/// </summary>
public static class Philox4x32
{
    /// <summary>The block of a counter under a key.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PhiloxBlock Block(uint counter0, uint counter1, uint counter2, uint counter3, uint key0, uint key1)
    {
        for (int round = 0; round < 10; round++)
        {
            ulong product0 = (ulong)0xD2511F53 * counter0;
            ulong product1 = (ulong)0xCD9E8D57 * counter2;
            (counter0, counter1, counter2, counter3) =
                ((uint)(product1 >> 32) ^ counter1 ^ key0, (uint)product1, (uint)(product0 >> 32) ^ counter3 ^ key1, (uint)product0);
            key0 += 0x9E3779B9;
            key1 += 0xBB67AE85;
        }
        return new PhiloxBlock(counter0, counter1, counter2, counter3);
    }
}
