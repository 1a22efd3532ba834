using System.Runtime.CompilerServices;

namespace Hadal.Numerics;

/// <summary>What random numbers are for: each purpose has its own numbers under the same seed. The values are part of every file that depends on them; never renumber.</summary>
public enum RandomPurpose : uint
{
    /// <summary>Initial parameters.</summary>
    Initialization = 1,
    /// <summary>Order of documents or rows.</summary>
    Shuffle = 2,
    /// <summary>Which documents become fill-in-the-middle, and where they are cut.</summary>
    FillInMiddle = 3,
    /// <summary>Choosing tokens while generating.</summary>
    Sampling = 4,
    /// <summary>Inputs of tests, benchmarks and conformance cases.</summary>
    TestData = 5,
    /// <summary>Held-out split of a corpus.</summary>
    Split = 6,
    /// <summary>Random splitting of merged punctuation and newline tokens.</summary>
    TokenSplit = 7,
    /// <summary>Generated text such as arithmetic.</summary>
    SyntheticText = 8,
    /// <summary>Rollouts and mini-batches of post-training.</summary>
    PostTraining = 9,
    /// <summary>Simulated faults, delays and load.</summary>
    Simulation = 10,
    /// <summary>Mutations made by fuzz tests.</summary>
    Fuzzing = 11,
    /// <summary>One number for each token of the vocabulary, which decides what is sampled; the stream is the position.</summary>
    SamplingRace = 12,
}

/// <summary>
/// Random numbers as a pure function of (seed, purpose, stream, index): Philox4x32-10 with the seed as key and the rest as counter. The same bits on every machine, for
/// any number of threads and any order of asking. Draws of different kinds (words, uniforms, normals, bounded integers) at one index are independent of each other.
/// </summary>
/// <remarks>
/// Counter words: index (64 bits, of the block that holds the draw), purpose with the kind of draw in its upper byte, stream.
/// <paramref name="stream"/> separates uses of one purpose: a tensor's number, an epoch, a request.
/// </remarks>
/// <param name="seed">The run's seed.</param>
/// <param name="purpose">What the numbers are for.</param>
/// <param name="stream">Which of several sequences of that purpose.</param>
public readonly partial struct CounterRandom(ulong seed, RandomPurpose purpose, uint stream = 0)
{
    enum Kind : uint
    {
        Bits32 = 0,
        Bits64 = 1u << 24,
        UniformSingle = 2u << 24,
        Uniform = 3u << 24,
        Normal = 4u << 24,
        Below = 5u << 24,
    }

    /// <summary>The run's seed.</summary>
    public ulong Seed { get; } = seed;

    /// <summary>What the numbers are for.</summary>
    public RandomPurpose Purpose { get; } = purpose;

    /// <summary>Which of several sequences of that purpose.</summary>
    public uint Stream { get; } = stream;

    /// <summary>32 random bits: word index mod 4 of block index / 4.</summary>
    public uint UInt32(ulong index) => Word(Block(index >> 2, Kind.Bits32), (int)(index & 3));

    /// <summary>64 random bits.</summary>
    public ulong UInt64(ulong index) => Half(Block(index >> 1, Kind.Bits64), (int)(index & 1));

    /// <summary>A multiple of 2^−53 in [0, 1), each equally likely.</summary>
    public double Uniform(ulong index) => (Half(Block(index >> 1, Kind.Uniform), (int)(index & 1)) >> 11) * TwoToMinus53;

    /// <summary>A multiple of 2^−24 in [0, 1), each equally likely.</summary>
    public float UniformSingle(ulong index) => ToUnitSingle(Word(Block(index >> 2, Kind.UniformSingle), (int)(index & 3)));

    /// <summary>An integer in [0, bound), by multiplication: the probabilities differ by less than 2^−64.</summary>
    public ulong Below(ulong index, ulong bound)
    {
        ArgumentOutOfRangeException.ThrowIfZero(bound);
        return Math.BigMul(Half(Block(index >> 1, Kind.Below), (int)(index & 1)), bound, out _);
    }

    /// <summary>An integer in [0, bound).</summary>
    public int Below(ulong index, int bound)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(bound);
        return (int)Below(index, (ulong)bound);
    }

    /// <summary>A standard normal value (Box–Muller on two 53-bit uniforms; |value| below 8.58). The same bits everywhere: see <see cref="ExactMath"/>.</summary>
    public double Normal(ulong index)
    {
        (double even, double odd) = NormalPair(index >> 1);
        return (index & 1) == 0 ? even : odd;
    }

    /// <summary>destination[i] = UniformSingle(firstIndex + i)·(high − low) + low.</summary>
    public void FillUniform(Span<float> destination, float low = 0, float high = 1, ulong firstIndex = 0)
    {
        float range = high - low;
        for (int i = 0; i < destination.Length;)
        {
            ulong index = firstIndex + (ulong)i;
            PhiloxBlock block = Block(index >> 2, Kind.UniformSingle);
            for (int word = (int)(index & 3); word < 4 && i < destination.Length; word++, i++) destination[i] = ToUnitSingle(Word(block, word)) * range + low;
        }
    }

    /// <summary>destination[i] = Uniform(firstIndex + i)·(high − low) + low.</summary>
    public void FillUniform(Span<double> destination, double low = 0, double high = 1, ulong firstIndex = 0)
    {
        double range = high - low;
        for (int i = 0; i < destination.Length; i++) destination[i] = Uniform(firstIndex + (ulong)i) * range + low;
    }

    /// <summary>destination[i] = (float)(Normal(firstIndex + i)·deviation).</summary>
    public void FillNormal(Span<float> destination, double deviation = 1, ulong firstIndex = 0)
    {
        int i = 0;
        if (destination.Length > 0 && (firstIndex & 1) == 1) destination[i++] = (float)(Normal(firstIndex) * deviation);
        for (; i < destination.Length; i += 2)
        {
            (double even, double odd) = NormalPair((firstIndex + (ulong)i) >> 1);
            destination[i] = (float)(even * deviation);
            if (i + 1 < destination.Length) destination[i + 1] = (float)(odd * deviation);
        }
    }

    /// <summary>destination[i] = Normal(firstIndex + i)·deviation.</summary>
    public void FillNormal(Span<double> destination, double deviation = 1, ulong firstIndex = 0)
    {
        for (int i = 0; i < destination.Length; i++) destination[i] = Normal(firstIndex + (ulong)i) * deviation;
    }

    /// <summary>destination[i] = UInt32(firstIndex + i).</summary>
    public void Fill(Span<uint> destination, ulong firstIndex = 0)
    {
        for (int i = 0; i < destination.Length;)
        {
            ulong index = firstIndex + (ulong)i;
            PhiloxBlock block = Block(index >> 2, Kind.Bits32);
            for (int word = (int)(index & 3); word < 4 && i < destination.Length; word++, i++) destination[i] = Word(block, word);
        }
    }

    /// <summary>A permutation of 0..count−1 (Fisher–Yates; step i uses draw i).</summary>
    public int[] Permutation(int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        int[] items = new int[count];
        for (int i = 0; i < count; i++) items[i] = i;
        Shuffle<int>(items);
        return items;
    }

    /// <summary>Shuffles in place (Fisher–Yates; step i uses draw i).</summary>
    public void Shuffle<T>(Span<T> items)
    {
        for (int i = items.Length - 1; i > 0; i--)
        {
            int j = Below((ulong)i, i + 1);
            (items[i], items[j]) = (items[j], items[i]);
        }
    }

    (double Even, double Odd) NormalPair(ulong pair)
    {
        PhiloxBlock block = Block(pair, Kind.Normal);
        double radiusUniform = ((Half(block, 0) >> 11) + 1) * TwoToMinus53; // in (0, 1]
        double turn = (Half(block, 1) >> 11) * TwoToMinus53;
        double radius = Math.Sqrt(-2 * ExactMath.Log(radiusUniform));
        (double sin, double cos) = ExactMath.SinCosTurns(turn);
        return (radius * cos, radius * sin);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    PhiloxBlock Block(ulong index, Kind kind) =>
        Philox4x32.Block((uint)index, (uint)(index >> 32), (uint)Purpose | (uint)kind, Stream, (uint)Seed, (uint)(Seed >> 32));

    static uint Word(PhiloxBlock block, int word) => word switch { 0 => block.Word0, 1 => block.Word1, 2 => block.Word2, _ => block.Word3 };

    static ulong Half(PhiloxBlock block, int half) =>
        half == 0 ? block.Word0 | ((ulong)block.Word1 << 32) : block.Word2 | ((ulong)block.Word3 << 32);

    static float ToUnitSingle(uint word) => (word >> 8) * (1f / (1 << 24));

    const double TwoToMinus53 = 1.0 / (1L << 53);
}
