using Hadal.Tensors.Cpu;
using Hadal.Tensors.Cpu.Matrix;

namespace Hadal.Tensors.Tests.Cpu;

/// <summary>Operands, the definition of each product as plain loops (one chain of fused multiply-adds), and every way the CPU can be asked to run it.</summary>
static class MatrixCases
{
    /// <summary>Thread counts and instruction sets under test.</summary>
    public static IEnumerable<(int Threads, InstructionSet Set)> Ways()
    {
        foreach (InstructionSet set in InstructionSets.Available)
        {
            foreach (int threads in (int[])[1, 2, 3]) yield return (threads, set);
        }
    }

    public static void WithEvery(Action<CpuMatrix, string> check)
    {
        foreach ((int count, InstructionSet set) in Ways())
        {
            using var threads = new CpuThreads(count);
            using var matrix = new CpuMatrix(new CpuContext(threads, set));
            check(matrix, $"{set}, {count} threads");
        }
    }

    /// <summary>A matrix of random values whose rows lie <paramref name="padding"/> elements further apart than they are long.</summary>
    public static Tensor Matrix(Random random, DType type, int padding, params ReadOnlySpan<int> shape)
    {
        Span<int> padded = [.. shape];
        padded[^1] += padding;
        long elements = 1;
        foreach (int extent in padded) elements *= extent;
        Tensor tensor = Tensor.View(new HostMemory(elements * type.Size()), 0, type, padded);
        for (int row = 0; row < tensor.Rows; row++)
        {
            for (int column = 0; column < tensor.Columns; column++) Set(tensor, row, column, (random.NextSingle() - 0.5f) * 2);
        }

        return tensor.SliceColumns(0, shape[^1]);
    }

    public static unsafe void Set(Tensor tensor, int row, int column, float value)
    {
        switch (tensor.DType)
        {
            case DType.BF16: tensor.Row<ushort>(row)[column] = (ushort)(BitConverter.SingleToUInt32Bits(value) >> 16); break;
            case DType.F16: tensor.Row<Half>(row)[column] = (Half)value; break;
            default: tensor.Row<float>(row)[column] = value; break;
        }
    }

    public static float Get(Tensor tensor, int row, int column) => tensor.DType switch
    {
        DType.BF16 => BitConverter.UInt32BitsToSingle((uint)tensor.Row<ushort>(row)[column] << 16),
        DType.F16 => (float)tensor.Row<Half>(row)[column],
        _ => tensor.Row<float>(row)[column],
    };

    /// <summary>One chain over d ascending from <paramref name="start"/>: what every product must give bit for bit.</summary>
    public static float Chain(int depth, Func<int, float> a, Func<int, float> b, float start)
    {
        float sum = start;
        for (int d = 0; d < depth; d++) sum = MathF.FusedMultiplyAdd(a(d), b(d), sum);
        return sum;
    }

    /// <summary>The same product in double, with the sum of magnitudes that bounds its rounding error.</summary>
    public static (double Value, double Magnitude) Exact(int depth, Func<int, float> a, Func<int, float> b, float start)
    {
        double sum = start, magnitude = Math.Abs(start);
        for (int d = 0; d < depth; d++)
        {
            sum += (double)a(d) * b(d);
            magnitude += Math.Abs((double)a(d) * b(d));
        }

        return (sum, magnitude);
    }

    public static uint[] Bits(Tensor tensor)
    {
        var bits = new uint[tensor.Length];
        for (int i = 0; i < bits.Length; i++) bits[i] = BitConverter.SingleToUInt32Bits(tensor.Row<float>(i / tensor.Columns)[i % tensor.Columns]);
        return bits;
    }

    public static Tensor Clone(Tensor tensor)
    {
        Tensor copy = Matrix(new Random(0), tensor.DType, 0, tensor.Rows, tensor.Columns);
        for (int row = 0; row < tensor.Rows; row++) tensor.Row<float>(row).CopyTo(copy.Row<float>(row));
        return copy;
    }

    public static void Fill(Tensor tensor, float value)
    {
        for (int row = 0; row < tensor.Rows; row++) tensor.Row<float>(row).Fill(value);
    }

    public static Tensor Integers(params ReadOnlySpan<int> values)
    {
        Tensor tensor = Tensor.View(new HostMemory(4L * values.Length), 0, DType.I32, values.Length);
        values.CopyTo(tensor.AsSpan<int>());
        return tensor;
    }
}
