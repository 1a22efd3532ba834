using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Hadal.Numerics;

namespace Hadal.Inference;

/// <summary>What chooses tokens from logits: <see cref="Sampler"/>, or its slow twin.</summary>
interface ISampler
{
    /// <summary>The token at a position; a pure function of its arguments.</summary>
    int Choose(ReadOnlySpan<float> logits, SamplingParameters parameters, ulong position);

    /// <summary>The distribution from which <see cref="Choose"/> draws: probabilities [vocabulary], those outside the nucleus 0.</summary>
    void Distribution(ReadOnlySpan<float> logits, SamplingParameters parameters, Span<double> probabilities);
}

/// <summary>
/// Chooses tokens from logits: <see cref="PlainSampler"/>, which defines the choice, in vectors and without sorting. Likelihoods are integers (<see cref="IntegerWeights"/>), so that
/// their sums are the same in any order. The nucleus is found by its least likelihood: bisection over powers of two, then inside one octave. Of the race, only numbers that
/// may win are computed: −ln(1 − x) is never below x. Holds its buffers; not thread safe.
/// </summary>
public sealed class Sampler : ISampler
{
    readonly long[] _weights, _octave;

    /// <summary>Takes buffers for logits of <paramref name="vocabulary"/> tokens.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Below 1 or above 2²⁰.</exception>
    public Sampler(int vocabulary)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(vocabulary, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(vocabulary, IntegerWeights.MostEntries);
        _weights = new long[vocabulary];
        _octave = new long[vocabulary];
    }

    /// <summary>The largest logit, lowest id on a tie; what is not a number counts as least; 0 where there is nothing above −∞.</summary>
    public static int Largest(ReadOnlySpan<float> logits) => LogitScan.Largest(logits);

    /// <inheritdoc/>
    public int Choose(ReadOnlySpan<float> logits, SamplingParameters parameters, ulong position)
    {
        Require(logits.Length);
        int largest = Largest(logits);
        if (parameters.Temperature == 0) return largest;
        if (Weigh(logits, largest, parameters) == 0) return largest;
        return Race(new CounterRandom(parameters.Seed, RandomPurpose.SamplingRace, checked((uint)position)), largest);
    }

    /// <inheritdoc/>
    public void Distribution(ReadOnlySpan<float> logits, SamplingParameters parameters, Span<double> probabilities)
    {
        Require(logits.Length);
        int largest = Largest(logits);
        probabilities.Clear();
        long kept = parameters.Temperature == 0 ? 0 : Weigh(logits, largest, parameters);
        if (kept == 0)
        {
            probabilities[largest] = 1;
            return;
        }

        for (int v = 0; v < _weights.Length; v++) probabilities[v] = _weights[v] / (double)kept;
    }

    void Require(int count)
    {
        if (count != _weights.Length) throw new ArgumentException($"{count} logits were given, expected {_weights.Length}.", "logits");
    }

    /// <summary>Weights of the nucleus, 0 outside; their sum, 0 where no logit is above −∞.</summary>
    long Weigh(ReadOnlySpan<float> logits, int largest, SamplingParameters parameters)
    {
        long total = IntegerWeights.Fill(logits, logits[largest], parameters.Temperature, _weights);
        long goal = IntegerWeights.Goal(total, parameters.TopP);
        return goal == total ? total : Trim(goal);
    }

    /// <summary>Keeps the largest weights until their sum reaches the goal, of equal ones those with the lowest ids; returns the sum.</summary>
    long Trim(long goal)
    {
        // 1. The octave of the least weight kept: the weights from 2^low on reach the goal, those from 2^(low + 1) on do not.
        int low = 0, high = IntegerWeights.Bits + 1;
        long above = 0;
        while (high - low > 1)
        {
            int middle = (low + high) / 2;
            long sum = LogitScan.SumAtLeast(_weights, 1L << middle);
            if (sum >= goal)
            {
                low = middle;
            }
            else
            {
                high = middle;
                above = sum;
            }
        }

        // 2. The least weight kept, among those of the octave.
        Span<long> octave = _octave.AsSpan(0, LogitScan.Between(_weights, 1L << low, 1L << high, _octave));
        long least = 1L << low, beyond = 1L << high, larger = above;
        while (beyond - least > 1)
        {
            long middle = least + ((beyond - least) / 2);
            long sum = above + LogitScan.SumAtLeast(octave, middle);
            if (sum >= goal)
            {
                least = middle;
            }
            else
            {
                beyond = middle;
                larger = sum;
            }
        }

        // 3. Of those that have it, as many as the goal needs.
        int needed = (int)((goal - larger + least - 1) / least);
        LogitScan.Keep(_weights, least, needed);
        return larger + (needed * least);
    }

    int Race(CounterRandom random, int largest)
    {
        ref long weights = ref MemoryMarshal.GetArrayDataReference(_weights);
        int winner = largest, at = 0;
        double best = IntegerWeights.Finish(random.UInt64((ulong)largest), _weights[largest]);
        Span<ulong> words = stackalloc ulong[16];
        ref ulong word = ref MemoryMarshal.GetReference(words);
        for (; at <= _weights.Length - 16; at += 16)
        {
            Vector512<long> first = Vector512.LoadUnsafe(ref weights, (nuint)at), second = Vector512.LoadUnsafe(ref weights, (nuint)at + 8);
            if ((first | second) == Vector512<long>.Zero) continue;
            random.Fill(words, (ulong)at);
            Vector512<double> bound = Vector512.Create(best * (1 + 1e-12));
            uint may = May(Vector512.LoadUnsafe(ref word), first, bound) | (May(Vector512.LoadUnsafe(ref word, 8), second, bound) << 8);
            for (; may != 0; may &= may - 1)
            {
                int lane = BitOperations.TrailingZeroCount(may);
                Enter(words[lane], at + lane, ref best, ref winner);
            }
        }

        for (; at < _weights.Length; at++)
            if (_weights[at] > 0) Enter(random.UInt64((ulong)at), at, ref best, ref winner);
        return winner;
    }

    // Whose x is not above bound·weight, of eight.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static uint May(Vector512<ulong> words, Vector512<long> weights, Vector512<double> bound)
    {
        Vector512<double> x = ((words >>> 12) | Vector512.Create(0x3FF0_0000_0000_0000UL)).AsDouble() - Vector512<double>.One;
        Vector512<double> offset = Vector512.Create(IntegerWeights.Offset);
        Vector512<double> weight = (weights | offset.AsInt64()).AsDouble() - offset;
        return (uint)Vector512.ExtractMostSignificantBits(Vector512.LessThanOrEqual(x, bound * weight) & Vector512.GreaterThan(weight, Vector512<double>.Zero));
    }

    void Enter(ulong word, int id, ref double best, ref int winner)
    {
        double finish = IntegerWeights.Finish(word, _weights[id]);
        if (finish > best || (finish == best && id >= winner)) return;
        best = finish;
        winner = id;
    }
}
