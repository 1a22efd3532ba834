using Hadal.Numerics;
using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Model;

/// <summary>
/// What a phase works on: the operations (bound to a stream), memory for temporaries, the tokens' positions and sequences.
/// Two chunks with their own contexts can run interleaved.
/// </summary>
public sealed class ChunkContext
{
    /// <summary>Operations bound to the chunk's stream.</summary>
    public required IOperations Operations { get; init; }

    /// <summary>Temporaries, used as a stack.</summary>
    public required TensorArena Scratch { get; init; }

    /// <summary>Element type of activations.</summary>
    public required DType DType { get; init; }

    /// <summary>The model's recipe.</summary>
    public required Recipe Recipe { get; init; }

    /// <summary>How rows reach experts and come back.</summary>
    public required IExpertExchange Exchange { get; init; }

    /// <summary>Slots whose experts take part in the place of the model's own; null for the model's.</summary>
    public IResidentExperts? Resident { get; init; }

    /// <summary>Index in the checkpoint of the block whose forward runs.</summary>
    public int Layer { get; set; }

    /// <summary>Products raise the maxima that delayed scales are taken from: in training, not in evaluation.</summary>
    public bool RecordsMaxima { get; init; }

    /// <summary>I32 [tokens]: position of each token in its sequence.</summary>
    public Tensor Positions { get; set; }

    /// <summary>I32 [sequences + 1]: token offsets of the sequences.</summary>
    public Tensor Sequences { get; set; }

    /// <summary>α of the sequence-wise balance loss, 0 for none.</summary>
    public double BalanceAlpha { get; set; }

    /// <summary>Factor on the balance loss, 1/sequences of the global batch.</summary>
    public double BalanceWeight { get; set; }

    /// <summary>Sees operands and cached tensors; null for nobody.</summary>
    public ITensorObserver? Observer { get; set; }

    /// <summary>
    /// Flat gradients of the micro-batches whose rows came from each rank of the expert exchange: experts' weight gradients go there, this rank's own included.
    /// Not used where all experts are local.
    /// </summary>
    public IReadOnlyList<Tensor> SourceGradients { get; set; } = [];

    /// <summary>The forward that runs in this context, between its phases.</summary>
    public BlockForward ForwardPhases { get; } = new();

    /// <summary>The backward that runs in this context, between its phases.</summary>
    public BlockBackward BackwardPhases { get; } = new();

    /// <summary>A temporary of the chunk's element type.</summary>
    public Tensor Temporary(params ReadOnlySpan<int> shape) => Scratch.Allocate(DType, shape);

    /// <summary>Rounds activations or their gradients, in place, to what the recipe says.</summary>
    internal void Round(Tensor x)
    {
        if (Recipe.Activations != NumberFormat.F32) Operations.Quantization.Round(x, Recipe.Activations, x);
    }

    /// <summary>Values become what a payload in <paramref name="format"/> would bring to the other side.</summary>
    internal void Carry(Tensor values, QuantizationFormat format, Tensor rowCount)
    {
        if (format.Number == NumberFormat.F32) return;
        ArenaMark mark = Scratch.Mark();
        (int rows, int columns) = format.StorageScales(values.Rows, values.Columns);
        Tensor codes = Scratch.Allocate(format.StorageType, values.Rows, format.StorageColumns(values.Columns)), scales = rows == 0 ? default : Scratch.Allocate(DType.F32, rows, columns);
        Operations.Quantization.Encode(values, format, codes, scales, rowCount);
        Operations.Quantization.Decode(codes, scales, format, values, rowCount);
        Scratch.Release(mark);
    }

    /// <summary>y = x·Wᵀ as the recipe says.</summary>
    internal void Forward(Tensor x, Parameter weight, Tensor y, ScaleKind? scale = null)
    {
        Observer?.Operand(weight, OperandRole.Input, x, weight.IsQuantized ? Scaled(Recipe.Forward, scale).Left : QuantizationFormat.F32, default);
        if (!weight.IsQuantized) Operations.Matrix.Forward(x, weight.Prepared, y);
        else Operations.Quantization.Forward(x, weight.Prepared, Scaled(Recipe.Forward, scale), y, accumulate: false, weight.InputMaxima(RecordsMaxima));
    }

    /// <summary>dx (+)= dy·W as the recipe says.</summary>
    internal void BackwardInput(Tensor dy, Parameter weight, Tensor dx, bool accumulate = false)
    {
        Observer?.Operand(weight, OperandRole.OutputGradient, dy, weight.IsQuantized ? Recipe.InputGradient.Left : QuantizationFormat.F32, default);
        if (!weight.IsQuantized) Operations.Matrix.BackwardInput(dy, weight.Prepared, dx, accumulate);
        else Operations.Quantization.BackwardInput(dy, weight.Prepared, Recipe.InputGradient, dx, accumulate, weight.GradientMaxima(RecordsMaxima));
    }

    /// <summary>dW (+)= dyᵀ·x as the recipe says, into the parameter's part of <paramref name="gradients"/>.</summary>
    internal void BackwardWeight(Tensor dy, Tensor x, Parameter weight, Tensor gradients, bool accumulate)
    {
        if (Observer is not null) ObserveWeightGradient(weight, dy, x, default);
        if (!weight.IsQuantized) Operations.Matrix.BackwardWeight(dy, x, weight.View(gradients), accumulate);
        else Operations.Quantization.BackwardWeight(
            dy, x, Recipe.WeightGradient, weight.View(gradients), accumulate, weight.GradientMaxima(RecordsMaxima), weight.InputMaxima(RecordsMaxima));
    }

    /// <summary>As <see cref="Forward"/> for rows sorted by expert.</summary>
    internal void GroupedForward(Tensor x, Tensor offsets, Parameter weight, Tensor y, ScaleKind? scale = null)
    {
        Observer?.Operand(weight, OperandRole.Input, x, weight.IsQuantized ? Scaled(Recipe.Forward, scale).Left : QuantizationFormat.F32, offsets);
        PreparedWeight prepared = weight.Prepared;
        if (Resident is not null)
        {
            prepared = Resident.Of(weight);
            offsets = offsets.Slice(0, prepared.Groups.Length + 1);
        }

        if (!weight.IsQuantized) Operations.Matrix.GroupedForward(x, offsets, prepared, y);
        else Operations.Quantization.GroupedForward(x, offsets, prepared, Scaled(Recipe.Forward, scale), y, weight.InputMaxima(RecordsMaxima));
    }

    /// <summary>As <see cref="BackwardInput"/> for rows sorted by expert.</summary>
    internal void GroupedBackwardInput(Tensor dy, Tensor offsets, Parameter weight, Tensor dx, ScaleKind? scale = null)
    {
        Observer?.Operand(weight, OperandRole.OutputGradient, dy, weight.IsQuantized ? Scaled(Recipe.InputGradient, scale).Left : QuantizationFormat.F32, offsets);
        if (!weight.IsQuantized) Operations.Matrix.GroupedBackwardInput(dy, offsets, weight.Prepared, dx);
        else Operations.Quantization.GroupedBackwardInput(dy, offsets, weight.Prepared, Scaled(Recipe.InputGradient, scale), dx, weight.GradientMaxima(RecordsMaxima));
    }

    /// <summary>As <see cref="BackwardWeight"/> for rows sorted by expert, for the experts of this rank.</summary>
    internal void GroupedBackwardWeight(Tensor dy, Tensor x, Tensor offsets, Parameter weight, Tensor gradients, bool accumulate, ExpertPlacement own)
    {
        if (Observer is not null) ObserveWeightGradient(weight, dy, x, offsets);
        Tensor target = weight.View(gradients);
        if (own.Experts != target[0])
        {
            target = target.Slice(own.FirstExpert, own.Experts);
            offsets = offsets.Slice(own.FirstExpert, own.Experts + 1);
        }

        if (!weight.IsQuantized) Operations.Matrix.GroupedBackwardWeight(dy, x, offsets, target, accumulate);
        else Operations.Quantization.GroupedBackwardWeight(dy, x, offsets, Recipe.WeightGradient, target, accumulate, weight.GradientMaxima(RecordsMaxima), weight.InputMaxima(RecordsMaxima));
    }

    void ObserveWeightGradient(Parameter weight, Tensor dy, Tensor x, Tensor offsets)
    {
        ProductFormat format = weight.IsQuantized ? Recipe.WeightGradient : ProductFormat.F32;
        Observer!.Operand(weight, OperandRole.OutputGradientAlongTokens, dy, format.Left, offsets);
        Observer.Operand(weight, OperandRole.InputAlongTokens, x, format.Right, offsets);
    }

    static ProductFormat Scaled(ProductFormat format, ScaleKind? scale) =>
        scale is ScaleKind kind && format.Left.Number == NumberFormat.E4M3 ? format with { Left = format.Left with { Scale = kind } } : format;
}

/// <summary>A named tensor of a record, for pricing and for flight recorders.</summary>
/// <param name="Name">Field of the record.</param>
/// <param name="Tensor">The view.</param>
/// <param name="Format">What its elements stand for.</param>
public readonly record struct RecordEntry(string Name, Tensor Tensor, QuantizationFormat Format = default)
{
    /// <summary>Bytes of the tensor.</summary>
    public long Bytes => Tensor.IsEmpty ? 0 : Tensor.Length * Tensor.DType.Size();
}
