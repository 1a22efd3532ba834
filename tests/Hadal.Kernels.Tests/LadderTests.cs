using Hadal.Kernels.Interpreter;
using Hadal.Kernels.Library.Cases;
using Hadal.Kernels.Library.Ladder;

namespace Hadal.Kernels.Tests;

/// <summary>The ladder: every kernel against its definition on shapes with tails, in the interpreter, under several orders of events.</summary>
public sealed class LadderTests
{
    const int Multiprocessors = 3;

    public static TheoryData<string> Names => [.. LadderRung.All.Select(r => r.ToString())];

    [Theory]
    [MemberData(nameof(Names))]
    public void Equals_its_definition_on_shapes_with_tails(string name)
    {
        ulong seed = 1;
        foreach (MatrixShape shape in Find(name).TailShapes)
        {
            CaseResult result = Find(name).Case(name, shape, ++seed).Interpret(seed, Multiprocessors);
            Assert.True(result.Passed, $"{name} {shape}: {result.Detail}");
        }
    }

    [Fact]
    public void Promotion_keeps_the_product_right_under_the_tensor_cores_own_arithmetic()
    {
        CaseResult result = LadderRung.All[^1].Case("fp8", new MatrixShape(70, 40, 1040), 5).Interpret(1, Multiprocessors, new TensorCoreArithmetic());
        Assert.True(result.Passed, result.Detail);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void The_order_of_events_does_not_change_a_bit(string name)
    {
        LadderRung rung = Find(name);
        KernelCase launch = rung.Case(name, rung.IsVector ? new(5003) : new(65, 66, 4 * 16 * rung.KMultiple), 7);
        byte[] first = Result(launch, 100);
        for (ulong seed = 101; seed < 104; seed++) Assert.Equal(first, Result(launch, seed));
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void The_comparison_finds_a_wrong_element(string name)
    {
        LadderRung rung = Find(name);
        KernelCase launch = rung.Case(name, rung.TailShapes[1], 7);
        CaseResult result = launch.Check(buffer => new byte[launch.Buffers.First(b => string.Equals(b.Name, buffer, StringComparison.Ordinal)).Bytes]);
        Assert.False(result.Passed);
    }

    [Fact]
    public void Every_kernel_is_short()
    {
        string[] files = Directory.GetFiles(Path.Combine(GoldenTests.Root(), "src", "Hadal.Kernels", "Library", "Ladder"), "*.cs");
        string[] kernels = [.. files.Where(f => File.ReadAllText(f).Contains("KernelBuilder.Define(", StringComparison.Ordinal))];
        Assert.Equal(LadderRung.All.Count, kernels.Length);
        Assert.All(kernels, f => Assert.True(File.ReadLines(f).Count() < 80, $"{f} has {File.ReadLines(f).Count()} lines; a kernel of the ladder has fewer than 80."));
    }

    static LadderRung Find(string name) => LadderRung.All.Single(r => string.Equals(r.ToString(), name, StringComparison.Ordinal));

    /// <summary>The bytes of the last buffer, the result, after a run in one order.</summary>
    static byte[] Result(KernelCase launch, ulong seed)
    {
        var memory = new SimulatedMemory();
        ulong[] addresses = [.. launch.Buffers.Select(b => b.Content is { } content ? memory.Upload<byte>(content()) : memory.Allocate(b.Bytes))];
        KernelInterpreter.Run(launch.Build(), launch.Blocks(Multiprocessors), memory, launch.Resolve(addresses), new InterpreterOptions { Seed = seed, ShuffleBlocks = true });
        return memory.Download<byte>(addresses[^1], launch.Buffers[^1].Bytes);
    }
}
