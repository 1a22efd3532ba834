using Hadal.Model;
using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Parallel.Serving;

/// <summary>
/// Records which experts tokens choose, by standing where their rows are dispatched; everything else is the exchange's behind it, and no bit changes. Counts are kept of all tokens, the
/// choices themselves of the first ones of each window.
/// </summary>
public sealed class RoutingRecorder : IExpertExchange
{
    readonly IExpertExchange _exchange;
    readonly GateParameters _gate;
    readonly int[] _layers, _index;
    readonly int _sample;
    readonly List<RoutingWindow> _windows = [];
    readonly int[][] _counts;
    readonly List<ushort>[] _choices;
    int _tokens;

    /// <summary>Nothing recorded yet.</summary>
    /// <param name="model">Whose routing; all of its main layers with experts are recorded.</param>
    /// <param name="sample">Tokens of a window whose choices are kept.</param>
    /// <param name="exchange">What moves rows; null where all experts are here.</param>
    /// <exception cref="ArgumentException">The model has no routed experts, or more than the file can name.</exception>
    public RoutingRecorder(Transformer model, int sample, IExpertExchange? exchange = null)
    {
        _exchange = exchange ?? new LocalExpertExchange();
        _gate = model.Shape.Gate;
        _layers = [.. model.Blocks.Where(b => b.Routed is not null).Select(b => b.Layer)];
        if (_layers.Length == 0 || _gate.Experts > ushort.MaxValue + 1) throw new ArgumentException($"A model with {_gate.Experts} experts in {_layers.Length} layers was given; expected routed experts, at most {ushort.MaxValue + 1}.", nameof(model));
        _index = [.. Enumerable.Range(0, _layers.Max() + 1).Select(layer => Array.IndexOf(_layers, layer))];
        _sample = sample;
        _counts = [.. _layers.Select(_ => new int[_gate.Experts])];
        _choices = [.. _layers.Select(_ => new List<ushort>())];
    }

    /// <summary>Tokens of the window so far.</summary>
    public int Tokens => _tokens;

    /// <summary>Ends a window, if anything was read in it.</summary>
    /// <param name="label">What was read.</param>
    public void EndWindow(string label)
    {
        if (_tokens == 0) return;
        int sampled = _choices.Min(c => c.Count / _gate.TopK);
        _windows.Add(new(label, _tokens, [.. _counts.Select(c => c.ToArray())], sampled == 0 ? [] : [.. _choices.Select(c => c.GetRange(0, sampled * _gate.TopK).ToArray())]));
        _tokens = 0;
        foreach (int[] counts in _counts) Array.Clear(counts);
        foreach (List<ushort> choices in _choices) choices.Clear();
    }

    /// <summary>The windows that have ended.</summary>
    /// <param name="model">Name of the model.</param>
    public RoutingRecord ToRecord(string model) => new(model, _gate.Experts, _gate.TopK, _gate.Groups, _gate.TopGroups, _layers, [.. _windows]);

    /// <inheritdoc/>
    public ExpertPlacement PlacementOf(int experts) => _exchange.PlacementOf(experts);

    /// <inheritdoc/>
    public void Dispatch(ChunkContext chunk, ExpertRows movement, Tensor tokens, Tensor weights, Tensor rows, Tensor rowWeights)
    {
        int layer = chunk.Layer < _index.Length ? _index[chunk.Layer] : -1;
        if (layer >= 0)
        {
            ReadOnlySpan<int> chosen = movement.Experts.AsSpan<int>();
            if (layer == 0) _tokens += movement.Experts[0];
            foreach (int expert in chosen)
                if (expert >= 0) _counts[layer][expert]++;
            int room = Math.Min(movement.Experts[0], _sample - (_choices[layer].Count / _gate.TopK));
            for (int t = 0; t < room; t++)
            {
                ReadOnlySpan<int> token = chosen.Slice(t * _gate.TopK, _gate.TopK);
                if (token.Contains(-1)) continue;
                foreach (int expert in token) _choices[layer].Add((ushort)expert);
            }
        }

        _exchange.Dispatch(chunk, movement, tokens, weights, rows, rowWeights);
    }

    /// <inheritdoc/>
    public void Combine(ChunkContext chunk, ExpertRows movement, Tensor rows, Tensor y) => _exchange.Combine(chunk, movement, rows, y);

    /// <inheritdoc/>
    public void CombineBackward(ChunkContext chunk, ExpertRows movement, Tensor dy, Tensor dRows) => _exchange.CombineBackward(chunk, movement, dy, dRows);

    /// <inheritdoc/>
    public void DispatchBackward(ChunkContext chunk, ExpertRows movement, Tensor dRows, Tensor dRowWeights, Tensor dTokens, Tensor dWeights) =>
        _exchange.DispatchBackward(chunk, movement, dRows, dRowWeights, dTokens, dWeights);
}
