using Hadal.Tensors.Cpu;
using Hadal.Tensors.Cpu.Lanes;

namespace Hadal.Tensors.Tests.Cpu;

public sealed unsafe class LanesTests
{
    static readonly float[] Special =
        [0f, -0f, 1f, -1f, 0.5f, 3.4e38f, -3.4e38f, 1e-40f, -1e-45f, float.PositiveInfinity, float.NegativeInfinity, 1.00390625f, 1.01171875f, 16777217f, 2f, 7f];

    /// <summary>Every vector width gives bit for bit what the scalars give, on random and on special values.</summary>
    [Fact]
    public void Every_width_gives_the_bits_of_the_scalars()
    {
        foreach (InstructionSet set in InstructionSets.Available)
        {
            for (int seed = 0; seed < 200; seed++)
            {
                uint[] expected = Evaluate<LanesScalar>(seed);
                uint[] actual = set switch
                {
                    InstructionSet.Vector128 => Evaluate<Lanes128>(seed),
                    InstructionSet.Vector256 => Evaluate<Lanes256>(seed),
                    InstructionSet.Vector512 => Evaluate<Lanes512>(seed),
                    _ => Evaluate<LanesScalar>(seed),
                };
                Assert.Equal(expected, actual);
            }
        }
    }

    [Fact]
    public void The_sum_follows_the_documented_tree()
    {
        float[] values = Values(3, 0);
        float[] tree = [.. values];
        for (int half = 8; half > 0; half /= 2)
        {
            for (int i = 0; i < half; i++) tree[i] += tree[i + half];
        }

        fixed (float* p = values) Assert.Equal(tree[0], LanesScalar.Sum(LanesScalar.Load(p)));
    }

    static float[] Values(int seed, int stream)
    {
        var random = new Random((seed * 7) + stream);
        var values = new float[16];
        for (int i = 0; i < 16; i++)
        {
            values[i] = seed % 3 == 0 && random.Next(2) == 0
                ? Special[random.Next(Special.Length)]
                : (random.NextSingle() - 0.5f) * MathF.Pow(2, random.Next(-20, 20));
        }

        return values;
    }

    static uint[] Evaluate<TLanes>(int seed)
        where TLanes : struct, ILanes<TLanes>
    {
        var results = new List<uint>();
        float[] av = Values(seed, 1), bv = Values(seed, 2), cv = Values(seed, 3);
        float* buffer = stackalloc float[20];
        ushort* halves = stackalloc ushort[16];
        fixed (float* pa = av, pb = bv, pc = cv)
        {
            TLanes a = TLanes.Load(pa), b = TLanes.Load(pb), c = TLanes.Load(pc);
            ReadOnlySpan<TLanes> all =
            [
                TLanes.Zero, TLanes.Broadcast(pa[0]), TLanes.BroadcastBits(0x3F80_1234), a + b, a - b, a * b, a / b, TLanes.Fma(a, b, c),
                TLanes.FmaNegated(a, b, c), TLanes.Min(a, b), TLanes.Max(a, b), TLanes.Sqrt(TLanes.Abs(a)), TLanes.Abs(a), TLanes.LessThan(a, b),
                TLanes.EqualTo(a, TLanes.Max(a, b)), TLanes.Select(TLanes.LessThan(a, b), b, c), TLanes.AddBits(a, b), TLanes.SubtractBits(a, b),
                TLanes.AndBits(a, b), TLanes.OrBits(a, b), TLanes.XorBits(a, b), TLanes.ShiftLeftBits(a, 23), TLanes.ShiftRightBits(a, 9),
                TLanes.IntegerToFloat(a), TLanes.SwapPairs(a), TLanes.DuplicateEven(a), TLanes.DuplicateOdd(a),
            ];
            foreach (TLanes lanes in all)
            {
                lanes.Store(buffer);
                for (int i = 0; i < 16; i++) results.Add(Canonical(buffer[i]));
            }

            for (int count = 0; count <= 16; count++)
            {
                for (int i = 0; i < 20; i++) buffer[i] = -7;
                TLanes.LoadFirst(pa, count).Store(buffer);
                for (int i = 0; i < 20; i++) results.Add(Canonical(buffer[i]));
                for (int i = 0; i < 20; i++) buffer[i] = -7;
                a.StoreFirst(buffer, count);
                for (int i = 0; i < 20; i++) results.Add(Canonical(buffer[i]));
            }

            a.StoreBFloat16(halves);
            for (int i = 0; i < 16; i++) results.Add(halves[i]);
            TLanes.LoadBFloat16(halves).Store(buffer);
            for (int i = 0; i < 16; i++) results.Add(Canonical(buffer[i]));
            (a / TLanes.Zero).StoreBFloat16(halves);
            for (int i = 0; i < 16; i++) results.Add((halves[i] & 0x7FFF) > 0x7F80 ? 0x7FC0u : halves[i]);
            results.Add(Canonical(TLanes.Sum(a)));
            results.Add(Canonical(TLanes.Largest(a)));
        }

        return [.. results];
    }

    // IEEE leaves open which NaN an operation returns.
    static uint Canonical(float value) => float.IsNaN(value) ? 0x7FC0_0000u : BitConverter.SingleToUInt32Bits(value);
}
