namespace Hadal.Tensors.Conformance;

/// <summary>The same operand on both sides. Rows of the candidate's tensor may lie apart; what lies between them is guarded.</summary>
/// <param name="Name">For messages.</param>
/// <param name="Candidate">In the memory of the backend under test.</param>
/// <param name="Reference">In host memory; outputs are F64 there, so that the definition is not rounded.</param>
/// <param name="Backing">What the candidate's tensor is a slice of columns of; the same tensor when rows are not apart.</param>
public sealed record Operand(string Name, Tensor Candidate, Tensor Reference, Tensor Backing);
