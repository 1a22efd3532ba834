using Hadal.Tensors.Conformance;
using Hadal.Tensors.Reference;

namespace Hadal.Tensors.Tests.Conformance;

/// <summary>The suite against the definition itself: operands, guards and comparisons work in every type of activations.</summary>
public sealed class ReferenceConformanceTests
{
    [Theory]
    [InlineData(DType.F64, 1)]
    [InlineData(DType.F32, 2)]
    [InlineData(DType.F16, 3)]
    [InlineData(DType.BF16, 1)]
    public void The_reference_agrees_with_itself(DType type, ulong seed)
    {
        using var backend = new ReferenceBackend();
        IReadOnlyList<ConformanceResult> results = ConformanceSuite.Run(backend, seed, type: type);
        string failures = string.Join('\n', results.Where(r => !r.Passed).Select(r => $"seed {seed}: {r}"));
        Assert.True(failures.Length == 0, failures);
        Assert.Equal(ConformanceSuite.Cases.Count, results.Count);
    }

    [Theory]
    [InlineData(DType.F64)]
    [InlineData(DType.F32)]
    [InlineData(DType.F16)]
    [InlineData(DType.BF16)]
    [Trait("tier", "soak")]
    public void The_reference_agrees_with_itself_on_many_seeds(DType type)
    {
        for (ulong seed = 4; seed <= 20; seed++) The_reference_agrees_with_itself(type, seed);
    }

    [Fact]
    public void Every_operation_of_the_vocabulary_has_a_case()
    {
        Type[] concerns = [typeof(Operations.IElementwiseOperations), typeof(Operations.IAttentionOperations), typeof(Operations.IRoutingOperations), typeof(Operations.IEmbeddingOperations), typeof(Operations.IOptimizerOperations), typeof(Operations.IQuantizationOperations)];
        string[] inMovement = ["Routing.GatherRows", "Routing.GatherWeights", "Routing.ScatterWeights", "Routing.CombineRows",
            "Quantization.Decode", "Quantization.GroupedForward", "Quantization.GroupedBackwardInput", "Quantization.GroupedBackwardWeight"];
        foreach (Type concern in concerns)
        {
            foreach (System.Reflection.MethodInfo method in concern.GetMethods())
            {
                string name = $"{concern.Name[1..].Replace("Operations", "", StringComparison.Ordinal)}.{method.Name}";
                Assert.True(inMovement.Contains(name) || ConformanceSuite.Cases.Any(c => string.Equals(c.Operation, name, StringComparison.Ordinal)), $"{name} has no conformance case.");
            }
        }
    }

    [Fact]
    public void Names_are_unique() =>
        Assert.Empty(ConformanceSuite.Cases.GroupBy(c => c.Name, StringComparer.Ordinal).Where(g => g.Count() > 1).Select(g => g.Key));

    [Fact]
    public void A_wrong_result_an_untouched_output_and_a_broken_guard_are_found()
    {
        using var backend = new ReferenceBackend();
        string Failure(Action<ConformanceContext> body) => ConformanceSuite.Run(backend, new ConformanceCase("Test", "broken", body)).Failure;

        Assert.Contains("relative error", Failure(c =>
        {
            Operand x = c.Normal("x", [4, 5]), y = c.Output("y", [4, 5]);
            c.Run((operations, of) => operations.Elementwise.Scale(of(x), of(y).DType == DType.F64 ? 1 : 1.0001, of(y)));
            c.Compare(y);
        }), StringComparison.Ordinal);
        Assert.Contains("relative error", Failure(c =>
        {
            Operand x = c.Normal("x", [4, 5]), y = c.Output("y", [4, 5]);
            c.Run((operations, of) =>
            {
                if (of(y).DType == DType.F64) operations.Elementwise.Copy(of(x), of(y));
            });
            c.Compare(y);
        }), StringComparison.Ordinal);
        Assert.Contains("between the rows", Failure(c =>
        {
            Operand y = c.Output("y", [4, 5], apart: 2);
            c.Run((operations, of) => operations.Elementwise.Fill(of(y).DType == DType.F64 ? of(y) : y.Backing, 1));
            c.Compare(y);
        }), StringComparison.Ordinal);
        Assert.Contains("threw", Failure(c => c.Run((operations, of) => operations.Elementwise.Fill(default, 1))), StringComparison.Ordinal);
    }
}
