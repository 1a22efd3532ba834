using System.Numerics;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Hadal.Inference;

/// <summary>Passes over a vocabulary, in vectors.</summary>
static class LogitScan
{
    /// <summary>The largest number, lowest index on a tie; what is not a number counts as least; 0 where there is nothing above −∞.</summary>
    public static int Largest(ReadOnlySpan<float> logits)
    {
        ref float from = ref MemoryMarshal.GetReference(logits);
        Vector512<float> lanes = Vector512.Create(float.NegativeInfinity);
        int i = 0;
        for (; i <= logits.Length - 16; i += 16)
        {
            Vector512<float> x = Vector512.LoadUnsafe(ref from, (nuint)i);
            lanes = Vector512.ConditionalSelect(Vector512.GreaterThan(x, lanes), x, lanes); // false for what is not a number
        }

        float largest = float.NegativeInfinity;
        for (int lane = 0; lane < 16; lane++)
            if (lanes[lane] > largest) largest = lanes[lane];
        for (; i < logits.Length; i++)
            if (logits[i] > largest) largest = logits[i];
        if (float.IsNegativeInfinity(largest)) return 0;

        Vector512<float> sought = Vector512.Create(largest);
        for (i = 0; i <= logits.Length - 16; i += 16)
        {
            ulong equal = Vector512.ExtractMostSignificantBits(Vector512.Equals(Vector512.LoadUnsafe(ref from, (nuint)i), sought));
            if (equal != 0) return i + BitOperations.TrailingZeroCount(equal);
        }

        while (logits[i] != largest) i++;
        return i;
    }

    /// <summary>Index of the first value that is infinite or not a number; −1 for none.</summary>
    public static int NotFinite(ReadOnlySpan<float> logits)
    {
        ref float from = ref MemoryMarshal.GetReference(logits);
        Vector512<float> zero = Vector512<float>.Zero;
        int i = 0;
        for (; i <= logits.Length - 16; i += 16)
        {
            Vector512<float> x = Vector512.LoadUnsafe(ref from, (nuint)i);
            if ((x - x) != zero) break;
        }

        for (; i < logits.Length; i++)
            if (!float.IsFinite(logits[i])) return i;
        return -1;
    }

    /// <summary>Σ of the weights that are at least <paramref name="bound"/>.</summary>
    public static long SumAtLeast(ReadOnlySpan<long> weights, long bound)
    {
        ref long from = ref MemoryMarshal.GetReference(weights);
        Vector512<long> first = Vector512<long>.Zero, second = first, bounds = Vector512.Create(bound);
        int i = 0;
        for (; i <= weights.Length - 16; i += 16)
        {
            Vector512<long> x = Vector512.LoadUnsafe(ref from, (nuint)i), y = Vector512.LoadUnsafe(ref from, (nuint)i + 8);
            first += x & Vector512.GreaterThanOrEqual(x, bounds);
            second += y & Vector512.GreaterThanOrEqual(y, bounds);
        }

        long sum = Vector512.Sum(first + second);
        for (; i < weights.Length; i++)
            if (weights[i] >= bound) sum += weights[i];
        return sum;
    }

    /// <summary>Copies the weights from <paramref name="least"/> up to but not including <paramref name="beyond"/>, in order; returns how many.</summary>
    public static int Between(ReadOnlySpan<long> weights, long least, long beyond, Span<long> found)
    {
        ref long from = ref MemoryMarshal.GetReference(weights);
        Vector512<long> low = Vector512.Create(least), high = Vector512.Create(beyond);
        int i = 0, count = 0;
        for (; i <= weights.Length - 8; i += 8)
        {
            Vector512<long> x = Vector512.LoadUnsafe(ref from, (nuint)i);
            ulong inside = Vector512.ExtractMostSignificantBits(Vector512.GreaterThanOrEqual(x, low) & Vector512.LessThan(x, high));
            for (; inside != 0; inside &= inside - 1) found[count++] = weights[i + BitOperations.TrailingZeroCount(inside)];
        }

        for (; i < weights.Length; i++)
            if (weights[i] >= least && weights[i] < beyond) found[count++] = weights[i];
        return count;
    }

    /// <summary>Puts 0 in the place of all weights below <paramref name="least"/>, and of those equal to it after the first <paramref name="equals"/>.</summary>
    public static void Keep(Span<long> weights, long least, int equals)
    {
        ref long from = ref MemoryMarshal.GetReference(weights);
        Vector512<long> bound = Vector512.Create(least);
        int i = 0;
        for (; i <= weights.Length - 8; i += 8)
        {
            Vector512<long> x = Vector512.LoadUnsafe(ref from, (nuint)i);
            (x & Vector512.GreaterThanOrEqual(x, bound)).StoreUnsafe(ref from, (nuint)i);
            ulong same = Vector512.ExtractMostSignificantBits(Vector512.Equals(x, bound));
            for (; same != 0; same &= same - 1)
                if (--equals < 0) weights[i + BitOperations.TrailingZeroCount(same)] = 0;
        }

        for (; i < weights.Length; i++)
            if (weights[i] < least || (weights[i] == least && --equals < 0)) weights[i] = 0;
    }
}
