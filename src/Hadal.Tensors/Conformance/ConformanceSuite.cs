using System.Diagnostics.CodeAnalysis;

namespace Hadal.Tensors.Conformance;

/// <summary>
/// Every operation of the vocabulary compared with <see cref="Reference.ReferenceBackend"/>: random shapes with tails, and the edges that break kernels.
/// The same cases serve the unit tests and the command <c>hadal conformance</c>. Operands are pure functions of the seed.
/// </summary>
public static class ConformanceSuite
{
    /// <summary>All cases, by concern.</summary>
    public static IReadOnlyList<ConformanceCase> Cases { get; } =
    [
        .. ElementwiseCases.All,
        .. MatrixCases.All,
        .. AttentionCases.All,
        .. LatentAttentionCases.All,
        .. RoutingCases.All,
        .. EmbeddingCases.All,
        .. OptimizerCases.All,
        .. QuantizationCases.All,
    ];

    /// <summary>Runs the cases whose name contains <paramref name="filter"/> and returns one result a case, in order.</summary>
    /// <param name="candidate">The backend under test.</param>
    /// <param name="seed">Chooses shapes and values.</param>
    /// <param name="filter">Part of a name, for example <c>Attention.</c>; empty means all.</param>
    /// <param name="type">Element type of activations; weights' gradients and statistics are FP32 whatever it is.</param>
    /// <param name="report">Called after each case.</param>
    public static IReadOnlyList<ConformanceResult> Run(
        IBackend candidate, ulong seed = 1, string filter = "", DType type = DType.F32, Action<ConformanceResult>? report = null)
    {
        ArgumentNullException.ThrowIfNull(candidate);
        var results = new List<ConformanceResult>();
        foreach (ConformanceCase conformanceCase in Cases)
        {
            if (!conformanceCase.Name.Contains(filter, StringComparison.OrdinalIgnoreCase)) continue;
            ConformanceResult result = Run(candidate, conformanceCase, seed, type);
            results.Add(result);
            report?.Invoke(result);
        }

        return results;
    }

    /// <summary>Runs one case. An exception thrown by the candidate is a failure of the case.</summary>
    [SuppressMessage("Design", "CA1031", Justification = "Whatever a backend throws is what the case reports.")]
    public static ConformanceResult Run(IBackend candidate, ConformanceCase conformanceCase, ulong seed = 1, DType type = DType.F32)
    {
        ArgumentNullException.ThrowIfNull(conformanceCase);
        using var context = new ConformanceContext(candidate, seed, type);
        try
        {
            conformanceCase.Body(context);
            context.CheckGuards();
        }
        catch (Exception exception)
        {
            context.Fail($"threw {exception.GetType().Name}: {exception.Message}");
        }

        return new ConformanceResult(conformanceCase, context.Error, context.Tolerance, context.Failure);
    }
}
