using Hadal.Kernels.Device;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Library;
using Hadal.Kernels.Library.Cases;
using Hadal.Kernels.Library.Gemm;
using Hadal.Kernels.Ptx;
using Hadal.Kernels.Verify;
using Hadal.Model;

namespace Hadal.Kernels.Tests;

/// <summary>What a device is given to do: as far as it can be looked at without one.</summary>
public sealed class DeviceCaseTests
{
    /// <summary>Configurations that the choice functions return are checked on a device, and their kernels verify.</summary>
    [Fact]
    public void Every_chosen_configuration_has_a_case_whose_kernel_verifies()
    {
        KernelCase[] cases = [.. ChosenCases.All()];
        Assert.Equal(cases.Length, cases.Select(c => c.Name).Distinct(StringComparer.Ordinal).Count());
        foreach (GemmConfig config in ((int, int, int)[])[(4096, 7168, 16384), (64, 2112, 7168), (128, 7168, 2048), (8192, 8192, 8192)] is var shapes
            ? shapes.Select(s => GemmChoice.ForFp8(s.Item1, new GemmShape(s.Item2, s.Item3), 132)) : [])
            Assert.Contains(cases, c => c.Name.StartsWith("chosen fp8_gemm_", StringComparison.Ordinal) && c.Name.EndsWith("_UnevenScales_" + config.Specification, StringComparison.Ordinal));
        string gradient = GemmChoice.ForGradient(new GradientShape(7168, 2048, GradientGrouping.AlongK, 4)).ToString(), head = GemmChoice.ForBf16(4096, 129280, 7168, 132).Specification;
        Assert.Contains(cases, c => c.Name.StartsWith("chosen fp8_gradient_grouped", StringComparison.Ordinal) && c.Name.Contains(gradient, StringComparison.Ordinal));
        Assert.Contains(cases, c => c.Name.StartsWith("chosen bf16_gemm ", StringComparison.Ordinal) && c.Name.Contains(" F32 ", StringComparison.Ordinal) && c.Name.EndsWith(head, StringComparison.Ordinal));
        foreach (KernelCase one in cases.Where(c => c.Name.Contains("UnevenScales", StringComparison.Ordinal) || c.Name.Contains(" Normal ", StringComparison.Ordinal)))
        {
            Kernel kernel = one.Build();
            KernelVerifier.Require(kernel);
            Assert.InRange(one.Blocks(132), 1, 8);
            Assert.Equal(0, one.Blocks(132) % kernel.ClusterSize);
        }
    }

    [Fact]
    public void A_replayed_graph_has_one_launch_for_all_contents()
    {
        foreach (IReadOnlyList<KernelCase> cases in ReplayCases.Small().Concat(ReplayCases.Large()))
        {
            KernelCase first = cases[0];
            string digest = PtxDigest.Of(first.Build());
            foreach (KernelCase one in cases)
            {
                Assert.Equal(digest, PtxDigest.Of(one.Build()));
                Assert.Equal(first.Blocks(132), one.Blocks(132));
                Assert.Equal(first.Arguments, one.Arguments);
                Assert.Equal(first.Buffers.Select(b => (b.Name, b.Bytes)), one.Buffers.Select(b => (b.Name, b.Bytes)));
            }
        }
    }

    [Fact]
    public void Replayed_contents_are_right_in_the_interpreter()
    {
        foreach (KernelCase one in ReplayCases.Small().SelectMany(c => c))
        {
            CaseResult result = one.Interpret(seed: 5);
            Assert.True(result.Passed, $"{one.Name}: {result.Detail}");
        }
    }

    /// <summary>What a cold start loads follows from the model's shape: every linear layer three times, every expert's three products, the head and the gate.</summary>
    [Fact]
    public void The_kernels_of_medium_cover_its_layers()
    {
        StepShape step = ModelStep.Of(KnownShapes.Medium);
        Assert.Contains(new LinearShape(672, 1024), step.Linears);
        Assert.Contains(new LinearShape(1024, 2816), step.Linears);
        Assert.Contains(new LinearShape(32768, 1024), step.Bf16Linears);
        string[] names = [.. StepKernels.Training(step, 4096, 132).Select(k => k.Name)];
        Assert.Equal(names.Length, names.Distinct(StringComparer.Ordinal).Count());
        foreach (LinearShape linear in step.Linears)
        {
            Assert.Contains(names, n => n.StartsWith($"sm90_fp8_gemm_nt_1x128_128x128_n{linear.Outputs}_k{linear.Inputs}_", StringComparison.Ordinal));
            Assert.Contains(names, n => n.StartsWith($"sm90_fp8_gemm_nt_1x128_128x128_n{linear.Inputs}_k{linear.Outputs}_", StringComparison.Ordinal));
            Assert.Contains(names, n => n.StartsWith($"sm90_fp8_gradient_1x128_1x128_m{linear.Outputs}_n{linear.Inputs}_", StringComparison.Ordinal));
        }

        foreach (LinearShape expert in step.Experts)
        {
            Assert.Contains(names, n => n.StartsWith($"sm90_fp8_gemm_nt_1x128_128x128_contiguous_n{expert.Outputs}_k{expert.Inputs}_", StringComparison.Ordinal));
            Assert.Contains(names, n => n.StartsWith($"sm90_fp8_gradient_1x128_1x128_along_k64_m{expert.Outputs}_n{expert.Inputs}_", StringComparison.Ordinal));
        }

        Assert.Contains(names, n => n.StartsWith("sm90_bf16_gemm_nt_f32_n32768_k1024_", StringComparison.Ordinal));
        Assert.Contains(names, n => n.StartsWith("sm90_e5m6_pack_1x128_c1024", StringComparison.Ordinal));
        Assert.Contains(StepKernels.Decoding(step, 64, 132), k => k.Name.Contains("_masked_n1024_k1024_", StringComparison.Ordinal));
        Assert.Contains(StepKernels.Decoding(step, 64, 132), k => k.Name.Contains("_batched16_", StringComparison.Ordinal));
    }
}
