using Hadal.Tensors.Cpu;
using Hadal.Tensors.Cpu.Matrix;
using Hadal.Tensors.Operations;
using static Hadal.Tensors.Tests.Cpu.MatrixCases;

namespace Hadal.Tensors.Tests.Cpu;

/// <summary>What the matrix products promise beside their values.</summary>
public sealed class MatrixContractTests
{
    [Fact]
    public void Nothing_is_allocated_after_the_first_call()
    {
        var random = new Random(1);
        const int m = 50, n = 70, k = 90, groups = 3;
        Tensor x = Matrix(random, DType.F32, 0, m, k), y = Matrix(random, DType.F32, 0, m, n), w = Matrix(random, DType.F32, 0, n, k);
        Tensor experts = Matrix(random, DType.F32, 0, groups, n, k), offsets = Integers(0, 20, 20, 50), dw = Matrix(random, DType.F32, 0, groups, n, k);
        Tensor heads = Matrix(random, DType.F32, 0, m, groups, k), headOutputs = Matrix(random, DType.F32, 0, m, groups, n);
        using var threads = new CpuThreads(2);
        using var matrix = new CpuMatrix(new CpuContext(threads, InstructionSets.Best));
        using PreparedWeight one = matrix.Prepare([w], ProductUses.Training);
        using PreparedWeight many = matrix.Prepare([experts.Select(0), experts.Select(1), experts.Select(2)], ProductUses.Training);
        void Step()
        {
            matrix.Refresh(one);
            matrix.Refresh(many);
            matrix.Forward(x, one, y);
            matrix.Forward(x.Slice(0, 1), one, y.Slice(0, 1));
            matrix.BackwardInput(y, one, x);
            matrix.BackwardWeight(y, x, w, accumulate: true);
            matrix.GroupedForward(x, offsets, many, y);
            matrix.GroupedBackwardInput(y, offsets, many, x);
            matrix.GroupedBackwardWeight(y, x, offsets, dw, accumulate: false);
            matrix.BatchedForward(heads, many, headOutputs);
            matrix.BatchedBackwardInput(headOutputs, many, heads);
        }

        for (int i = 0; i < 30; i++) Step();
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 10; i++) Step();
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    [Fact]
    public void Refresh_takes_the_new_values()
    {
        var random = new Random(2);
        Tensor x = Matrix(random, DType.F32, 0, 5, 40), w = Matrix(random, DType.F32, 0, 30, 40), y = Matrix(random, DType.F32, 0, 5, 30), fresh = Clone(y);
        using var threads = new CpuThreads(2);
        using var matrix = new CpuMatrix(new CpuContext(threads, InstructionSets.Best));
        using PreparedWeight weight = matrix.Prepare([w], ProductUses.Forward);
        Set(w, 3, 4, 100);
        matrix.Refresh(weight);
        matrix.Forward(x, weight, y);
        using PreparedWeight again = matrix.Prepare([w], ProductUses.Forward);
        matrix.Forward(x, again, fresh);
        Assert.Equal(Bits(fresh), Bits(y));
    }

    [Fact]
    public void A_contraction_longer_than_the_scratch_continues_its_chains()
    {
        var random = new Random(3);
        const int tokens = 20_000, n = 14, k = 33;
        Tensor dy = Matrix(random, DType.F32, 0, tokens, n), x = Matrix(random, DType.F32, 0, tokens, k), dw = Matrix(random, DType.F32, 0, n, k);
        using var threads = new CpuThreads(2);
        using var matrix = new CpuMatrix(new CpuContext(threads, InstructionSets.Best));
        matrix.BackwardWeight(dy, x, dw, accumulate: false);
        for (int i = 0; i < n; i++)
        {
            for (int j = 0; j < k; j++)
                Assert.Equal(Chain(tokens, t => Get(dy, t, i), t => Get(x, t, j), 0), Get(dw, i, j));
        }
    }

    /// <summary>Several chunks of rows and of columns in one product; spot checks against the chain.</summary>
    [Fact]
    public void Operands_larger_than_the_scratch_are_cut()
    {
        var random = new Random(4);
        const int tokens = 7000, n = 700, k = 650;
        Tensor dy = Matrix(random, DType.F32, 0, tokens, n), x = Matrix(random, DType.F32, 0, tokens, k), dw = Matrix(random, DType.F32, 0, n, k);
        using var threads = new CpuThreads(2);
        using var matrix = new CpuMatrix(new CpuContext(threads, InstructionSets.Best));
        matrix.BackwardWeight(dy, x, dw, accumulate: false);
        for (int spot = 0; spot < 300; spot++)
        {
            int i = random.Next(n), j = random.Next(k);
            Assert.Equal(Chain(tokens, t => Get(dy, t, i), t => Get(x, t, j), 0), Get(dw, i, j));
        }
    }

    [Fact]
    public void Callers_on_several_threads_take_turns()
    {
        var random = new Random(6);
        Tensor x = Matrix(random, DType.F32, 0, 20, 64), w = Matrix(random, DType.F32, 0, 64, 64), expected = Matrix(random, DType.F32, 0, 20, 64);
        using var threads = new CpuThreads(2);
        using var matrix = new CpuMatrix(new CpuContext(threads, InstructionSets.Best));
        using PreparedWeight weight = matrix.Prepare([w], ProductUses.Forward);
        matrix.Forward(x, weight, expected);
        uint[] bits = Bits(expected);
        int wrong = 0;
        var callers = new Thread[3];
        for (int c = 0; c < callers.Length; c++)
        {
            Tensor y = Clone(expected);
            callers[c] = new Thread(() =>
            {
                for (int repeat = 0; repeat < 200; repeat++)
                {
                    Fill(y, 0);
                    matrix.Forward(x, weight, y);
                    if (!bits.AsSpan().SequenceEqual(Bits(y))) Interlocked.Increment(ref wrong);
                }
            });
            callers[c].Start();
        }

        foreach (Thread caller in callers) caller.Join();
        Assert.Equal(0, wrong);
    }

    [Fact]
    public void Wrong_arguments_are_refused_with_what_was_expected()
    {
        var random = new Random(7);
        Tensor x = Matrix(random, DType.F32, 0, 4, 10), w = Matrix(random, DType.F32, 0, 6, 10), y = Matrix(random, DType.F32, 0, 4, 6);
        using var threads = new CpuThreads(1);
        using var matrix = new CpuMatrix(new CpuContext(threads, InstructionSets.Best));
        using PreparedWeight weight = matrix.Prepare([w], ProductUses.Forward);
        Assert.Contains("F32[4, 10]", Assert.Throws<ArgumentException>(() => matrix.Forward(x.SliceColumns(0, 9), weight, y)).Message, StringComparison.Ordinal);
        Assert.Contains("BackwardInput", Assert.Throws<InvalidOperationException>(() => matrix.BackwardInput(y, weight, x)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => matrix.Forward(Matrix(random, DType.BF16, 0, 4, 10), weight, y));
        Assert.Throws<ArgumentException>(() => matrix.Prepare([Integers(1, 2).Reshape(1, 2)], ProductUses.Forward));
        Assert.Contains("Group 0", Assert.Throws<ArgumentException>(() => matrix.GroupedForward(x, Integers(2, 1), weight, y)).Message, StringComparison.Ordinal);
        Assert.Contains("Group 0", Assert.Throws<ArgumentException>(() => matrix.GroupedForward(x, Integers(0, 5), weight, y)).Message, StringComparison.Ordinal);
        using var scalar = new CpuMatrix(new CpuContext(threads, InstructionSet.Scalar));
        if (InstructionSets.Best != InstructionSet.Scalar) Assert.Throws<ArgumentException>(() => scalar.Forward(x, weight, y));
    }
}
