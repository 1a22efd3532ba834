using Hadal.Model;
using Hadal.Numerics;
using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Training;

/// <summary>Where a NaN or infinity first appeared.</summary>
/// <param name="Layer">Index of the block, as in checkpoints; −1 for what belongs to none.</param>
/// <param name="Tensor">The tensor.</param>
/// <param name="Token">Token of the micro-batch; −1 when its row is no token's.</param>
readonly record struct TensorFault(int Layer, string Tensor, int Token)
{
    public override string ToString() => Layer < 0 ? Tensor : $"layer {Layer}, {Tensor}";
}

/// <summary>
/// Watches a forward and backward for the first tensor that is not finite, in the order of computation: every operand of a product, gradients included, and every cached tensor. For
/// the way out of a step that has failed: the micro-batch is repeated, with the same bits, under its eyes.
/// </summary>
sealed class FaultObserver : ITensorObserver
{
    readonly int _tokens;
    readonly Dictionary<CachedTensor, (int Layer, string Name)> _caches = new(ReferenceEqualityComparer.Instance);
    readonly Dictionary<int, RoutedSaved> _routed = [];

    internal FaultObserver(Transformer model, SequenceChunk chunk)
    {
        _tokens = chunk.Sequences * chunk.Length;
        for (int layer = 0; layer < chunk.Saved.Count; layer++) Know(model.Blocks[layer].Layer, chunk.Saved[layer].Routed, chunk.Saved[layer].Caches());
        for (int depth = 0; depth < chunk.MtpSaved.Count; depth++) Know(model.Mtp[depth].Block.Layer, chunk.MtpSaved[depth].Block.Routed, chunk.MtpSaved[depth].Caches());
    }

    /// <summary>The first fault that was seen.</summary>
    internal TensorFault? First { get; private set; }

    /// <summary>Where the largest contribution to the gradient of a weight comes from, by its index: for gradients that overflow although all operands are finite.</summary>
    readonly Dictionary<int, (double Size, int Token)> _contributions = [];
    double[] _rows = [];

    /// <summary>The token whose contribution to the gradient of a weight is the largest; −1 when that is not known.</summary>
    internal int LargestContribution(Parameter weight) => _contributions.TryGetValue(weight.Index, out (double Size, int Token) found) ? found.Token : -1;

    void Know(int layer, RoutedSaved? routed, IEnumerable<(string Name, CachedTensor Cache)> caches)
    {
        if (routed is not null) _routed[layer] = routed;
        foreach ((string name, CachedTensor cache) in caches) _caches[cache] = (layer, name);
    }

    public void Operand(Parameter weight, OperandRole role, Tensor values, QuantizationFormat format, Tensor offsets)
    {
        if (First is not null) return;
        (int layer, string name) = Recording.FlightRecorder.Place(weight.Name);
        int routedRows = offsets.IsEmpty ? -1 : offsets.AsSpan<int>()[^1];
        if (role == OperandRole.OutputGradientAlongTokens) _rows = [.. Enumerable.Range(0, values.Rows).Select(r => (double)TileScale.LargestMagnitude(values.Row<float>(r)))];
        else if (role == OperandRole.InputAlongTokens) Contribute(weight, layer, values, routedRows);
        string what = role switch
        {
            OperandRole.Input or OperandRole.InputAlongTokens => "input",
            OperandRole.InputGradient => "input gradient",
            _ => "output gradient",
        };
        Look(layer, $"{name} {what}", values, routedRows);
    }

    /// <summary>Of dW = dyᵀ·x: the largest product of a row of dy, seen before, and the same row of x.</summary>
    void Contribute(Parameter weight, int layer, Tensor x, int routedRows)
    {
        int rows = routedRows < 0 ? x.Rows : Math.Min(routedRows, x.Rows);
        for (int row = 0; row < Math.Min(rows, _rows.Length); row++)
        {
            double size = _rows[row] * TileScale.LargestMagnitude(x.Row<float>(row));
            if (!_contributions.TryGetValue(weight.Index, out (double Size, int Token) known) || size > known.Size) _contributions[weight.Index] = (size, TokenOf(layer, row, x.Rows, routedRows >= 0));
        }
    }

    public void Kept(CachedTensor cache, Tensor values, Tensor codes, Tensor scales, Tensor rowCount)
    {
        if (First is not null) return;
        (int layer, string name) = _caches.TryGetValue(cache, out (int Layer, string Name) known) ? known : (-1, "a cached tensor");
        Look(layer, name, values, rowCount.IsEmpty ? -1 : rowCount.AsSpan<int>()[0]);
    }

    /// <param name="routedRows">Rows in use of a tensor whose rows are pairs of token and expert; −1 where each row is a token.</param>
    void Look(int layer, string name, Tensor values, int routedRows)
    {
        if (!values.IsHost || values.DType != DType.F32) return;
        int rows = values.Rank == 1 ? 1 : values.Rows;
        for (int row = 0; row < (routedRows < 0 ? rows : Math.Min(routedRows, rows)); row++)
        {
            if (TileQuantizer.FirstNonFinite(values.Row<float>(row)) < 0) continue;
            First = new TensorFault(layer, name, TokenOf(layer, row, rows, routedRows >= 0));
            return;
        }
    }

    // A tensor with several rows a token, heads for example, has them one after the other.
    int TokenOf(int layer, int row, int rows, bool routed)
    {
        if (!routed) return rows % _tokens == 0 ? row / (rows / _tokens) : -1;
        return _routed.TryGetValue(layer, out RoutedSaved? saved) && saved.Movement.Sources == 1 ? saved.Movement.RowToken.AsSpan<int>()[row] : -1;
    }
}
