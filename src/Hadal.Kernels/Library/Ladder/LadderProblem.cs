using System.Runtime.InteropServices;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Launch;
using Hadal.Numerics;
using BF16 = Hadal.Numerics.BF16;
using E4M3 = Hadal.Numerics.E4M3;

namespace Hadal.Kernels.Library.Ladder;

/// <summary>An argument of a ladder kernel before there is memory: a word, or a buffer of the problem as a pointer or as a tensor.</summary>
/// <param name="Buffer">Index of the buffer; −1 for a word.</param>
/// <param name="Word">The word.</param>
/// <param name="Rows">Rows of the tensor, 0 for a pointer.</param>
/// <param name="Columns">Columns of the tensor.</param>
/// <param name="RowStrideBytes">Bytes from row to row.</param>
/// <param name="Element">Element type of the tensor.</param>
public sealed record LadderArgument(int Buffer, uint Word = 0, long Rows = 0, long Columns = 0, long RowStrideBytes = 0, ElementType Element = ElementType.F32)
{
    /// <summary>The argument of a launch, once the buffers have addresses.</summary>
    public LaunchArgument Bind(IReadOnlyList<ulong> addresses) => Buffer < 0 ? Word
        : Rows == 0 ? addresses[Buffer]
        : new TensorDescription(addresses[Buffer], Element, Rows, Columns, RowStrideBytes);
}

/// <summary>
/// One launch of a ladder kernel with random operands: initial bytes of each buffer, arguments, the index of the buffer with the result, and what the definition
/// says of it. It knows no memory: the interpreter and a device run the same problem.
/// </summary>
public sealed record LadderProblem(Kernel Kernel, int Blocks, IReadOnlyList<byte[]> Buffers, IReadOnlyList<LadderArgument> Arguments, int Result, ElementType ResultElement, Lazy<double[]> Expected)
{
    /// <summary>Floating-point operations of the launch; 0 where bytes are what counts.</summary>
    public double Operations { get; init; }

    /// <summary>Bytes that must at least be read and written.</summary>
    public double Bytes { get; init; }

    /// <summary>The result's bytes as numbers.</summary>
    public double[] Decode(ReadOnlySpan<byte> result)
    {
        var values = new double[result.Length / (ResultElement == ElementType.F32 ? 4 : 2)];
        for (int i = 0; i < values.Length; i++)
            values[i] = ResultElement == ElementType.F32 ? MemoryMarshal.Cast<byte, float>(result)[i] : new BF16(MemoryMarshal.Cast<byte, ushort>(result)[i]).ToSingle();
        return values;
    }

    internal static LadderProblem Copy(int count, ulong seed)
    {
        float[] x = Numbers(seed, 0, count);
        return new(CopyKernel.Build(), CopyKernel.Blocks(count), [Bytes4(x), Poison(4L * count)], [new(0), new(1), new(-1, (uint)count)], 1, ElementType.F32, new(() => CopyKernel.Reference(x)))
        { Bytes = 8.0 * count };
    }

    internal static LadderProblem Add(int count, int multiprocessors, ulong seed)
    {
        float[] x = Numbers(seed, 0, count), y = Numbers(seed, 1, count);
        return new(AddKernel.Build(), AddKernel.Blocks(count, multiprocessors), [Bytes4(x), Bytes4(y), Poison(4L * count)], [new(0), new(1), new(2), new(-1, (uint)count)], 2, ElementType.F32, new(() => AddKernel.Reference(x, y)))
        { Bytes = 12.0 * count };
    }

    internal static LadderProblem Sum(int count, int multiprocessors, ulong seed)
    {
        float[] x = Numbers(seed, 0, count);
        int blocks = AddKernel.Blocks(count, multiprocessors);
        return new(SumKernel.Build(), blocks, [Bytes4(x), Poison(4L * blocks), new byte[4], Poison(4)], [new(0), new(1), new(2), new(3), new(-1, (uint)count)], 3, ElementType.F32, new(() => [SumKernel.Reference(x)]))
        { Bytes = 4.0 * count };
    }

    /// <summary>D = A·Bᵀ; operands as pointers, or as tensor maps.</summary>
    internal static LadderProblem Gemm(Kernel kernel, int blocks, MatrixShape shape, ElementType element, bool maps, ulong seed)
    {
        (byte[] a, float[] aValues) = Matrix(seed, 0, shape.M * shape.K, element);
        (byte[] b, float[] bValues) = Matrix(seed, 1, shape.N * shape.K, element);
        int bytes = element == ElementType.F32 ? 4 : 2;
        LadderArgument[] arguments = maps
            ? [new(0, 0, shape.M, shape.K, shape.RowBytes(element), element), new(1, 0, shape.N, shape.K, shape.RowBytes(element), element), new(2)]
            : [new(0), new(1), new(2)];
        return new(kernel, blocks, [a, b, Poison((long)bytes * shape.M * shape.N)], arguments, 2, element, new(() => LadderTile.Reference(shape, aValues, bValues)))
        {
            Operations = 2.0 * shape.M * shape.N * shape.K,
            Bytes = (double)bytes * ((double)shape.M * shape.K + (double)shape.N * shape.K + (double)shape.M * shape.N),
        };
    }

    internal static LadderProblem Fp8Gemm(MatrixShape shape, int multiprocessors, ulong seed)
    {
        int chunks = MatrixShape.Up(shape.K, 128), stride = MatrixShape.Up(shape.M, 4) * 4;
        (byte[] a, float[] aValues) = Matrix(seed, 0, shape.M * shape.K, ElementType.E4M3);
        (byte[] b, float[] bValues) = Matrix(seed, 1, shape.N * shape.K, ElementType.E4M3);
        float[] aScale = Numbers(seed, 2, chunks * stride), bScale = Numbers(seed, 3, MatrixShape.Up(shape.N, 128) * chunks);
        return new(
            PersistentFp8Gemm.Build(shape),
            PersistentFp8Gemm.Blocks(shape, multiprocessors),
            [a, b, Bytes4(aScale), Bytes4(bScale), Poison(2L * shape.M * shape.N)],
            [new(0, 0, shape.M, shape.K, shape.K, ElementType.E4M3), new(1, 0, shape.N, shape.K, shape.K, ElementType.E4M3), new(2, 0, chunks, shape.M, 4 * stride), new(3), new(4)],
            4,
            ElementType.BF16,
            new(() => LadderTile.Reference(shape, Scaled(aValues, (i, k) => aScale[k / 128 * stride + i]), Scaled(bValues, (j, k) => bScale[j / 128 * chunks + k / 128]))))
        {
            Operations = 2.0 * shape.M * shape.N * shape.K,
            Bytes = (double)shape.M * shape.K + (double)shape.N * shape.K + 2.0 * shape.M * shape.N,
        };

        float[] Scaled(float[] values, Func<int, int, float> scale)
        {
            var scaled = new float[values.Length];
            for (int i = 0; i < scaled.Length; i++) scaled[i] = values[i] * scale(i / shape.K, i % shape.K);
            return scaled;
        }
    }

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
                return (Bytes4(values), values);
        }
    }

    static byte[] Bytes4(float[] values) => MemoryMarshal.AsBytes(values.AsSpan()).ToArray();

    static byte[] Poison(long bytes)
    {
        var data = new byte[bytes];
        data.AsSpan().Fill(0xFF);
        return data;
    }
}
