using Hadal.Model;
using Hadal.Tensors;

namespace Hadal.Inference;

/// <summary>
/// One conversation with a model: its latent cache and the memory of a step. Prompt and new tokens go through the same absorbed form, so a token's
/// logits do not depend on how the text before it was cut into calls. After warm-up a step allocates nothing.
/// </summary>
public sealed class GenerationSession : IDisposable
{
    /// <summary>Positions of a cache page.</summary>
    public const int PageLength = 64;
    const int PrefillChunk = 256;

    readonly Transformer _model;
    readonly TensorArena _cacheMemory, _scratch;
    readonly Tensor[] _caches;
    readonly Tensor _pageTable, _queryOffsets, _contextLengths, _logits;
    readonly ChunkContext _chunk;
    readonly BlockSaved _dense = new(), _sparse = new();
    readonly IExpertExchange _exchange;
    readonly float[] _logitsHost;

    /// <summary>Takes memory for the cache.</summary>
    /// <param name="model">The weights.</param>
    /// <param name="capacity">Most positions, prompt and new tokens together.</param>
    /// <param name="exchange">How rows reach experts; null where all are here. With an exchange across ranks all ranks run steps together.</param>
    /// <param name="resident">Experts in slots of this rank, in the place of the model's own; null for those.</param>
    /// <exception cref="ArgumentException">The capacity exceeds the model's positions.</exception>
    public GenerationSession(Transformer model, int capacity, IExpertExchange? exchange = null, IResidentExperts? resident = null)
    {
        if (capacity < 1 || capacity > model.Shape.MaxPositions)
            throw new ArgumentException($"A session of {capacity} positions does not fit the model: 1 to {model.Shape.MaxPositions} (max_position_embeddings).", nameof(capacity));
        _model = model;
        Capacity = capacity;
        int pages = (capacity + PageLength - 1) / PageLength;
        _cacheMemory = new TensorArena(model.Backend);
        _scratch = new TensorArena(model.Backend);
        _caches = new Tensor[model.Blocks.Count];
        for (int layer = 0; layer < _caches.Length; layer++) _caches[layer] = _cacheMemory.Allocate(model.DType, pages, PageLength, model.Shape.LatentDim);
        _pageTable = _cacheMemory.Allocate(DType.I32, 1, pages);
        for (int page = 0; page < pages; page++) _pageTable.AsSpan<int>()[page] = page;
        _queryOffsets = _cacheMemory.Allocate(DType.I32, 2);
        _contextLengths = _cacheMemory.Allocate(DType.I32, 1);
        _logits = _cacheMemory.Allocate(model.DType, 1, model.Shape.Vocabulary);
        _logitsHost = new float[model.Shape.Vocabulary];
        _exchange = exchange ?? new LocalExpertExchange();
        _chunk = new ChunkContext
        {
            Operations = model.Backend.Operations, Scratch = _scratch, DType = model.DType, Recipe = model.Recipe, Exchange = _exchange, Resident = resident,
        };
    }

    /// <summary>Most positions.</summary>
    public int Capacity { get; }

    /// <summary>Positions filled.</summary>
    public int Length { get; private set; }

    /// <summary>Logits [vocabulary] after the last token appended.</summary>
    public ReadOnlySpan<float> Logits => _logitsHost;

    /// <summary>Runs the tokens and fills <see cref="Logits"/>.</summary>
    /// <exception cref="ArgumentException">No token, one outside the vocabulary, or more than the session holds.</exception>
    public void Append(ReadOnlySpan<int> tokens)
    {
        if (tokens.IsEmpty) throw new ArgumentException("There is no token to append; a prompt has at least one.", nameof(tokens));
        if (tokens.Length > Capacity - Length)
            throw new ArgumentException($"{tokens.Length} tokens do not fit: the session holds {Capacity} positions, {Length} are used.", nameof(tokens));
        foreach (int token in tokens)
            if ((uint)token >= (uint)_model.Shape.Vocabulary)
                throw new ArgumentException($"Token id {token} is outside the vocabulary of {_model.Shape.Vocabulary}.", nameof(tokens));
        for (int start = 0; start < tokens.Length; start += PrefillChunk)
            Step(tokens.Slice(start, Math.Min(PrefillChunk, tokens.Length - start)), last: start + PrefillChunk >= tokens.Length);
    }

    /// <summary>Forgets everything from position <paramref name="length"/> on.</summary>
    public void Truncate(int length)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)length, (uint)Length);
        Length = length;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _cacheMemory.Dispose();
        _scratch.Dispose();
    }

    void Step(ReadOnlySpan<int> tokens, bool last)
    {
        ArenaMark mark = _scratch.Mark();
        int count = tokens.Length, hidden = _model.Shape.Hidden;
        Tensor ids = _scratch.Allocate(DType.I32, count);
        tokens.CopyTo(ids.AsSpan<int>());
        Tensor positions = _scratch.Allocate(DType.I32, count);
        for (int t = 0; t < count; t++) positions.AsSpan<int>()[t] = Length + t;
        _chunk.Positions = positions;
        Span<int> offsets = _queryOffsets.AsSpan<int>();
        offsets[0] = 0;
        offsets[1] = count;
        _chunk.Sequences = _queryOffsets;
        _contextLengths.AsSpan<int>()[0] = Length + count;
        var pages = new LatentPages(_pageTable, _queryOffsets, _contextLengths);

        Tensor x = _scratch.Allocate(_model.DType, count, hidden);
        _model.Embed(_chunk, ids, x);
        for (int layer = 0; layer < _caches.Length; layer++)
        {
            Block block = _model.Blocks[layer];
            BlockSaved saved = block.Routed is null ? _dense : _sparse;
            ArenaMark record = _scratch.Mark();
            saved.Allocate(_scratch, block, _model.Recipe, _model.DType, count, _exchange);
            block.ForwardAbsorbed(_chunk, x, pages, _caches[layer], saved, x);
            _scratch.Release(record);
        }

        if (last)
        {
            Tensor normed = _scratch.Allocate(_model.DType, 1, hidden);
            _model.FinalNorm(_chunk, x.Slice(count - 1, 1), normed, default);
            _model.Head.Logits(_chunk, normed, _logits);
            _model.Backend.Synchronize();
            if (_model.DType == DType.F32) _logits.AsSpan<float>().CopyTo(_logitsHost);
            else
                for (int v = 0; v < _logitsHost.Length; v++) _logitsHost[v] = (float)_logits.AsSpan<double>()[v];
        }

        Length += count;
        _scratch.Release(mark);
    }
}
