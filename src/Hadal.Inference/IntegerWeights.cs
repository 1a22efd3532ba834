using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Hadal.Numerics;

namespace Hadal.Inference;

/// <summary>
/// Likelihoods as integers: w = round(2⁴²·e^((x − largest)/temperature)), so that their sums do not depend on an order. A token 2⁻⁴³ times as likely as the likeliest one is not
/// there any more; what is lost together is below 2⁻²³ of a vocabulary of 2²⁰.
/// </summary>
static class IntegerWeights
{
    /// <summary>The likeliest token has 2 to this power.</summary>
    public const int Bits = 42;

    /// <summary>Of so many the sum fits into 63 bits.</summary>
    public const int MostEntries = 1 << 20;

    /// <summary>2⁵²: a number below it, added to it, is rounded to an integer in the low bits.</summary>
    public const double Offset = 4503599627370496;

    const double One = 1L << Bits;
    const double Least = -40; // its likelihood rounds to 0

    /// <summary>What differences of logits are multiplied with. Finite: 0 times it must be 0.</summary>
    public static double Inverse(double temperature) => Math.Min(1 / temperature, 1e300);

    /// <summary>The weight of one logit.</summary>
    public static long Of(float logit, float largest, double temperature)
    {
        if (float.IsNaN(logit) || float.IsNegativeInfinity(logit)) return 0;
        if (float.IsPositiveInfinity(largest)) return float.IsPositiveInfinity(logit) ? (long)One : 0;
        double x = ((double)logit - largest) * Inverse(temperature);
        return x < Least ? 0 : (long)Math.Round(ExactMath.Exp(x) * One, MidpointRounding.ToEven);
    }

    /// <summary>The weights of many logits, to the bits of <see cref="Of"/>; returns their sum.</summary>
    public static long Fill(ReadOnlySpan<float> logits, float largest, double temperature, Span<long> weights)
    {
        long sum = 0;
        if (float.IsInfinity(largest))
        {
            for (int v = 0; v < logits.Length; v++) sum += weights[v] = Of(logits[v], largest, temperature);
            return sum;
        }

        double inverse = Inverse(temperature);
        ref float from = ref MemoryMarshal.GetReference(logits);
        ref long to = ref MemoryMarshal.GetReference(weights);
        Vector512<long> sums = Vector512<long>.Zero;
        int i = 0;
        for (; i <= logits.Length - 16; i += 16)
        {
            (Vector512<double> first, Vector512<double> second) = Vector512.Widen(Vector512.LoadUnsafe(ref from, (nuint)i));
            Vector512<long> firstWeights = Eight(first, largest, inverse), secondWeights = Eight(second, largest, inverse);
            firstWeights.StoreUnsafe(ref to, (nuint)i);
            secondWeights.StoreUnsafe(ref to, (nuint)i + 8);
            sums += firstWeights + secondWeights;
        }

        sum = Vector512.Sum(sums);
        for (; i < logits.Length; i++) sum += weights[i] = Of(logits[i], largest, temperature);
        return sum;
    }

    /// <summary>The sum of the weights of many logits at temperature 1.</summary>
    public static long Sum(ReadOnlySpan<float> logits, float largest)
    {
        Span<long> part = stackalloc long[512];
        long sum = 0;
        for (; !logits.IsEmpty; logits = logits[Math.Min(part.Length, logits.Length)..]) sum += Fill(logits[..Math.Min(part.Length, logits.Length)], largest, 1, part);
        return sum;
    }

    /// <summary>What the nucleus must reach.</summary>
    public static long Goal(long total, double topP) => topP >= 1 ? total : Math.Clamp((long)Math.Ceiling(topP * total), Math.Min(1, total), total);

    /// <summary>
    /// When a token arrives in the race that decides: an exponential time −ln(1 − x), x the 52 upper bits of <paramref name="word"/>, over its weight. The first to arrive is each
    /// token with the probability of its weight; and of two alike distributions the same token mostly wins both races.
    /// </summary>
    public static double Finish(ulong word, long weight) => -ExactMath.Log(1 - ((word >> 12) * (1.0 / (1L << 52)))) / weight;

    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveInlining)]
    static Vector512<long> Eight(Vector512<double> logits, double largest, double inverse)
    {
        Vector512<double> least = Vector512.Create(Least);
        Vector512<double> x = (logits - Vector512.Create(largest)) * Vector512.Create(inverse);
        x = Vector512.ConditionalSelect(Vector512.GreaterThanOrEqual(x, least), x, least); // what is not a number, too
        Vector512<double> offset = Vector512.Create(Offset);
        return ((ExactMath.Exp(x) * Vector512.Create(One)) + offset).AsInt64() - offset.AsInt64();
    }
}
