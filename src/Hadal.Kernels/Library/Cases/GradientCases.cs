using System.Globalization;
using System.Runtime.InteropServices;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Library.Gemm;
using Hadal.Numerics;

namespace Hadal.Kernels.Library.Cases;

/// <summary>Cases of <see cref="Fp8GradientKernel"/>.</summary>
public static class GradientCases
{
    /// <summary>Small shapes, completely checked.</summary>
    public static IEnumerable<KernelCase> Conformance()
    {
        var small = new Fp8GradientConfig { Warpgroups = 1, Waves = 1, TileN = 32, Stages = 2 };
        yield return Dense(64, 32, 128, small, CaseValues.Normal, 1);
        yield return Dense(64, 32, 256, small, CaseValues.Normal, 2);
        yield return Dense(100, 70, 400, small with { LateEpilogue = false }, CaseValues.Normal, 3);
        yield return Dense(130, 101, 144, small with { ScalesAhead = 2, Stages = 3 }, CaseValues.Normal, 4);
        yield return Dense(72, 40, 528, small with { ScaleOrder = ColumnScaleOrder.Interleaved }, CaseValues.Normal, 5);
        yield return Dense(72, 72, 528, small with { ScaleOrder = ColumnScaleOrder.Interleaved, ScalesAhead = 99, Cluster = 2 }, CaseValues.Normal, 6);
        yield return Dense(260, 130, 272, new Fp8GradientConfig { TileN = 64, Stages = 2 }, CaseValues.Normal, 7);
        yield return Dense(200, 40, 272, new Fp8GradientConfig { Warpgroups = 3, Waves = 1, TileN = 32, Stages = 2, ScalesAhead = 1 }, CaseValues.Normal, 8);
        yield return Dense(64, 32, 256, small, CaseValues.Outliers, 9);
        yield return Dense(64, 32, 256, small, CaseValues.AllEqual, 10);
        yield return Dense(64, 32, 256, small, CaseValues.Zeros, 11);
        yield return Dense(64, 32, 256, small, CaseValues.Tiny, 12);
        yield return Dense(96, 48, 256, small, CaseValues.NotFinite, 13);
        yield return Grouped(70, 40, [256, 0, 128, 384], small, 14);
        yield return Grouped(70, 72, [0, 128, 0, 0, 640], small with { Cluster = 2, ScaleOrder = ColumnScaleOrder.Interleaved }, 15);
        yield return Grouped(40, 40, [0, 0], small, 16);
        Fp8GradientConfig balanced = small with { Balanced = true };
        yield return Dense(200, 70, 128 * 11, balanced, CaseValues.Normal, 17);
        yield return Dense(300, 40, 128 * 5, balanced with { LateEpilogue = false, Cluster = 2 }, CaseValues.Normal, 18);
        yield return Dense(40, 30, 128 * 30, balanced, CaseValues.Normal, 19);
        yield return Dense(130, 30, 128 * 7, new Fp8GradientConfig { TileN = 32, Stages = 2, Balanced = true }, CaseValues.Normal, 20);
        yield return Grouped(130, 40, [512, 0, 128, 1024], balanced, 21);
        yield return Grouped(64, 32, [0, 128, 0, 640, 0], balanced, 22);
        yield return Grouped(64, 32, [0, 0], balanced, 23);
        yield return Dense(150, 76, 400, small with { TensorEpilogue = true }, CaseValues.Normal, 24);
        yield return Dense(200, 40, 272, new Fp8GradientConfig { TileN = 64, Stages = 2, TensorEpilogue = true, LateEpilogue = false }, CaseValues.Normal, 25);
        yield return Dense(300, 70 + 2, 128 * 5, balanced with { Cluster = 2, TensorEpilogue = true }, CaseValues.Normal, 26);
        yield return Dense(260, 64, 128 * 5, new Fp8GradientConfig { TileN = 64, Stages = 2, TensorEpilogue = true, Balanced = true }, CaseValues.Normal, 27);
        yield return Grouped(80, 40, [512, 0, 128, 1024], balanced with { TensorEpilogue = true }, 28);
        yield return Dense(200, 40, 272, new Fp8GradientConfig { TileN = 32, Stages = 2, KeepsScales = true }, CaseValues.Normal, 30);
        yield return Dense(100, 70, 400, small with { Promotion = GradientPromotion.ColumnFirst }, CaseValues.Outliers, 29);
        yield return Dense(200, 40, 272, new Fp8GradientConfig { TileN = 32, Stages = 2, Products = 2 }, CaseValues.Normal, 33);
        yield return Dense(260, 64, 128 * 5, new Fp8GradientConfig { TileN = 64, Stages = 2, TensorEpilogue = true, Balanced = true, KeepsScales = true, Products = 2, LateEpilogue = false, ScaleOrder = ColumnScaleOrder.Interleaved }, CaseValues.Normal, 34);
        var mixed = new Fp8GradientConfig { TileN = 32, Stages = 2, TensorEpilogue = true, MixedEpilogue = true, LateEpilogue = false, ScaleOrder = ColumnScaleOrder.Interleaved };
        yield return Dense(300, 40, 272, mixed, CaseValues.Normal, 36);
        yield return Grouped(144, 72, [512, 0, 128, 1024], mixed with { Balanced = true, KeepsScales = true }, 37);
        yield return Dense(400, 72, 128 * 7, mixed with { Balanced = true, LateEpilogue = true, TileN = 64 }, CaseValues.Outliers, 38);
        foreach (CaseValues values in Enum.GetValues<CaseValues>().Where(v => v != CaseValues.Normal))
        {
            yield return Grouped(48, 40, [128, 0, 256], balanced with { TensorEpilogue = true, ScaleOrder = ColumnScaleOrder.Interleaved }, 31, values: values);
            yield return Grouped(48, 40, [128, 0, 256], small, 32, values: values);
        }
    }

    /// <summary>Groups that do not begin at multiples of 128 tokens, which the kernel refuses.</summary>
    public static KernelCase Misaligned() => Grouped(64, 32, [128, 100, 156], new Fp8GradientConfig { Warpgroups = 1, Waves = 1, TileN = 32, Stages = 2, Balanced = true }, 35);

    /// <summary>The published shapes M×N×K, with the chosen configuration and its rivals; four experts.</summary>
    public static IEnumerable<KernelCase> Benchmarks()
    {
        foreach ((int m, int n, int k) in ((int, int, int)[])[(7168, 4096, 4096), (2048, 7168, 4096), (16384, 7168, 4096)])
        {
            var data = new GradientData(new GradientShape(m, n), [k], CaseValues.Normal, 1);
            foreach (Fp8GradientConfig config in Rivals()) yield return Dense(data, config, samples: 2048);
        }

        var experts = new GradientShape(7168, 2048, GradientGrouping.AlongK, 4);
        yield return Grouped(experts.M, experts.N, [3584, 4608, 4224, 3968], GemmChoice.ForGradient(experts), 1, samples: 2048);
    }

    /// <summary>What parts of the kernel cost: the same shape with a part left out. Results are not compared.</summary>
    public static IEnumerable<KernelCase> Diagnostics()
    {
        var data = new GradientData(new GradientShape(7168, 4096), [4096], CaseValues.Normal, 1);
        var whole = new Fp8GradientConfig { Stages = 3, ScaleOrder = ColumnScaleOrder.Interleaved, TensorEpilogue = true };
        foreach (GradientOmission omission in Enum.GetValues<GradientOmission>())
            yield return Dense(data, whole with { Omits = omission }, samples: 1) with { Check = _ => new CaseResult(true, 0, 0, "not compared") };
    }

    static IEnumerable<Fp8GradientConfig> Rivals()
    {
        Fp8GradientConfig boxes = GemmChoice.ForGradient(new GradientShape(4096, 4096));
        yield return boxes;
        yield return boxes with { MixedEpilogue = true };
        yield return boxes with { MixedEpilogue = true, KeepsScales = false, LateEpilogue = true };
        yield return boxes with { KeepsScales = false, LateEpilogue = true };
        yield return boxes with { TileN = 96, Products = 2 };
    }

    /// <summary>One dense product. With <paramref name="samples"/> only so many random elements are compared, and all are looked at for what was not written.</summary>
    public static KernelCase Dense(int m, int n, int k, Fp8GradientConfig config, CaseValues values, ulong seed, int samples = 0) =>
        Dense(new GradientData(new GradientShape(m, n), [k], values, seed), config, samples);

    static KernelCase Dense(GradientData data, Fp8GradientConfig config, int samples) => new GradientProblem(data, config).Case(
        string.Create(CultureInfo.InvariantCulture, $"fp8_gradient {data.Shape.M}x{data.Shape.N}x{data.Tokens[0]} {data.Values} {config}"), samples);

    /// <summary>One product for each group of tokens (multiples of 128), in operands of as many tokens as the groups have, or of <paramref name="capacity"/>.</summary>
    public static KernelCase Grouped(int m, int n, int[] tokens, Fp8GradientConfig config, ulong seed, int samples = 0, CaseValues values = CaseValues.Normal, int capacity = 0)
    {
        var data = new GradientData(new GradientShape(m, n, GradientGrouping.AlongK, tokens.Length), tokens, values, seed, capacity);
        return new GradientProblem(data, config).Case(string.Create(CultureInfo.InvariantCulture, $"fp8_gradient_grouped {m}x{n}x({string.Join('+', tokens)}) {values} {config}"), samples);
    }
}

/// <summary>Operands of a weight gradient, made when first asked for and then kept.</summary>
sealed class GradientData
{
    readonly Lazy<(byte[] Codes, float[] Scales)> _a, _b;
    readonly Lazy<float[]> _before;

    public GradientData(GradientShape shape, int[] tokens, CaseValues values, ulong seed, int capacity = 0)
    {
        (Shape, Tokens, Values, Seed) = (shape, tokens, values, seed);
        K = Math.Max(tokens.Sum(), Math.Max(capacity, 16));
        (AStride, BStride) = ((shape.M + 3) / 4 * 4, (shape.N + 15) / 16 * 16);
        _a = new(() => CaseData.Quantize(CaseData.Matrix(shape.M, K, values, seed), shape.M, K, AStride));
        _b = new(() => CaseData.Quantize(CaseData.Matrix(shape.N, K, CaseValues.Normal, seed + 1000), shape.N, K, BStride));
        _before = new(() => CaseData.Matrix((long)shape.Groups * shape.M, shape.N, CaseValues.Normal, seed + 2000));
    }

    public GradientShape Shape { get; }

    public int[] Tokens { get; }

    public CaseValues Values { get; }

    public ulong Seed { get; }

    public int K { get; }

    public int AStride { get; }

    public int BStride { get; }

    public (byte[] Codes, float[] Scales) A => _a.Value;

    public (byte[] Codes, float[] Scales) B => _b.Value;

    public float[] Before => _before.Value;
}

/// <summary>A weight gradient with a configuration, and its definition in double.</summary>
sealed class GradientProblem
{
    /// <summary>Enough for 1,024 blocks of three warpgroups.</summary>
    const int FlagWords = 12 * 1024;

    readonly GradientData _data;
    readonly GradientShape _shape;
    readonly Fp8GradientConfig _config;
    readonly int[] _tokens;
    readonly int _k, _chunks, _aStride, _bStride;

    public GradientProblem(GradientData data, Fp8GradientConfig config)
    {
        (_data, _shape, _config, _tokens) = (data, data.Shape, config, data.Tokens);
        (_k, _aStride, _bStride) = (data.K, data.AStride, data.BStride);
        _chunks = (_k + 127) / 128;
    }

    public KernelCase Case(string name, int samples)
    {
        bool dense = _shape.Grouping == GradientGrouping.Dense;
        long elements = (long)_shape.Groups * _shape.M * _shape.N;
        double operandBytes = (double)(_shape.M + _shape.N) * (_k + 4 * _chunks);
        CaseArgument.Matrix a = new("a", ElementType.E4M3, _shape.M, _k, _k), b = new("b", ElementType.E4M3, _shape.N, _k, _k);
        CaseArgument.Matrix aScale = new("a_scale", ElementType.F32, _chunks, _shape.M, 4L * _aStride);
        CaseArgument.Matrix bScale = new("b_scale", ElementType.F32, _chunks, _config.ScaleOrder == ColumnScaleOrder.Interleaved ? _bStride : _shape.N, 4L * _bStride);
        return new KernelCase
        {
            Name = name,
            Build = () => Fp8GradientKernel.Build(_shape, _config),
            Blocks = multiprocessors => Math.Max(multiprocessors / _config.Cluster, 1) * _config.Cluster,
            Buffers =
            [
                new("a", (long)_shape.M * _k, () => _data.A.Codes),
                new("b", (long)_shape.N * _k, () => _data.B.Codes),
                CaseBuffer.Of("a_scale", (long)_chunks * _aStride, () => _data.A.Scales),
                CaseBuffer.Of("b_scale", (long)_chunks * _bStride, PlacedScales),
                CaseBuffer.Of("d", elements, () => _data.Before),
                CaseBuffer.Of("offsets", _tokens.Length + 1, Offsets),
                CaseBuffer.Of("flags", FlagWords, () => new uint[FlagWords]),
            ],
            Arguments =
            [
                a, b, aScale, bScale,
                _config.TensorEpilogue ? new CaseArgument.Matrix("d", ElementType.F32, (long)_shape.Groups * _shape.M, _shape.N, 4L * _shape.N) : new CaseArgument.Address("d"),
                .. _config.MixedEpilogue ? (CaseArgument[])[new CaseArgument.Address("d")] : [],
                dense ? new CaseArgument.Word((uint)_k) : new CaseArgument.Address("offsets"),
                .. _config.Balanced ? (CaseArgument[])[new CaseArgument.Address("flags")] : [],
            ],
            Check = read => read("flags").AsSpan().ContainsAnyExcept((byte)0)
                ? new CaseResult(false, 0, 0, "A flag was left set: a piece of a tile was not waited for.")
                : Compare(MemoryMarshal.Cast<byte, float>(read("d")), samples),
            Operations = 2.0 * _shape.M * _shape.N * _tokens.Sum(),
            Bytes = operandBytes + 8.0 * elements,
            Accumulates = true,
        };
    }

    uint[] Offsets()
    {
        var offsets = new uint[_tokens.Length + 1];
        for (int g = 0; g < _tokens.Length; g++) offsets[g + 1] = offsets[g] + (uint)_tokens[g];
        return offsets;
    }

    float[] PlacedScales()
    {
        var placed = new float[_chunks * _bStride];
        for (int chunk = 0; chunk < _chunks; chunk++)
            for (int n = 0; n < _bStride; n++) placed[chunk * _bStride + GradientScales.Place(_config.ScaleOrder, n)] = _data.B.Scales[chunk * _bStride + n];
        return placed;
    }

    CaseResult Compare(ReadOnlySpan<float> d, int samples)
    {
        // The tensor cores keep 13 bits below the largest of 32 products: at most 32·2^−13 of the sum of magnitudes.
        const double Tolerance = 32.0 / 8192;
        long elements = d.Length;
        double worst = 0;
        var random = new CounterRandom(_data.Seed, RandomPurpose.TestData, 7);
        for (long i = 0; i < (samples == 0 ? elements : samples); i++)
        {
            long index = samples == 0 ? i : (long)random.Below((ulong)i, (ulong)elements);
            int column = (int)(index % _shape.N);
            long row = index / _shape.N;
            int group = (int)(row / _shape.M);
            (double expected, double magnitude) = Element((int)(row % _shape.M), column, group, _data.Before[index]);
            float got = d[(int)index];
            bool right = double.IsNaN(expected) ? float.IsNaN(got) : Math.Abs(got - expected) <= Tolerance * magnitude;
            if (!right)
                return new CaseResult(false, Math.Abs(got - expected) / magnitude, Tolerance, string.Create(CultureInfo.InvariantCulture, $"D[{group}][{row % _shape.M}, {column}] = {got}, the reference is {expected}."));
            if (!double.IsNaN(expected) && magnitude > 0) worst = Math.Max(worst, Math.Abs(got - expected) / magnitude);
        }

        return new CaseResult(true, worst, Tolerance, "");
    }

    (double Sum, double Magnitude) Element(int row, int column, int group, float before)
    {
        int first = 0;
        for (int g = 0; g < group; g++) first += _tokens[g];
        (byte[] aCodes, float[] aScales) = _data.A;
        (byte[] bCodes, float[] bScales) = _data.B;
        double sum = before, magnitude = Math.Abs(before);
        for (int x = first; x < first + _tokens[group]; x++)
        {
            double term = (double)new E4M3(aCodes[(long)row * _k + x]).ToSingle() * new E4M3(bCodes[(long)column * _k + x]).ToSingle()
                * ((double)aScales[(long)(x / 128) * _aStride + row] * bScales[(long)(x / 128) * _bStride + column]);
            sum += term;
            magnitude += Math.Abs(term);
        }

        return (sum, magnitude);
    }
}
