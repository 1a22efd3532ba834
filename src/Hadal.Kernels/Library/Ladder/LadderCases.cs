using System.Runtime.InteropServices;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Library.Cases;
using Hadal.Numerics;
using BF16 = Hadal.Numerics.BF16;
using E4M3 = Hadal.Numerics.E4M3;

namespace Hadal.Kernels.Library.Ladder;

/// <summary>Cases of the ladder's kernels: random operands, arguments, and the comparison with the definition.</summary>
static class LadderCases
{
    // Beyond this many terms the definition is compared at a sample of the elements.
    const double MostTerms = 1 << 27;
    const int Samples = 4096;

    public static KernelCase Copy(string name, int count, ulong seed) => new()
    {
        Name = name,
        Build = CopyKernel.Build,
        Blocks = _ => CopyKernel.Blocks(count),
        Buffers = [CaseBuffer.Of("x", count, () => Numbers(seed, 0, count)), new("y", 4L * count)],
        Arguments = [new CaseArgument.Address("x"), new CaseArgument.Address("y"), new CaseArgument.Word((uint)count)],
        Check = read =>
        {
            float[] x = Numbers(seed, 0, count), y = Floats(read("y"));
            return Compare(count, 0, i => CopyKernel.Reference(x[i]), i => y[i], seed);
        },
        Bytes = 8.0 * count,
    };

    public static KernelCase Add(string name, int count, ulong seed) => new()
    {
        Name = name,
        Build = AddKernel.Build,
        Blocks = processors => AddKernel.Blocks(count, processors),
        Buffers = [CaseBuffer.Of("x", count, () => Numbers(seed, 0, count)), CaseBuffer.Of("y", count, () => Numbers(seed, 1, count)), new("z", 4L * count)],
        Arguments = [new CaseArgument.Address("x"), new CaseArgument.Address("y"), new CaseArgument.Address("z"), new CaseArgument.Word((uint)count)],
        Check = read =>
        {
            float[] x = Numbers(seed, 0, count), y = Numbers(seed, 1, count), z = Floats(read("z"));
            return Compare(count, 0, i => AddKernel.Reference(x[i], y[i]), i => z[i], seed);
        },
        Bytes = 12.0 * count,
    };

    public static KernelCase Sum(string name, int count, ulong seed) => new()
    {
        Name = name,
        Build = SumKernel.Build,
        Blocks = processors => AddKernel.Blocks(count, processors),
        Buffers =
        [
            CaseBuffer.Of("x", count, () => Numbers(seed, 0, count)), new("partial", 4L * MatrixShape.Up(count, 1024)), CaseBuffer.Of("counter", 1, () => new uint[1]), new("sum", 4),
        ],
        Arguments = [new CaseArgument.Address("x"), new CaseArgument.Address("partial"), new CaseArgument.Address("counter"), new CaseArgument.Address("sum"), new CaseArgument.Word((uint)count)],
        Check = read =>
        {
            float sum = Floats(read("sum"))[0];
            if (read("counter").Any(b => b != 0)) return new CaseResult(false, 0, 0, "the counter is not 0 after the run");
            return Compare(1, 1e-5, _ => SumKernel.Reference(Numbers(seed, 0, count)), _ => sum, seed);
        },
        Bytes = 4.0 * count,
    };

    /// <summary>D = A·Bᵀ of one element type (the result has it too); operands as pointers, or as tensor maps.</summary>
    public static KernelCase Gemm(string name, Func<MatrixShape, Kernel> build, Func<MatrixShape, int, int> blocks, MatrixShape shape, ElementType element, bool maps, ulong seed)
    {
        int bytes = Names.BytesOf(element);
        return new()
        {
            Name = name,
            Build = () => build(shape),
            Blocks = processors => blocks(shape, processors),
            Buffers = [Operand("a", 0, shape.M), Operand("b", 1, shape.N), new("d", (long)bytes * shape.M * shape.N)],
            Arguments = maps ? [Map("a", shape.M, shape.K, element), Map("b", shape.N, shape.K, element), new CaseArgument.Address("d")]
                : [new CaseArgument.Address("a"), new CaseArgument.Address("b"), new CaseArgument.Address("d")],
            Check = read => CompareProducts(shape, element, Matrix(seed, 0, shape.M * shape.K, element).Values, Matrix(seed, 1, shape.N * shape.K, element).Values, read("d"), seed),
            Operations = 2.0 * shape.M * shape.N * shape.K,
            Bytes = (double)bytes * ((double)shape.M * shape.K + (double)shape.N * shape.K + (double)shape.M * shape.N),
        };

        CaseBuffer Operand(string operand, uint stream, int rows) =>
            new(operand, (long)bytes * rows * shape.K, () => Matrix(seed, stream, rows * shape.K, element).Bytes);
    }

    public static KernelCase Fp8Gemm(string name, MatrixShape shape, ulong seed)
    {
        int chunks = MatrixShape.Up(shape.K, 128), stride = MatrixShape.Up(shape.M, 4) * 4, blocksOfN = MatrixShape.Up(shape.N, 128);
        return new()
        {
            Name = name,
            Build = () => PersistentFp8Gemm.Build(shape),
            Blocks = processors => PersistentFp8Gemm.Blocks(shape, processors),
            Buffers =
            [
                new("a", (long)shape.M * shape.K, () => Matrix(seed, 0, shape.M * shape.K, ElementType.E4M3).Bytes),
                new("b", (long)shape.N * shape.K, () => Matrix(seed, 1, shape.N * shape.K, ElementType.E4M3).Bytes),
                CaseBuffer.Of("a_scale", chunks * stride, () => Numbers(seed, 2, chunks * stride)),
                CaseBuffer.Of("b_scale", blocksOfN * chunks, () => Numbers(seed, 3, blocksOfN * chunks)),
                new("d", 2L * shape.M * shape.N),
            ],
            Arguments =
            [
                Map("a", shape.M, shape.K, ElementType.E4M3), Map("b", shape.N, shape.K, ElementType.E4M3), new CaseArgument.Matrix("a_scale", ElementType.F32, chunks, shape.M, 4 * stride),
                new CaseArgument.Address("b_scale"), new CaseArgument.Address("d"),
            ],
            Check = read =>
            {
                float[] a = Matrix(seed, 0, shape.M * shape.K, ElementType.E4M3).Values, b = Matrix(seed, 1, shape.N * shape.K, ElementType.E4M3).Values;
                float[] aScale = Numbers(seed, 2, chunks * stride), bScale = Numbers(seed, 3, blocksOfN * chunks);
                for (int i = 0; i < a.Length; i++) a[i] *= aScale[i % shape.K / 128 * stride + i / shape.K];
                for (int i = 0; i < b.Length; i++) b[i] *= bScale[i / shape.K / 128 * chunks + i % shape.K / 128];
                return CompareProducts(shape, ElementType.E4M3, a, b, read("d"), seed);
            },
            Operations = 2.0 * shape.M * shape.N * shape.K,
            Bytes = (double)shape.M * shape.K + (double)shape.N * shape.K + 2.0 * shape.M * shape.N + 4.0 * (chunks * stride + blocksOfN * chunks),
        };
    }

    static CaseArgument Map(string buffer, int rows, int columns, ElementType element) => new CaseArgument.Matrix(buffer, element, rows, columns, (long)columns * Names.BytesOf(element));

    /// <summary>
    /// An element may differ from the definition by the rounding to its type and by a share of Σ|a·b|: 2e-6 for float32 sums; for E4M3 operands 2⁻¹², since the
    /// tensor core keeps fewer bits of each instruction's sum.
    /// </summary>
    static CaseResult CompareProducts(MatrixShape shape, ElementType element, float[] a, float[] b, byte[] d, ulong seed)
    {
        bool single = element == ElementType.F32;
        double rounding = single ? 6e-8 : 1.0 / 256, accumulation = element == ElementType.E4M3 ? 1.0 / 4096 : 2e-6;
        int count = shape.M * shape.N;
        double worst = 0;
        foreach (int index in Indices(count, shape.K, seed))
        {
            (int i, int j) = (index / shape.N, index % shape.N);
            double got = single ? MemoryMarshal.Cast<byte, float>(d)[index] : new BF16(MemoryMarshal.Cast<byte, ushort>(d)[index]).ToSingle(), magnitude = 0;
            double expected = LadderTile.Reference(shape, a, b, i, j);
            for (int k = 0; k < shape.K; k++) magnitude += Math.Abs((double)a[i * shape.K + k] * b[j * shape.K + k]);
            double error = Math.Abs(got - expected) / (rounding * Math.Abs(expected) + accumulation * magnitude + 1e-30);
            if (!(error <= 1)) return new CaseResult(false, error, 1, $"D[{i}, {j}] = {got}, the definition says {expected}");
            worst = Math.Max(worst, error);
        }

        return new CaseResult(true, worst, 1, "");
    }

    static CaseResult Compare(int count, double tolerance, Func<int, double> expected, Func<int, double> got, ulong seed)
    {
        double worst = 0;
        foreach (int i in Indices(count, 1, seed))
        {
            double error = Math.Abs(got(i) - expected(i)) / Math.Abs(expected(i));
            if (!(error <= tolerance)) return new CaseResult(false, error, tolerance, $"element {i} = {got(i)}, the definition says {expected(i)}");
            worst = Math.Max(worst, error);
        }

        return new CaseResult(true, worst, tolerance, "");
    }

    static IEnumerable<int> Indices(int count, int terms, ulong seed)
    {
        if ((double)count * terms <= MostTerms) return Enumerable.Range(0, count);
        var random = new CounterRandom(seed, RandomPurpose.TestData, 9);
        return Enumerable.Range(0, Samples).Select(i => random.Below((ulong)i, count)).Append(0).Append(count - 1);
    }

    static float[] Floats(byte[] bytes) => MemoryMarshal.Cast<byte, float>(bytes).ToArray();

    static float[] Numbers(ulong seed, uint stream, int count)
    {
        var values = new float[count];
        new CounterRandom(seed, RandomPurpose.TestData, stream).FillUniform(values, 0.5f, 1.5f);
        return values;
    }

    static (byte[] Bytes, float[] Values) Matrix(ulong seed, uint stream, int count, ElementType element)
    {
        var values = new float[count];
        new CounterRandom(seed, RandomPurpose.TestData, stream).FillNormal(values);
        switch (element)
        {
            case ElementType.BF16:
            {
                var codes = new ushort[count];
                for (int i = 0; i < count; i++) values[i] = new BF16(codes[i] = BF16.FromSingle(values[i]).Bits).ToSingle();
                return (MemoryMarshal.AsBytes(codes.AsSpan()).ToArray(), values);
            }

            case ElementType.E4M3:
            {
                var codes = new byte[count];
                for (int i = 0; i < count; i++) values[i] = new E4M3(codes[i] = E4M3.FromSingle(64 * values[i]).Bits).ToSingle();
                return (codes, values);
            }

            default:
                return (MemoryMarshal.AsBytes(values.AsSpan()).ToArray(), values);
        }
    }
}
