using Hadal.Tensors;

namespace Hadal.Model;

/// <summary>
/// What attention keeps from forward to backward. Norm outputs, up-projections and rotations are not here: they are recomputed [V3 §3.2.3].
/// </summary>
public sealed class AttentionSaved
{
    /// <summary>[tokens, hidden]: the residual stream before the block.</summary>
    public CachedTensor Input { get; } = new();

    /// <summary>[tokens]: 1/rms of <see cref="Input"/>.</summary>
    public Tensor InputInverseRms { get; private set; }

    /// <summary>[tokens, q_lora]: c_q before its norm; absent without query compression.</summary>
    public CachedTensor QueryLatent { get; } = new();

    /// <summary>[tokens]: 1/rms of <see cref="QueryLatent"/>.</summary>
    public Tensor QueryLatentInverseRms { get; private set; }

    /// <summary>[tokens, heads·(nope + rope)]: queries; kept only without query compression, where they are no up-projection. Rotated.</summary>
    public CachedTensor Queries { get; } = new();

    /// <summary>[tokens, kv_lora + rope]: c_kv before its norm, then the shared key, already rotated.</summary>
    public CachedTensor KeyValueLatent { get; } = new();

    /// <summary>[tokens]: 1/rms of the latent columns of <see cref="KeyValueLatent"/>.</summary>
    public Tensor KeyValueLatentInverseRms { get; private set; }

    /// <summary>[tokens, heads·value]: attention output, input of o_proj.</summary>
    public CachedTensor Output { get; } = new();

    /// <summary>[tokens, heads]: ln Σ e^score.</summary>
    public Tensor LogSumExp { get; private set; }

    /// <summary>Takes memory for <paramref name="tokens"/> tokens.</summary>
    public void Allocate(TensorArena arena, TransformerShape shape, Recipe recipe, DType type, int tokens)
    {
        Input.Allocate(arena, recipe.Residual, type, tokens, shape.Hidden);
        InputInverseRms = arena.Allocate(type, tokens);
        if (shape.QueryLoraRank > 0) QueryLatent.Allocate(arena, recipe.Latents, type, tokens, shape.QueryLoraRank);
        else Queries.Allocate(arena, recipe.Latents, type, tokens, shape.Heads * shape.QkHeadDim);
        QueryLatentInverseRms = shape.QueryLoraRank > 0 ? arena.Allocate(type, tokens) : default;
        KeyValueLatent.Allocate(arena, recipe.Latents, type, tokens, shape.LatentDim);
        KeyValueLatentInverseRms = arena.Allocate(type, tokens);
        Output.Allocate(arena, recipe.AttentionOutput, type, tokens, shape.Heads * shape.ValueHeadDim);
        LogSumExp = arena.Allocate(type, tokens, shape.Heads);
    }

    /// <summary>The tensors that a recipe gives a format, by name.</summary>
    public IEnumerable<(string Name, CachedTensor Tensor)> Caches() =>
        [(nameof(Input), Input), (nameof(QueryLatent), QueryLatent), (nameof(Queries), Queries), (nameof(KeyValueLatent), KeyValueLatent), (nameof(Output), Output)];

    /// <summary>The record's tensors by name.</summary>
    public IEnumerable<RecordEntry> Entries() =>
    [
        .. Input.Entries(nameof(Input)), new(nameof(InputInverseRms), InputInverseRms), .. QueryLatent.Entries(nameof(QueryLatent)),
        new(nameof(QueryLatentInverseRms), QueryLatentInverseRms), .. Queries.Entries(nameof(Queries)), .. KeyValueLatent.Entries(nameof(KeyValueLatent)),
        new(nameof(KeyValueLatentInverseRms), KeyValueLatentInverseRms), .. Output.Entries(nameof(Output)), new(nameof(LogSumExp), LogSumExp),
    ];
}

/// <summary>What attention leaves for its weight gradients: both operands of each product.</summary>
public sealed class AttentionDeferred
{
    /// <summary>[tokens, hidden]: gradient of the block's sum, the output gradient of o_proj.</summary>
    public Tensor OutputGradient { get; private set; }

    /// <summary>[tokens, hidden]: recomputed norm of the input.</summary>
    public Tensor Normed { get; private set; }

    /// <summary>[tokens, hidden]: gradient of <see cref="Normed"/>.</summary>
    public Tensor NormedGradient { get; private set; }

    /// <summary>[tokens, q_lora]: recomputed norm of c_q.</summary>
    public Tensor QueryLatentNormed { get; private set; }

    /// <summary>[tokens, q_lora]: gradient of <see cref="QueryLatentNormed"/>.</summary>
    public Tensor QueryLatentNormedGradient { get; private set; }

    /// <summary>[tokens, q_lora]: gradient of c_q.</summary>
    public Tensor QueryLatentGradient { get; private set; }

    /// <summary>[tokens, heads·(nope + rope)]: gradient of the queries before rotation.</summary>
    public Tensor QueriesGradient { get; private set; }

    /// <summary>[tokens, kv_lora]: recomputed norm of c_kv.</summary>
    public Tensor KeyValueLatentNormed { get; private set; }

    /// <summary>[tokens, kv_lora]: gradient of <see cref="KeyValueLatentNormed"/>.</summary>
    public Tensor KeyValueLatentNormedGradient { get; private set; }

    /// <summary>[tokens, kv_lora + rope]: gradient of kv_a's output.</summary>
    public Tensor KeyValueLatentGradient { get; private set; }

    /// <summary>[tokens, heads·(nope + value)]: gradient of kv_b's output.</summary>
    public Tensor KeysValuesGradient { get; private set; }

    /// <summary>Takes memory for <paramref name="tokens"/> tokens.</summary>
    public void Allocate(TensorArena arena, TransformerShape shape, DType type, int tokens)
    {
        OutputGradient = arena.Allocate(type, tokens, shape.Hidden);
        Normed = arena.Allocate(type, tokens, shape.Hidden);
        NormedGradient = arena.Allocate(type, tokens, shape.Hidden);
        if (shape.QueryLoraRank > 0)
        {
            QueryLatentNormed = arena.Allocate(type, tokens, shape.QueryLoraRank);
            QueryLatentNormedGradient = arena.Allocate(type, tokens, shape.QueryLoraRank);
            QueryLatentGradient = arena.Allocate(type, tokens, shape.QueryLoraRank);
        }

        QueriesGradient = arena.Allocate(type, tokens, shape.Heads * shape.QkHeadDim);
        KeyValueLatentNormed = arena.Allocate(type, tokens, shape.KeyValueLoraRank);
        KeyValueLatentNormedGradient = arena.Allocate(type, tokens, shape.KeyValueLoraRank);
        KeyValueLatentGradient = arena.Allocate(type, tokens, shape.LatentDim);
        KeysValuesGradient = arena.Allocate(type, tokens, shape.Heads * (shape.QkNopeHeadDim + shape.ValueHeadDim));
    }
}
