using Hadal.Kernels.Ir;
using Hadal.Kernels.Library.Gemm;
using Hadal.Kernels.Library.Quantize;
using Hadal.Numerics;

namespace Hadal.Kernels.Library;

/// <summary>A linear layer.</summary>
/// <param name="Outputs">Rows of its weight.</param>
/// <param name="Inputs">Columns of its weight.</param>
public sealed record LinearShape(int Outputs, int Inputs);

/// <summary>The products of a model, as far as their kernels depend on it.</summary>
/// <param name="Linears">Layers that run in FP8.</param>
/// <param name="Experts">Layers of one routed expert; none without experts.</param>
/// <param name="ExpertCount">Routed experts of a rank.</param>
/// <param name="ChosenExperts">Experts of a token.</param>
/// <param name="Bf16Linears">Layers that stay in BF16 and leave float32: gate and head.</param>
/// <param name="Packed">Widths of activations that are kept in E5M6.</param>
/// <param name="Heads">Attention heads.</param>
/// <param name="HeadProducts">Products a head makes when keys and values stay compressed.</param>
public sealed record StepShape(
    IReadOnlyList<LinearShape> Linears, IReadOnlyList<LinearShape> Experts, int ExpertCount, int ChosenExperts, IReadOnlyList<LinearShape> Bf16Linears, IReadOnlyList<int> Packed, int Heads,
    IReadOnlyList<LinearShape> HeadProducts);

/// <summary>
/// The kernels of this library that a model needs, each once: for cold starts, which load them all. Products with the tile that is chosen for them, casts and re-tilings of what goes in. Not
/// in it are kernels that the library has not got: attention, norms, routing, the optimiser.
/// </summary>
public static class StepKernels
{
    /// <summary>For a training step of so many tokens: forward, gradients of inputs and of weights.</summary>
    public static IReadOnlyList<Kernel> Training(StepShape model, int tokens, int multiprocessors)
    {
        ArgumentNullException.ThrowIfNull(model);
        var kernels = new List<Kernel>();
        foreach (LinearShape linear in model.Linears) kernels.AddRange(Linear(linear, tokens, multiprocessors));
        int rows = Math.Max(1, tokens * model.ChosenExperts / Math.Max(1, model.ExpertCount));
        foreach (LinearShape expert in model.Experts) kernels.AddRange(Expert(expert, model.ExpertCount, rows, multiprocessors));
        foreach (LinearShape linear in model.Bf16Linears)
        {
            kernels.Add(Bf16(tokens, linear.Outputs, linear.Inputs, Bf16GemmOutput.F32));
            kernels.Add(Bf16(tokens, linear.Inputs, linear.Outputs, Bf16GemmOutput.BF16));
            kernels.Add(Bf16(linear.Outputs, linear.Inputs, tokens, Bf16GemmOutput.F32Accumulated));
        }

        foreach (int columns in model.Packed) kernels.AddRange([E5M6Kernels.BuildPack(columns), E5M6Kernels.BuildUnpack(columns)]);
        return Once(kernels);

        Kernel Bf16(int m, int n, int k, Bf16GemmOutput output) => Bf16GemmKernel.Build(new GemmShape(n, k), GemmChoice.ForBf16(m, n, k, multiprocessors), output);
    }

    /// <summary>For a decode step of so many sequences.</summary>
    public static IReadOnlyList<Kernel> Decoding(StepShape model, int sequences, int multiprocessors)
    {
        ArgumentNullException.ThrowIfNull(model);
        var kernels = new List<Kernel>();
        foreach (LinearShape linear in model.Linears)
        {
            kernels.Add(RowCastKernel.Build(linear.Inputs, ScaleKind.Plain));
            kernels.Add(Product(linear.Outputs, linear.Inputs, GemmGrouping.Dense, 1, sequences, multiprocessors));
        }

        int rows = Math.Max(1, sequences * model.ChosenExperts / Math.Max(1, model.ExpertCount));
        foreach (LinearShape expert in model.Experts)
        {
            kernels.Add(RowCastKernel.Build(expert.Inputs, ScaleKind.Plain, RowCount.Device));
            kernels.Add(Product(expert.Outputs, expert.Inputs, GemmGrouping.Masked, model.ExpertCount, rows, multiprocessors));
        }

        foreach (LinearShape linear in model.Bf16Linears)
            kernels.Add(Bf16GemmKernel.Build(new GemmShape(linear.Outputs, linear.Inputs), GemmChoice.ForBf16(sequences, linear.Outputs, linear.Inputs, multiprocessors), Bf16GemmOutput.F32));
        foreach (LinearShape head in model.HeadProducts)
        {
            kernels.Add(Bf16GemmKernel.Build(
                new GemmShape(head.Outputs, head.Inputs, GemmGrouping.Batched, model.Heads), GemmChoice.ForBf16Batched(model.Heads, sequences, head.Outputs, head.Inputs, multiprocessors), Bf16GemmOutput.BF16));
        }

        return Once(kernels);
    }

    static IEnumerable<Kernel> Linear(LinearShape linear, int tokens, int multiprocessors)
    {
        foreach (int columns in (int[])[linear.Inputs, linear.Outputs])
        {
            yield return RowCastKernel.Build(columns, ScaleKind.Plain);
            yield return BlockCastKernel.Build(columns, ScaleKind.Plain);
        }

        yield return RetileKernel.Build(linear.Inputs, ElementType.E4M3, ScaleKind.Plain, ColumnScaleOrder.Interleaved);
        yield return RetileKernel.Build(linear.Outputs, ElementType.BF16, ScaleKind.Plain);
        yield return Product(linear.Outputs, linear.Inputs, GemmGrouping.Dense, 1, tokens, multiprocessors);
        yield return Product(linear.Inputs, linear.Outputs, GemmGrouping.Dense, 1, tokens, multiprocessors);
        var weight = new GradientShape(linear.Outputs, linear.Inputs);
        yield return Fp8GradientKernel.Build(weight, GemmChoice.ForGradient(weight));
    }

    static IEnumerable<Kernel> Expert(LinearShape expert, int experts, int rows, int multiprocessors)
    {
        foreach (int columns in (int[])[expert.Inputs, expert.Outputs])
        {
            yield return RowCastKernel.Build(columns, ScaleKind.Plain, RowCount.Device);
            yield return BlockCastKernel.Build(columns, ScaleKind.Plain);
        }

        yield return RetileKernel.Build(expert.Inputs, ElementType.E4M3, ScaleKind.Plain, ColumnScaleOrder.Interleaved, RowCount.Device);
        yield return RetileKernel.Build(expert.Outputs, ElementType.BF16, ScaleKind.Plain, count: RowCount.Device);
        yield return Product(expert.Outputs, expert.Inputs, GemmGrouping.Contiguous, experts, rows, multiprocessors);
        yield return Product(expert.Inputs, expert.Outputs, GemmGrouping.Contiguous, experts, rows, multiprocessors);
        var weight = new GradientShape(expert.Outputs, expert.Inputs, GradientGrouping.AlongK, experts);
        yield return Fp8GradientKernel.Build(weight, GemmChoice.ForGradient(weight));
    }

    static Kernel Product(int n, int k, GemmGrouping grouping, int groups, int rows, int multiprocessors)
    {
        var shape = new GemmShape(n, k, grouping, groups);
        return Fp8GemmKernel.Build(shape, GemmChoice.ForFp8(rows, shape, multiprocessors));
    }

    static Kernel[] Once(List<Kernel> kernels) => [.. kernels.DistinctBy(k => k.Name, StringComparer.Ordinal)];
}
