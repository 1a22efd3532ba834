using System.Numerics;
using Hadal.Numerics;

namespace Hadal.Training.Data;

/// <summary>
/// A shuffle of 0..count−1 for every epoch without memory: a four-round Feistel network over the smallest even number of bits that holds the count, walked
/// until it lands inside. Any position of any epoch can be asked at any time, so the place in the data is one number.
/// </summary>
/// <param name="count">Items, at least 1.</param>
/// <param name="seed">The run's seed.</param>
public sealed class EpochPermutation(int count, ulong seed)
{
    readonly int _halfBits = Math.Max(1, (BitOperations.Log2((uint)Math.Max(count - 1, 1)) + 2) / 2);

    /// <summary>The item at a position of an epoch.</summary>
    public int At(long epoch, int position)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)position, (uint)count);
        var random = new CounterRandom(seed, RandomPurpose.Shuffle, (uint)epoch);
        uint value = (uint)position, mask = (1u << _halfBits) - 1;
        do
        {
            uint left = value >> _halfBits, right = value & mask;
            for (uint round = 0; round < 4; round++)
                (left, right) = (right, left ^ (random.UInt32(((ulong)round << 32) | right) & mask));
            value = (left << _halfBits) | right;
        }
        while (value >= (uint)count);
        return (int)value;
    }
}
