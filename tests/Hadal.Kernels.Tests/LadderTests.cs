using Hadal.Kernels.Interpreter;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Library.Ladder;

namespace Hadal.Kernels.Tests;

/// <summary>The ladder: every kernel against its definition on shapes with tails, in the interpreter, under several orders; page, size and name of each.</summary>
public sealed class LadderTests
{
    const int Multiprocessors = 3;

    public static TheoryData<string> Names => [.. LadderRung.All.Select(r => r.ToString())];

    [Theory]
    [MemberData(nameof(Names))]
    public void Equals_its_definition_on_shapes_with_tails(string name)
    {
        LadderRung rung = Find(name);
        MatrixShape[] shapes = rung.IsVector
            ? [new(1), new(3), new(1024), new(4099), new(9001)]
            : [new(1, 1, rung.KMultiple), new(70, 41, 9 * rung.KMultiple), new(133, 146, 24 * rung.KMultiple), new(64, 256, 16 * rung.KMultiple)];
        ulong seed = 1;
        foreach (MatrixShape shape in shapes) Check(rung.Problem(shape, Multiprocessors, seed), shape, ++seed);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void The_order_of_events_does_not_change_a_bit(string name)
    {
        LadderRung rung = Find(name);
        LadderProblem problem = rung.Problem(rung.IsVector ? new(5003) : new(65, 66, 4 * 16 * rung.KMultiple), Multiprocessors, 7);
        byte[] first = Run(problem, 100);
        for (ulong seed = 101; seed < 104; seed++) Assert.Equal(first, Run(problem, seed));
    }

    static LadderRung Find(string name) => LadderRung.All.Single(r => string.Equals(r.ToString(), name, StringComparison.Ordinal));

    static void Check(LadderProblem problem, MatrixShape shape, ulong seed)
    {
        double[] got = problem.Decode(Run(problem, seed)), expected = problem.Expected.Value;
        Assert.Equal(expected.Length, got.Length);

        // Float32 sums of K terms, each of magnitude about 1, then rounding to the element.
        double scale = expected.Max(Math.Abs), relative = problem.ResultElement == ElementType.BF16 ? 1.0 / 256 : 1e-6;
        for (int i = 0; i < got.Length; i++)
            Assert.True(Math.Abs(got[i] - expected[i]) <= relative * Math.Abs(expected[i]) + 2e-6 * scale, $"{problem.Kernel.Name} {shape}: element {i} is {got[i]}, the definition says {expected[i]}.");
    }

    static byte[] Run(LadderProblem problem, ulong seed)
    {
        var memory = new SimulatedMemory();
        ulong[] addresses = [.. problem.Buffers.Select(b => memory.Upload<byte>(b))];
        KernelInterpreter.Run(problem.Kernel, problem.Blocks, memory, [.. problem.Arguments.Select(a => a.Bind(addresses))], new InterpreterOptions { Seed = seed });
        return memory.Download<byte>(addresses[problem.Result], problem.Buffers[problem.Result].Length);
    }
}
