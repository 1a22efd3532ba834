using Hadal.Tensors.Conformance;
using Hadal.Tensors.Cpu;

namespace Hadal.Tensors.Tests.Conformance;

/// <summary>The cpu backend against the definition, on every instruction set of this machine, alone and with more threads than cores.</summary>
public sealed class CpuConformanceTests
{
    public static TheoryData<InstructionSet, int> Settings()
    {
        var data = new TheoryData<InstructionSet, int>();
        foreach (InstructionSet set in InstructionSets.Available)
            foreach (int threads in (int[])[1, 3])
                data.Add(set, threads);
        return data;
    }

    [Theory]
    [MemberData(nameof(Settings))]
    [Implements("V3 §3.3.2", "Products of 128 along the contraction are scaled and added in FP32 in one ascending order")]
    public void The_cpu_backend_agrees_with_the_reference(InstructionSet set, int threads)
    {
        using var backend = new CpuBackend(new CpuOptions(threads, set));
        Agree(backend, seed: threads == 1 ? 1UL : 2);
    }

    [Theory]
    [MemberData(nameof(Settings))]
    [Trait("tier", "full")]
    public void The_cpu_backend_agrees_with_the_reference_on_more_shapes(InstructionSet set, int threads)
    {
        using var backend = new CpuBackend(new CpuOptions(threads, set));
        Agree(backend, seed: threads == 1 ? 2UL : 1);
    }

    static void Agree(CpuBackend backend, ulong seed)
    {
        IReadOnlyList<ConformanceResult> results = ConformanceSuite.Run(backend, seed);
        string failures = string.Join('\n', results.Where(r => !r.Passed).Select(r => $"seed {seed}: {r}"));
        Assert.True(failures.Length == 0, failures);
    }
}
