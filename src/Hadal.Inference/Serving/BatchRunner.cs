using Hadal.Inference.Serving.Paging;
using Hadal.Model;
using Hadal.Tensors;

namespace Hadal.Inference.Serving;

/// <summary>
/// Runs one step of the model over tokens of many sequences: prompts in chunks and decoded tokens together, all in the absorbed form, so that a token's logits do not depend on
/// what else is in the step. Holds the memory of a step; after warm-up it allocates nothing. Not thread safe.
/// </summary>
sealed partial class BatchRunner : IDisposable
{
    readonly Transformer _model;
    readonly PagePool _pool;
    readonly TensorArena _scratch;
    readonly ChunkContext _chunk;
    readonly BlockSaved _dense = new(), _sparse = new();
    readonly float[] _row;
    readonly int[] _loadIndex;
    Tensor _normed, _logits, _draftLogits;
    ArenaMark _begin;

    public BatchRunner(Transformer model, PagePool pool, bool withMtp, TimeSpan loadHalfLife)
    {
        _model = model;
        _pool = pool;
        Mtp = withMtp ? model.Mtp[0] : null;
        _scratch = new TensorArena(model.Backend);
        _row = model.DType == DType.F32 ? [] : new float[model.Shape.Vocabulary];
        _chunk = new ChunkContext
        {
            Operations = model.Backend.Operations, Scratch = _scratch, DType = model.DType, Recipe = model.Recipe, Exchange = new LocalExpertExchange(),
        };
        _deferredBytes = MostDeferred * model.Shape.Hidden * model.DType.Size();
        _loadIndex = new int[model.Blocks.Count + 1];
        int sparse = 0;
        for (int layer = 0; layer < model.Blocks.Count; layer++) _loadIndex[layer] = model.Blocks[layer].Routed is null ? -1 : sparse++;
        _loadIndex[model.Blocks.Count] = Mtp?.Block.Routed is null ? -1 : sparse++;
        ExpertLoad = new long[sparse][];
        for (int i = 0; i < sparse; i++) ExpertLoad[i] = new long[model.Shape.Gate.Experts];
        RecentLoad = new DecayingLoad(sparse, model.Shape.Gate.Experts, loadHalfLife.TotalSeconds);
    }

    /// <summary>The module that drafts; null without speculation.</summary>
    public MtpModule? Mtp { get; }

    /// <summary>Tokens routed to each expert so far: [sparse layer, the MTP module's last][expert].</summary>
    public long[][] ExpertLoad { get; }

    /// <summary>The same, with old tokens counting less.</summary>
    public DecayingLoad RecentLoad { get; }

    /// <summary>
    /// Runs the main model over <see cref="Sequence.StepTokens"/> tokens of each sequence from position <see cref="Sequence.Computed"/> on, and the head where
    /// <see cref="Sequence.LogitRow"/> says so. <see cref="EndStep"/> must follow.
    /// </summary>
    /// <param name="sequences">Those of this step; their pages are there and may be written.</param>
    /// <param name="count">How many.</param>
    /// <param name="tokens">Tokens together.</param>
    /// <param name="logitRows">Rows of logits together.</param>
    public void Forward(Sequence[] sequences, int count, int tokens, int logitRows)
    {
        _begin = _scratch.Mark();
        int hidden = _model.Shape.Hidden;
        Tensor ids = _scratch.Allocate(DType.I32, tokens), positions = _scratch.Allocate(DType.I32, tokens), rows = _scratch.Allocate(DType.I32, Math.Max(1, logitRows));
        Tensor offsets = _scratch.Allocate(DType.I32, count + 1), lengths = _scratch.Allocate(DType.I32, count);
        Span<int> id = ids.AsSpan<int>(), position = positions.AsSpan<int>(), row = rows.AsSpan<int>(), offset = offsets.AsSpan<int>(), length = lengths.AsSpan<int>();
        int at = 0, logit = 0;
        for (int s = 0; s < count; s++)
        {
            Sequence sequence = sequences[s];
            offset[s] = at;
            sequence.StepRow = at;
            int known = sequence.StepTokens - (sequence.StepDrafted ? 1 : 0);
            sequence.State.Tokens.Slice(sequence.Computed, known).CopyTo(id[at..]);
            if (sequence.StepDrafted) id[at + known] = sequence.Draft;
            for (int i = 0; i < sequence.StepTokens; i++) position[at + i] = sequence.Computed + i;
            at += sequence.StepTokens;
            length[s] = sequence.Computed + sequence.StepTokens;
            if (sequence.LogitRow < 0) continue;
            if (sequence.StepDrafted) row[logit++] = at - 2;
            row[logit++] = at - 1;
        }

        offset[count] = at;
        _chunk.Positions = positions;
        _chunk.Sequences = offsets;
        var pages = new LatentPages(PageTable(sequences, count), offsets, lengths);
        Tensor x = _scratch.Allocate(_model.DType, tokens, hidden);
        _normed = _scratch.Allocate(_model.DType, tokens, hidden);
        _model.Embed(_chunk, ids, x);
        for (int layer = 0; layer < _model.Blocks.Count; layer++)
        {
            Block block = _model.Blocks[layer];
            BlockSaved saved = block.Routed is null ? _dense : _sparse;
            ArenaMark record = _scratch.Mark();
            saved.Allocate(_scratch, block, _model.Recipe, _model.DType, tokens);
            block.ForwardAbsorbed(_chunk, x, pages, _pool.Layer(layer), saved, x);
            CountLoad(layer, saved);
            _scratch.Release(record);
        }

        _model.FinalNorm(_chunk, x, _normed, default);
        _logits = Logits(_normed, rows, logitRows);
        _model.Backend.Synchronize();
    }

    /// <summary>Logits [vocabulary] of a row of <see cref="Forward"/>; valid until the next call.</summary>
    public ReadOnlySpan<float> Logits(int row) => Row(_logits, row);

    /// <summary>Logits [vocabulary] of a row of <see cref="ForwardDraft"/>; valid until the next call.</summary>
    public ReadOnlySpan<float> DraftLogits(int row) => Row(_draftLogits, row);

    /// <summary>Gives the memory of the step back.</summary>
    public void EndStep() => _scratch.Release(_begin);

    /// <inheritdoc/>
    public void Dispose() => _scratch.Dispose();

    Tensor Logits(Tensor normed, Tensor rows, int count)
    {
        if (count == 0) return default;
        Tensor selected = _scratch.Allocate(_model.DType, count, _model.Shape.Hidden), logits = _scratch.Allocate(_model.DType, count, _model.Shape.Vocabulary);
        _chunk.Operations.Embedding.Embed(rows, normed, selected); // picks rows
        _model.Head.Logits(_chunk, selected, logits);
        return logits;
    }

    ReadOnlySpan<float> Row(Tensor logits, int row)
    {
        if (_model.DType == DType.F32) return logits.Row<float>(row);
        Span<double> wide = logits.Row<double>(row);
        for (int v = 0; v < wide.Length; v++) _row[v] = (float)wide[v];
        return _row;
    }

    Tensor PageTable(Sequence[] sequences, int count)
    {
        int most = 1;
        for (int s = 0; s < count; s++) most = Math.Max(most, sequences[s].PageCount);
        Tensor table = _scratch.Allocate(DType.I32, count, most);
        for (int s = 0; s < count; s++) sequences[s].Pages.AsSpan(0, sequences[s].PageCount).CopyTo(table.Row<int>(s));
        return table;
    }

    void CountLoad(int layer, BlockSaved saved)
    {
        if (_loadIndex[layer] < 0) return;
        long[] load = ExpertLoad[_loadIndex[layer]];
        ReadOnlySpan<int> counts = saved.Routed!.Movement.Counts.AsSpan<int>();
        for (int e = 0; e < load.Length; e++) load[e] += counts[e];
        RecentLoad.Add(_loadIndex[layer], counts);
    }
}
