using Hadal.Tensors;

namespace Hadal.Model;

/// <summary>How a <see cref="SequenceChunk"/> weighs its losses.</summary>
/// <param name="LossWeight">Factor on each token's loss: 1/targets of the global batch gives the mean.</param>
/// <param name="MtpWeight">λ: MTP losses count λ/depths times as much [V3 §2.2].</param>
/// <param name="BalanceAlpha">α of the sequence-wise balance loss; 0 for none.</param>
/// <param name="BalanceWeight">1/sequences of the global batch.</param>
public readonly record struct LossWeights(double LossWeight, double MtpWeight, double BalanceAlpha, double BalanceWeight);

/// <summary>
/// The memory of one micro-batch of equally long sequences, and the plain loop over the model's phases. Made once; a step allocates nothing.
/// </summary>
public sealed class SequenceChunk : IDisposable
{
    readonly Transformer _model;
    readonly TensorArena _arena, _scratch;
    readonly BlockSaved[] _saved;
    readonly MtpSaved[] _mtpSaved;
    readonly BlockDeferred? _denseDeferred, _sparseDeferred;
    readonly Tensor _tokens, _borders, _hidden, _final, _finalInverseRms, _normed, _dNormed;
    readonly Tensor[] _targets, _losses, _mtpTokens;
    bool _isDivided;

    /// <summary>Takes memory.</summary>
    /// <param name="model">The model.</param>
    /// <param name="sequences">Sequences in the chunk.</param>
    /// <param name="length">Tokens of each.</param>
    /// <param name="training">False: no backward, one record is shared by all blocks.</param>
    /// <param name="exchange">How rows reach experts; local when null.</param>
    /// <exception cref="ArgumentException">The sequences are longer than the model's positions.</exception>
    public SequenceChunk(Transformer model, int sequences, int length, bool training, IExpertExchange? exchange = null)
    {
        if (length > model.Shape.MaxPositions)
            throw new ArgumentException($"Sequences of {length} tokens do not fit the model's {model.Shape.MaxPositions} positions (max_position_embeddings).", nameof(length));
        _model = model;
        Sequences = sequences;
        Length = length;
        IsTraining = training;
        DType type = model.DType;
        int tokens = checked(sequences * length), hidden = model.Shape.Hidden;
        _arena = new TensorArena(model.Backend);
        _scratch = new TensorArena(model.Backend);
        _borders = _arena.Allocate(DType.I32, tokens + 1);
        Context = new ChunkContext
        {
            Operations = model.Backend.Operations, Scratch = _scratch, DType = type, Recipe = model.Recipe, Exchange = exchange ?? new LocalExpertExchange(), RecordsMaxima = training,
            Positions = _arena.Allocate(DType.I32, tokens), Sequences = _borders.Slice(0, sequences + 1),
        };
        _tokens = _arena.Allocate(DType.I32, tokens);
        _mtpTokens = new Tensor[model.Mtp.Count];
        for (int k = 0; k < _mtpTokens.Length; k++) _mtpTokens[k] = _arena.Allocate(DType.I32, tokens);
        _hidden = _arena.Allocate(type, tokens, hidden);
        _final = _arena.Allocate(type, tokens, hidden);
        _finalInverseRms = _arena.Allocate(type, tokens);
        _normed = _arena.Allocate(type, tokens, hidden);
        _dNormed = training ? _arena.Allocate(type, tokens, hidden) : default;
        _targets = new Tensor[1 + model.Mtp.Count];
        _losses = new Tensor[1 + model.Mtp.Count];
        for (int k = 0; k < _targets.Length; k++)
        {
            _targets[k] = _arena.Allocate(DType.I32, tokens);
            _losses[k] = _arena.Allocate(type, tokens);
        }

        JoinRows();
        _saved = new BlockSaved[model.Blocks.Count];
        BlockSaved? sharedDense = null, sharedSparse = null;
        for (int layer = 0; layer < _saved.Length; layer++)
        {
            Block block = model.Blocks[layer];
            ref BlockSaved? shared = ref block.Routed is null ? ref sharedDense : ref sharedSparse;
            if (training || shared is null)
            {
                shared = new BlockSaved();
                long before = _arena.UsedBytes;
                shared.Allocate(_arena, block, model.Recipe, type, tokens, exchange);
                RecordBytes += _arena.UsedBytes - before;
            }

            _saved[layer] = shared;
        }

        _mtpSaved = new MtpSaved[model.Mtp.Count];
        for (int k = 0; k < _mtpSaved.Length; k++)
        {
            _mtpSaved[k] = new MtpSaved();
            _mtpSaved[k].Allocate(_arena, model.Mtp[k], model.Recipe, type, tokens, exchange);
        }

        if (!training) return;
        foreach (Block block in model.Blocks.Concat(model.Mtp.Select(m => m.Block)))
        {
            ref BlockDeferred? deferred = ref block.Routed is null ? ref _denseDeferred : ref _sparseDeferred;
            if (deferred is not null) continue;
            deferred = new BlockDeferred();
            deferred.Allocate(_arena, block, type, tokens, exchange);
        }
    }

    /// <summary>Sequences in the chunk.</summary>
    public int Sequences { get; }

    /// <summary>Tokens per sequence.</summary>
    public int Length { get; }

    /// <summary>True when backward is possible.</summary>
    public bool IsTraining { get; }

    /// <summary>Operations, temporaries, positions.</summary>
    public ChunkContext Context { get; }

    /// <summary>[sequences·length]: loss of each token after a forward; index 0 is the main model, k the MTP module of depth k.</summary>
    public IReadOnlyList<Tensor> Losses => _losses;

    /// <summary>I32 [sequences·length] targets, −1 for none; as <see cref="Losses"/>.</summary>
    public IReadOnlyList<Tensor> Targets => _targets;

    /// <summary>[sequences·length, hidden]: output of the final norm after a forward.</summary>
    public Tensor Normed => _normed;

    /// <summary>Records of the main blocks, in order.</summary>
    public IReadOnlyList<BlockSaved> Saved => _saved;

    /// <summary>Records of the MTP modules, in order.</summary>
    public IReadOnlyList<MtpSaved> MtpSaved => _mtpSaved;

    /// <summary>Bytes that the records of the main blocks take, alignment included.</summary>
    public long RecordBytes { get; }

    /// <summary>Bytes held for records and temporaries.</summary>
    public long ReservedBytes => _arena.ReservedBytes + _scratch.ReservedBytes;

    /// <summary>
    /// Sets the tokens. Each row holds length tokens, or more: the ones after are targets only. Where a row has no token, the target is −1.
    /// </summary>
    /// <param name="rows">[sequences, width], width ≥ length.</param>
    /// <param name="width">Tokens of a row.</param>
    /// <exception cref="ArgumentException">The count does not fit, or a token is outside the vocabulary.</exception>
    public void SetTokens(ReadOnlySpan<int> rows, int width)
    {
        CheckTokens(rows, width);
        if (_isDivided) JoinRows();
        for (int s = 0; s < Sequences; s++)
        {
            ReadOnlySpan<int> row = rows.Slice(s * width, width);
            row[..Length].CopyTo(_tokens.AsSpan<int>()[(s * Length)..]);
            SetTargets(row, s, 0, width);
        }
    }

    /// <summary>
    /// Sets rows of several samples that do not see each other [V3 §5.1]: positions begin anew at every sample, attention and the balance loss stay inside it, and neither the
    /// model nor an MTP module predicts across a border. Losses and gradients are those of the samples alone.
    /// </summary>
    /// <param name="rows">As in <see cref="SetTokens(ReadOnlySpan{int}, int)"/>.</param>
    /// <param name="width">Tokens of a row.</param>
    /// <param name="starts">Where samples begin in <paramref name="rows"/>, ascending; every row begins one, named or not.</param>
    /// <exception cref="ArgumentException">As there, or the starts do not ascend inside the rows.</exception>
    public void SetTokens(ReadOnlySpan<int> rows, int width, ReadOnlySpan<int> starts)
    {
        CheckTokens(rows, width);
        for (int i = 0; i < starts.Length; i++)
            if ((uint)starts[i] >= (uint)rows.Length || (i > 0 && starts[i] <= starts[i - 1]))
                throw new ArgumentException($"A sample begins at {starts[i]}; expected ascending places from 0 to {rows.Length - 1}.", nameof(starts));
        Span<int> positions = Context.Positions.AsSpan<int>(), borders = _borders.AsSpan<int>();
        int samples = 0, next = 0;
        for (int s = 0; s < Sequences; s++)
        {
            ReadOnlySpan<int> row = rows.Slice(s * width, width);
            row[..Length].CopyTo(_tokens.AsSpan<int>()[(s * Length)..]);
            int start = 0;
            while (start < width)
            {
                // 1. The sample ends where the next one of this row begins, or with the row.
                while (next < starts.Length && starts[next] <= (s * width) + start) next++;
                int end = next < starts.Length ? Math.Min(starts[next] - (s * width), width) : width;

                // 2. What of it is input: the rest of a row is targets only.
                if (start < Length) borders[samples++] = (s * Length) + start;
                for (int t = start; t < Math.Min(end, Length); t++) positions[(s * Length) + t] = t - start;
                SetTargets(row, s, start, end);
                start = end;
            }
        }

        borders[samples] = Sequences * Length;
        Context.Sequences = _borders.Slice(0, samples + 1);
        _isDivided = true;
    }

    void CheckTokens(ReadOnlySpan<int> rows, int width)
    {
        if (width < Length || rows.Length != Sequences * width)
            throw new ArgumentException($"{rows.Length} tokens were given; expected {Sequences} rows of {width} (at least {Length}).", nameof(rows));
        foreach (int token in rows)
            if ((uint)token >= (uint)_model.Shape.Vocabulary)
                throw new ArgumentException($"Token id {token} is outside the vocabulary of {_model.Shape.Vocabulary}.", nameof(rows));
    }

    /// <summary>Targets and MTP inputs of places [start, end) of a row, from tokens before <paramref name="end"/>; where there is none, the target is −1 and the input 0.</summary>
    void SetTargets(ReadOnlySpan<int> row, int sequence, int start, int end)
    {
        int last = Math.Min(end, Length);
        for (int k = 0; start < last && k < _targets.Length; k++)
        {
            Span<int> targets = _targets[k].AsSpan<int>().Slice(sequence * Length, Length);
            for (int t = start; t < last; t++) targets[t] = t + k + 1 < end ? row[t + k + 1] : -1;
            if (k == _mtpTokens.Length) continue;
            Span<int> inputs = _mtpTokens[k].AsSpan<int>().Slice(sequence * Length, Length);
            for (int t = start; t < last; t++) inputs[t] = Math.Max(targets[t], 0);
        }
    }

    /// <summary>Every row is one sequence.</summary>
    void JoinRows()
    {
        Span<int> positions = Context.Positions.AsSpan<int>(), borders = _borders.AsSpan<int>();
        for (int t = 0; t < positions.Length; t++) positions[t] = t % Length;
        for (int s = 0; s <= Sequences; s++) borders[s] = s * Length;
        Context.Sequences = _borders.Slice(0, Sequences + 1);
        _isDivided = false;
    }

    /// <summary>Main model up to the final norm.</summary>
    public void ForwardHidden()
    {
        _model.Embed(Context, _tokens, _hidden);
        for (int layer = 0; layer < _saved.Length; layer++)
            _model.Blocks[layer].Forward(Context, _hidden, _saved[layer], layer + 1 < _saved.Length ? _hidden : _final);
        _model.FinalNorm(Context, _final, _normed, _finalInverseRms);
    }

    /// <summary>Forward of the main model; fills <see cref="Losses"/>[0].</summary>
    public void Forward()
    {
        ForwardHidden();
        _model.Head.Loss(Context, _normed, _targets[0], _losses[0]);
    }

    /// <summary>logits [sequences·length, vocabulary] of the last forward.</summary>
    public void Logits(Tensor logits) => _model.Head.Logits(Context, _normed, logits);

    /// <summary>
    /// Forward and backward of everything. <paramref name="gradients"/> (flat) is overwritten with the gradient of
    /// LossWeight·(Σ losses + λ/D·Σ MTP losses) + balance losses.
    /// </summary>
    public void ForwardBackward(LossWeights weights, Tensor gradients)
    {
        if (!IsTraining) throw new InvalidOperationException("The chunk was made without memory for a backward pass; pass training: true.");
        Context.BalanceAlpha = weights.BalanceAlpha;
        Context.BalanceWeight = weights.BalanceWeight;
        bool mtp = _mtpSaved.Length > 0 && weights.MtpWeight != 0;
        Context.Operations.Elementwise.Fill(gradients, 0);

        // Forward: main model, then each MTP depth from the one before.
        ForwardHidden();
        _model.Head.LossAndGradient(Context, _normed, _targets[0], weights.LossWeight, _losses[0], _dNormed, gradients);
        for (int k = 0; mtp && k < _mtpSaved.Length; k++)
        {
            MtpSaved saved = _mtpSaved[k];
            _model.Mtp[k].Forward(Context, _mtpTokens[k], k == 0 ? _normed : _mtpSaved[k - 1].Normed, saved);
            _model.Head.LossAndGradient(Context, saved.Normed, _targets[k + 1], weights.LossWeight * weights.MtpWeight / _mtpSaved.Length, _losses[k + 1],
                saved.NormedGradient, gradients);
        }

        // Backward: deepest prediction first.
        for (int k = _mtpSaved.Length - 1; mtp && k >= 0; k--)
        {
            Tensor dPrevious = k == 0 ? _dNormed : _mtpSaved[k - 1].NormedGradient;
            _model.Mtp[k].Backward(Context, _mtpTokens[k], _mtpSaved[k], Deferred(_model.Mtp[k].Block), gradients, dPrevious);
        }

        _model.FinalNormBackward(Context, _dNormed, _final, _finalInverseRms, gradients, _hidden);
        for (int layer = _saved.Length - 1; layer >= 0; layer--)
        {
            Block block = _model.Blocks[layer];
            block.BackwardInput(Context, _hidden, _saved[layer], Deferred(block), _hidden);
            block.BackwardWeights(Context, _saved[layer], Deferred(block), gradients, accumulate: false);
        }

        _model.EmbedBackward(Context, _tokens, _hidden, gradients);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _arena.Dispose();
        _scratch.Dispose();
    }

    BlockDeferred Deferred(Block block) => block.Routed is null ? _denseDeferred! : _sparseDeferred!;
}
