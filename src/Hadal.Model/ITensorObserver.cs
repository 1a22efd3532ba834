using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Model;

/// <summary>What a tensor is to the product with a weight.</summary>
public enum OperandRole : byte
{
    /// <summary>x of y = x·Wᵀ.</summary>
    Input,
    /// <summary>dy of dx = dy·W.</summary>
    OutputGradient,
    /// <summary>x of dW = dyᵀ·x, where scales run along the tokens.</summary>
    InputAlongTokens,
    /// <summary>dy of dW = dyᵀ·x, where scales run along the tokens.</summary>
    OutputGradientAlongTokens,
    /// <summary>dy on its way to the experts, as the backward of combine carries it.</summary>
    CarriedGradient,
    /// <summary>dx that a product left. Told for the output head only, whose own operands are never whole.</summary>
    InputGradient,
}

/// <summary>
/// Sees the tensors of a micro-batch while they are at hand: every operand of a product as it is before the product quantises it, and every cached tensor with what was
/// stored of it. Called in the order of computation, by the thread that runs the phases; what is given may be overwritten after the call, and must not be changed in it.
/// </summary>
public interface ITensorObserver
{
    /// <summary>An operand of a product.</summary>
    /// <param name="weight">The product's weight.</param>
    /// <param name="role">What the operand is to it.</param>
    /// <param name="values">[rows, columns], not yet quantised.</param>
    /// <param name="format">How the product quantises it; for roles along the tokens a tile is 128 rows of one column.</param>
    /// <param name="offsets">I32 [groups + 1]: rows of each expert, the last entry being the rows in use; absent when all rows are one group.</param>
    void Operand(Parameter weight, OperandRole role, Tensor values, QuantizationFormat format, Tensor offsets);

    /// <summary>A tensor was kept for the backward pass.</summary>
    /// <param name="cache">Where.</param>
    /// <param name="values">[rows, columns]: what it was before.</param>
    /// <param name="codes">What is stored, as <see cref="CachedTensor.Format"/> says; absent where that is F32.</param>
    /// <param name="scales">Its scales; absent where the format has none.</param>
    /// <param name="rowCount">I32 [1]: rows in use; absent means all.</param>
    void Kept(CachedTensor cache, Tensor values, Tensor codes, Tensor scales, Tensor rowCount);
}
