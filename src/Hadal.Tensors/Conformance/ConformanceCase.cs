namespace Hadal.Tensors.Conformance;

/// <summary>One comparison of a backend with the Reference set.</summary>
/// <param name="Operation">The operation, as <c>Concern.Method</c>.</param>
/// <param name="Variant">What is special about the operands.</param>
/// <param name="Body">Makes operands, runs the operation on both sides and compares.</param>
public sealed record ConformanceCase(string Operation, string Variant, Action<ConformanceContext> Body)
{
    /// <summary>For example <c>Elementwise.RmsNorm: rows apart</c>.</summary>
    public string Name => $"{Operation}: {Variant}";

    /// <inheritdoc/>
    public override string ToString() => Name;
}

/// <summary>What became of a case.</summary>
/// <param name="Case">The case.</param>
/// <param name="Error">Largest relative error of its outputs (Frobenius norm); 0 where equality was asked and given.</param>
/// <param name="Tolerance">What the error may be.</param>
/// <param name="Failure">Empty when the case passed; else what was wrong, with the output's name.</param>
public sealed record ConformanceResult(ConformanceCase Case, double Error, double Tolerance, string Failure)
{
    /// <summary>True when every output was as the definition says.</summary>
    public bool Passed => Failure.Length == 0;

    /// <inheritdoc/>
    public override string ToString() => $"{(Passed ? "passed" : "FAILED")} {Case.Name} (error {Error:E1}, tolerance {Tolerance:E1}){(Passed ? "" : " " + Failure)}";
}
