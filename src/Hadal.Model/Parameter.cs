using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Model;

/// <summary>How a parameter is initialised, decayed and written.</summary>
public enum ParameterKind
{
    /// <summary>A projection: normal initialisation, weight decay, FP8 in FP8 checkpoints.</summary>
    Projection,
    /// <summary>Embedding or head: normal initialisation, weight decay, never FP8.</summary>
    Vocabulary,
    /// <summary>The gate: normal initialisation, weight decay, never FP8.</summary>
    Gate,
    /// <summary>RMSNorm weight: starts at 1, no decay.</summary>
    Norm,
    /// <summary>Selection bias of the gate: starts at 0, moved by load, no gradient.</summary>
    SelectionBias,
}

/// <summary>A public tensor as a region of a parameter: rows of one group.</summary>
/// <param name="Name">Name in the checkpoint.</param>
/// <param name="Group">Index along the first dimension of a three-dimensional parameter (the expert); 0 otherwise.</param>
/// <param name="FirstRow">First row inside the group.</param>
/// <param name="Rows">Rows; the whole vector for norms.</param>
public readonly record struct PublicRegion(string Name, int Group, int FirstRow, int Rows);

/// <summary>
/// One learnable tensor as the layers use it; the public names it is made of are its <see cref="Regions"/> (gate_proj and up_proj of all experts
/// of a layer are one parameter [experts, 2·intermediate, hidden]).
/// </summary>
public sealed class Parameter
{
    readonly ProductUses? _uses;
    PreparedWeight? _prepared;
    ScalingHistory? _history;
    int _firstOperand;

    internal Parameter(int index, string name, ParameterKind kind, int[] shape, long offset, PublicRegion[] regions, ProductUses? uses)
    {
        Index = index;
        Name = name;
        Kind = kind;
        Shape = shape;
        Offset = offset;
        Regions = regions;
        _uses = uses;
    }

    /// <summary>Place in the set.</summary>
    public int Index { get; }

    /// <summary>Name of the first region, or of what the regions have in common.</summary>
    public string Name { get; }

    /// <summary>How it is treated.</summary>
    public ParameterKind Kind { get; }

    /// <summary>One to three dimensions.</summary>
    public IReadOnlyList<int> Shape { get; }

    /// <summary>First element inside the flat buffers.</summary>
    public long Offset { get; }

    /// <summary>Elements.</summary>
    public int Length => Shape.Aggregate(1, (a, b) => checked(a * b));

    /// <summary>The public tensors it consists of.</summary>
    public IReadOnlyList<PublicRegion> Regions { get; }

    /// <summary>The values, a view of <see cref="ParameterSet.Values"/>.</summary>
    public Tensor Value { get; private set; }

    /// <summary>The form products use.</summary>
    /// <exception cref="InvalidOperationException">The parameter is no weight of a product.</exception>
    public PreparedWeight Prepared => _prepared ?? throw new InvalidOperationException($"{Name} takes part in no product.");

    /// <summary>This parameter's part of a flat buffer [<see cref="ParameterSet.Length"/>].</summary>
    public Tensor View(Tensor flat)
    {
        Tensor part = flat.Slice(checked((int)Offset), Length);
        return Shape.Count switch { 1 => part, 2 => part.Reshape(Shape[0], Shape[1]), _ => part.Reshape(Shape[0], Shape[1], Shape[2]) };
    }

    /// <summary>The region's part of a tensor shaped like this parameter: [rows, columns], or [rows] of a vector.</summary>
    public Tensor View(Tensor whole, PublicRegion region) => (Shape.Count == 3 ? whole.Select(region.Group) : whole).Slice(region.FirstRow, region.Rows);

    /// <summary>True when the recipe quantises this weight's products: projections, under a recipe that is not float32.</summary>
    public bool IsQuantized { get; private set; }

    /// <summary>Rows of each of the public matrices a group is joined of; 0 when a group is one matrix.</summary>
    public int MatrixRows => Shape.Count > 1 && Regions[0].Rows < Shape[^2] ? Regions[0].Rows : 0;

    /// <summary>True when the recipe quantises products with this parameter.</summary>
    internal bool WillQuantize(Recipe recipe) => _uses is not null && Kind == ParameterKind.Projection && !(recipe.Forward.IsPlain && recipe.InputGradient.IsPlain && recipe.WeightGradient.IsPlain);

    /// <summary>Operands with a history when scales are delayed: one for each weight, then the input, then the output gradient.</summary>
    internal int HistoryOperands => Groups + 2;

    int Groups => Shape.Count == 3 ? Shape[0] : 1;

    /// <summary>Largest magnitude of earlier steps that the scale of a product's input is taken from; 0 for a current scale.</summary>
    public float DelayedInput => _history is null ? 0 : InputMaxima(record: false).AsSpan<float>()[0];

    /// <summary>As <see cref="DelayedInput"/>, of the gradient of the output.</summary>
    public float DelayedGradient => _history is null ? 0 : GradientMaxima(record: false).AsSpan<float>()[0];

    /// <summary>As <see cref="DelayedInput"/>, of one of the matrices.</summary>
    public float DelayedWeight(int group) => _history is null ? 0 : _history.Maxima(_firstOperand + group, record: false).AsSpan<float>()[0];

    /// <summary>Maxima of the input of products with this weight; absent with current scales.</summary>
    internal Tensor InputMaxima(bool record) => _history is null ? default : _history.Maxima(_firstOperand + Groups, record);

    /// <summary>Maxima of the gradient of their output; absent with current scales.</summary>
    internal Tensor GradientMaxima(bool record) => _history is null ? default : _history.Maxima(_firstOperand + Groups + 1, record);

    internal void Bind(Tensor values, IOperations operations, Recipe recipe, ScalingHistory? history, int firstOperand)
    {
        Value = View(values);
        if (_uses is not ProductUses uses) return;
        var groups = new Tensor[Groups];
        for (int g = 0; g < groups.Length; g++) groups[g] = Shape.Count == 3 ? Value.Select(g) : Value;
        IsQuantized = WillQuantize(recipe);
        if (!IsQuantized)
        {
            _prepared = operations.Matrix.Prepare(groups, uses);
            return;
        }

        _history = history;
        _firstOperand = firstOperand;
        _prepared = operations.Quantization.Prepare(groups, uses, recipe.Forward.Right, MatrixRows, history is null ? default : history.Maxima(firstOperand, groups.Length));
    }

    internal void Refresh(IOperations operations)
    {
        if (_prepared is null) return;
        if (IsQuantized) operations.Quantization.Refresh(_prepared);
        else operations.Matrix.Refresh(_prepared);
    }

    internal void Release() => _prepared?.Dispose();
}

/// <summary>
/// All parameters of a model, their values in one flat buffer in order of declaration. Gradients, moments and averages are other flat buffers
/// of the same length (<see cref="CreateBuffer"/>), so reductions and updates may treat them as one vector.
/// </summary>
public sealed class ParameterSet : IDisposable
{
    readonly List<Parameter> _all = [];
    readonly IBackend _backend;
    TensorMemory? _memory;

    internal ParameterSet(IBackend backend, DType type)
    {
        _backend = backend;
        DType = type;
    }

    /// <summary>Element type of values and gradients: F32, or F64 on the Reference backend.</summary>
    public DType DType { get; }

    /// <summary>In order of declaration.</summary>
    public IReadOnlyList<Parameter> All => _all;

    /// <summary>Elements of a flat buffer.</summary>
    public long Length { get; private set; }

    /// <summary>The flat values.</summary>
    public Tensor Values { get; private set; }

    /// <summary>A zeroed flat buffer with one element per parameter element.</summary>
    public Tensor CreateBuffer(DType type) => Tensor.View(_backend.Allocate(Length * type.Size()), 0, type, checked((int)Length));

    /// <summary>What delayed scales are taken from; null when all scales of the recipe are current ones.</summary>
    public ScalingHistory? ScalingHistory { get; private set; }

    /// <summary>Brings every prepared weight up to date after the values changed. Allocates nothing.</summary>
    public void Refresh(IOperations operations)
    {
        foreach (Parameter parameter in _all) parameter.Refresh(operations);
    }

    /// <summary>As <see cref="Refresh(IOperations)"/>, for some of them.</summary>
    /// <param name="indices">Places in <see cref="All"/>.</param>
    public void Refresh(IOperations operations, ReadOnlySpan<int> indices)
    {
        foreach (int index in indices) _all[index].Refresh(operations);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Parameter parameter in _all) parameter.Release();
        ScalingHistory?.Dispose();
        _memory?.Dispose();
    }

    internal Parameter Add(string name, ParameterKind kind, int[] shape, ProductUses? uses, params PublicRegion[] regions)
    {
        if (regions.Length == 0) regions = [new PublicRegion(name, 0, 0, shape[0])];
        var parameter = new Parameter(_all.Count, name, kind, shape, Length, regions, uses);
        _all.Add(parameter);
        long elements = shape.Aggregate(1L, (a, b) => checked(a * b)); // declared shapes may be larger than any tensor
        Length += (elements + 15) / 16 * 16; // every parameter starts on a cache line
        return parameter;
    }

    internal void Bind(Recipe recipe)
    {
        _memory = _backend.Allocate(Length * DType.Size());
        Values = Tensor.View(_memory, 0, DType, checked((int)Length));
        if (recipe.HasDelayedScales) ScalingHistory = new ScalingHistory(_backend, _all.Where(p => p.WillQuantize(recipe)).Sum(p => p.HistoryOperands), recipe.DelayedSteps);
        int operand = 0;
        foreach (Parameter parameter in _all)
        {
            parameter.Bind(Values, _backend.Operations, recipe, ScalingHistory, operand);
            if (parameter.WillQuantize(recipe)) operand += parameter.HistoryOperands;
        }
    }
}
