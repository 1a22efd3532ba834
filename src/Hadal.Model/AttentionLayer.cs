using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Model;

/// <summary>
/// Multi-head latent attention [V3 §2.1.1; model spec §3], the attention phase of a block: y = x + W_O·attention(RMSNorm(x)).
/// Training and scoring expand keys and values per head from the latent; the cache form is in <see cref="ForwardAbsorbed"/>.
/// Queries and keys are laid out [nope | rope] per head, pairs interleaved.
/// </summary>
public sealed class AttentionLayer
{
    readonly TransformerShape _shape;
    readonly Tensor _rotary;
    readonly Parameter _inputNorm, _keyValueNorm, _keyValueDown, _keyValueUp, _output, _query;
    readonly Parameter? _queryDown, _queryNorm;
    PreparedWeight? _absorbedKeys, _absorbedValues;

    internal AttentionLayer(ParameterSet set, TransformerShape shape, string prefix, Tensor rotary)
    {
        _shape = shape;
        _rotary = rotary;
        string attention = prefix + "self_attn.";
        int queryRows = shape.Heads * shape.QkHeadDim;
        _inputNorm = set.Add(prefix + "input_layernorm.weight", ParameterKind.Norm, [shape.Hidden], null);
        if (shape.QueryLoraRank > 0)
        {
            _queryDown = set.Add(attention + "q_a_proj.weight", ParameterKind.Projection, [shape.QueryLoraRank, shape.Hidden], ProductUses.Training);
            _queryNorm = set.Add(attention + "q_a_layernorm.weight", ParameterKind.Norm, [shape.QueryLoraRank], null);
            _query = set.Add(attention + "q_b_proj.weight", ParameterKind.Projection, [queryRows, shape.QueryLoraRank], ProductUses.Training);
        }
        else
        {
            _query = set.Add(attention + "q_proj.weight", ParameterKind.Projection, [queryRows, shape.Hidden], ProductUses.Training);
        }

        _keyValueDown = set.Add(attention + "kv_a_proj_with_mqa.weight", ParameterKind.Projection, [shape.LatentDim, shape.Hidden], ProductUses.Training);
        _keyValueNorm = set.Add(attention + "kv_a_layernorm.weight", ParameterKind.Norm, [shape.KeyValueLoraRank], null);
        _keyValueUp = set.Add(attention + "kv_b_proj.weight", ParameterKind.Projection,
            [shape.Heads * (shape.QkNopeHeadDim + shape.ValueHeadDim), shape.KeyValueLoraRank], ProductUses.Training);
        _output = set.Add(attention + "o_proj.weight", ParameterKind.Projection, [shape.Hidden, shape.Heads * shape.ValueHeadDim], ProductUses.Training);
    }

    /// <summary>y = x + attention. <paramref name="saved"/> receives what the backward needs.</summary>
    /// <param name="x">[tokens, hidden].</param>
    /// <param name="y">[tokens, hidden], may be <paramref name="x"/>.</param>
    public void Forward(ChunkContext chunk, Tensor x, AttentionSaved saved, Tensor y)
    {
        IOperations ops = chunk.Operations;
        ArenaMark mark = chunk.Scratch.Mark();
        int tokens = x.Rows;
        Tensor input = saved.Input.Hold(chunk, x);
        Tensor normed = chunk.Temporary(tokens, _shape.Hidden);
        ops.Elementwise.RmsNorm(input, _inputNorm.Value, _shape.NormEpsilon, normed, saved.InputInverseRms);
        Tensor queries = _queryDown is null ? saved.Queries.Begin(chunk) : saved.QueryLatent.Begin(chunk);
        if (_queryDown is null)
        {
            ProjectQueries(chunk, normed, queries.Reshape(tokens, _shape.Heads, _shape.QkHeadDim));
            saved.Queries.Keep(chunk, queries, rounded: true);
        }
        else
        {
            chunk.Forward(normed, _queryDown, queries);
            saved.QueryLatent.Keep(chunk, queries, rounded: true);
        }

        Tensor keyValueLatent = saved.KeyValueLatent.Begin(chunk);
        Compress(chunk, normed, keyValueLatent);
        saved.KeyValueLatent.Keep(chunk, keyValueLatent, rounded: true);

        Expanded expanded = Expand(chunk, saved, queries, keyValueLatent, default, default);
        Tensor output = saved.Output.Begin(chunk);
        ops.Attention.Causal(expanded.Queries, expanded.Keys, expanded.Values, chunk.Sequences, _shape.SoftmaxScale, output.Reshape(tokens, _shape.Heads, _shape.ValueHeadDim),
            saved.LogSumExp);
        chunk.Round(output);
        saved.Output.Keep(chunk, output);

        Tensor attended = chunk.Temporary(tokens, _shape.Hidden);
        chunk.Forward(output, _output, attended, chunk.Recipe.AttentionOutputScale);
        ops.Elementwise.Add(input, attended, y);
        chunk.Round(y);
        chunk.Scratch.Release(mark);
    }

    /// <summary>dx = dy + gradient through attention; leaves both operands of every weight gradient in <paramref name="deferred"/>.</summary>
    public void BackwardInput(ChunkContext chunk, Tensor dy, AttentionSaved saved, AttentionDeferred deferred, Tensor dx)
    {
        IOperations ops = chunk.Operations;
        ArenaMark mark = chunk.Scratch.Mark();
        int tokens = dy.Rows, heads = _shape.Heads, nope = _shape.QkNopeHeadDim, rope = _shape.QkRopeHeadDim, rank = _shape.KeyValueLoraRank;
        ops.Elementwise.Copy(dy, deferred.OutputGradient);

        // Recompute: norm of the input, norms of the latents, keys, values, queries.
        Tensor input = saved.Input.Restore(chunk), keyValueLatent = saved.KeyValueLatent.Restore(chunk);
        Tensor queries = _queryDown is null ? saved.Queries.Restore(chunk) : saved.QueryLatent.Restore(chunk);
        ops.Elementwise.RmsNorm(input, _inputNorm.Value, _shape.NormEpsilon, deferred.Normed, default);
        Expanded expanded = Expand(chunk, saved, queries, keyValueLatent, deferred.QueryLatentNormed, deferred.KeyValueLatentNormed);

        // Attention core.
        Tensor dOutput = chunk.Temporary(tokens, heads, _shape.ValueHeadDim);
        chunk.BackwardInput(deferred.OutputGradient, _output, dOutput.Reshape(tokens, heads * _shape.ValueHeadDim));
        Tensor dKeys = chunk.Temporary(tokens, heads, _shape.QkHeadDim);
        Tensor dQueries = deferred.QueriesGradient.Reshape(tokens, heads, _shape.QkHeadDim);
        Tensor dKeysValues = deferred.KeysValuesGradient.Reshape(tokens, heads, nope + _shape.ValueHeadDim);
        ops.Attention.CausalBackward(dOutput, expanded.Queries, expanded.Keys, expanded.Values, saved.Output.Restore(chunk).Reshape(tokens, heads, _shape.ValueHeadDim), saved.LogSumExp, chunk.Sequences,
            _shape.SoftmaxScale, dQueries, dKeys, dKeysValues.SliceColumns(nope, _shape.ValueHeadDim));
        ops.Elementwise.Copy(dKeys.SliceColumns(0, nope), dKeysValues.SliceColumns(0, nope));

        // Shared rotated key: sum over heads, rotate back.
        Tensor dSharedKey = deferred.KeyValueLatentGradient.SliceColumns(rank, rope);
        ops.Elementwise.SumRowGroups(dKeys.Reshape(tokens * heads, _shape.QkHeadDim).SliceColumns(nope, rope), heads, dSharedKey, accumulate: false);
        ops.Elementwise.Rope(dSharedKey, chunk.Positions, _rotary, inverse: true, dSharedKey);

        // Latent of keys and values.
        chunk.BackwardInput(deferred.KeysValuesGradient, _keyValueUp, deferred.KeyValueLatentNormedGradient);
        ops.Elementwise.RmsNormBackwardInput(deferred.KeyValueLatentNormedGradient, keyValueLatent.SliceColumns(0, rank), _keyValueNorm.Value,
            saved.KeyValueLatentInverseRms, deferred.KeyValueLatentGradient.SliceColumns(0, rank), accumulate: false);
        chunk.BackwardInput(deferred.KeyValueLatentGradient, _keyValueDown, deferred.NormedGradient);

        // Queries.
        Tensor dRotated = dQueries.SliceColumns(nope, rope);
        ops.Elementwise.Rope(dRotated, chunk.Positions, _rotary, inverse: true, dRotated);
        if (_queryDown is not null)
        {
            chunk.BackwardInput(deferred.QueriesGradient, _query, deferred.QueryLatentNormedGradient);
            ops.Elementwise.RmsNormBackwardInput(deferred.QueryLatentNormedGradient, queries, _queryNorm!.Value, saved.QueryLatentInverseRms,
                deferred.QueryLatentGradient, accumulate: false);
            chunk.BackwardInput(deferred.QueryLatentGradient, _queryDown, deferred.NormedGradient, accumulate: true);
        }
        else
        {
            chunk.BackwardInput(deferred.QueriesGradient, _query, deferred.NormedGradient, accumulate: true);
        }

        // Residual: dx = dy + gradient of the norm.
        ops.Elementwise.Copy(deferred.OutputGradient, dx);
        ops.Elementwise.RmsNormBackwardInput(deferred.NormedGradient, input, _inputNorm.Value, saved.InputInverseRms, dx, accumulate: true);
        chunk.Round(dx);
        chunk.Scratch.Release(mark);
    }

    /// <summary>Weight gradients from the deferred operands, into the flat buffer <paramref name="gradients"/>.</summary>
    public void BackwardWeights(ChunkContext chunk, AttentionSaved saved, AttentionDeferred deferred, Tensor gradients, bool accumulate)
    {
        IElementwiseOperations elementwise = chunk.Operations.Elementwise;
        ArenaMark mark = chunk.Scratch.Mark();
        Tensor keyValueLatent = saved.KeyValueLatent.Restore(chunk);
        chunk.BackwardWeight(deferred.OutputGradient, saved.Output.Restore(chunk), _output, gradients, accumulate);
        chunk.BackwardWeight(deferred.KeysValuesGradient, deferred.KeyValueLatentNormed, _keyValueUp, gradients, accumulate);
        chunk.BackwardWeight(deferred.KeyValueLatentGradient, deferred.Normed, _keyValueDown, gradients, accumulate);
        elementwise.RmsNormBackwardWeight(deferred.KeyValueLatentNormedGradient, keyValueLatent.SliceColumns(0, _shape.KeyValueLoraRank),
            saved.KeyValueLatentInverseRms, _keyValueNorm.View(gradients), accumulate);
        if (_queryDown is not null)
        {
            chunk.BackwardWeight(deferred.QueriesGradient, deferred.QueryLatentNormed, _query, gradients, accumulate);
            chunk.BackwardWeight(deferred.QueryLatentGradient, deferred.Normed, _queryDown, gradients, accumulate);
            elementwise.RmsNormBackwardWeight(deferred.QueryLatentNormedGradient, saved.QueryLatent.Restore(chunk), saved.QueryLatentInverseRms, _queryNorm!.View(gradients), accumulate);
        }
        else
        {
            chunk.BackwardWeight(deferred.QueriesGradient, deferred.Normed, _query, gradients, accumulate);
        }

        elementwise.RmsNormBackwardWeight(deferred.NormedGradient, saved.Input.Restore(chunk), saved.InputInverseRms, _inputNorm.View(gradients), accumulate);
        chunk.Scratch.Release(mark);
    }

    /// <summary>
    /// y = x + attention over the paged latent cache, W_UK absorbed into the query and W_UV into the output [model spec §3]: acts as one key head of
    /// kv_lora + rope dims. Appends the new tokens to the cache first. Positions come from <see cref="ChunkContext.Positions"/>.
    /// </summary>
    public void ForwardAbsorbed(ChunkContext chunk, Tensor x, LatentPages pages, Tensor cache, Tensor y)
    {
        IOperations ops = chunk.Operations;
        ArenaMark mark = chunk.Scratch.Mark();
        int tokens = x.Rows, heads = _shape.Heads, nope = _shape.QkNopeHeadDim, rope = _shape.QkRopeHeadDim, rank = _shape.KeyValueLoraRank;
        Tensor normed = chunk.Temporary(tokens, _shape.Hidden);
        ops.Elementwise.RmsNorm(x, _inputNorm.Value, _shape.NormEpsilon, normed, default);

        Tensor queries = chunk.Temporary(tokens, heads, _shape.QkHeadDim);
        if (_queryDown is not null)
        {
            Tensor latent = chunk.Temporary(tokens, _shape.QueryLoraRank);
            chunk.Forward(normed, _queryDown, latent);
            ops.Elementwise.RmsNorm(latent, _queryNorm!.Value, _shape.NormEpsilon, latent, default);
            ProjectQueries(chunk, latent, queries);
        }
        else
        {
            ProjectQueries(chunk, normed, queries);
        }

        Append(chunk, normed, pages, cache);
        PrepareAbsorbed(ops.Matrix);
        Tensor absorbed = chunk.Temporary(tokens, heads, _shape.LatentDim);
        ops.Matrix.BatchedBackwardInput(queries.SliceColumns(0, nope), _absorbedKeys!, absorbed.SliceColumns(0, rank));
        ops.Elementwise.Copy(queries.SliceColumns(nope, rope), absorbed.SliceColumns(rank, rope));
        Tensor latentOutput = chunk.Temporary(tokens, heads, rank);
        ops.Attention.Latent(absorbed, cache, pages.PageTable, pages.QueryOffsets, pages.ContextLengths, _shape.SoftmaxScale, latentOutput);
        Tensor output = chunk.Temporary(tokens, heads, _shape.ValueHeadDim);
        ops.Matrix.BatchedForward(latentOutput, _absorbedValues!, output);

        Tensor attended = chunk.Temporary(tokens, _shape.Hidden);
        chunk.Forward(output.Reshape(tokens, heads * _shape.ValueHeadDim), _output, attended, chunk.Recipe.AttentionOutputScale);
        ops.Elementwise.Add(x, attended, y);
        chunk.Round(y);
        chunk.Scratch.Release(mark);
    }

    /// <summary>Only the part of <see cref="ForwardAbsorbed"/> that writes the new tokens' rows to the cache: the same bits.</summary>
    public void AppendLatent(ChunkContext chunk, Tensor x, LatentPages pages, Tensor cache)
    {
        ArenaMark mark = chunk.Scratch.Mark();
        Tensor normed = chunk.Temporary(x.Rows, _shape.Hidden);
        chunk.Operations.Elementwise.RmsNorm(x, _inputNorm.Value, _shape.NormEpsilon, normed, default);
        Append(chunk, normed, pages, cache);
        chunk.Scratch.Release(mark);
    }

    void Append(ChunkContext chunk, Tensor normed, LatentPages pages, Tensor cache)
    {
        Tensor rows = chunk.Temporary(normed.Rows, _shape.LatentDim);
        Compress(chunk, normed, rows);
        Tensor keyValueLatent = rows.SliceColumns(0, _shape.KeyValueLoraRank);
        chunk.Operations.Elementwise.RmsNorm(keyValueLatent, _keyValueNorm.Value, _shape.NormEpsilon, keyValueLatent, default);
        chunk.Operations.Attention.AppendLatent(rows, cache, pages.PageTable, pages.QueryOffsets, pages.ContextLengths);
    }

    /// <summary>Packs W_UK and W_UV per head once; called again after the weights changed.</summary>
    internal void RefreshAbsorbed(IMatrixOperations matrix)
    {
        if (_absorbedKeys is null) return;
        matrix.Refresh(_absorbedKeys);
        matrix.Refresh(_absorbedValues!);
    }

    internal void Release()
    {
        _absorbedKeys?.Dispose();
        _absorbedValues?.Dispose();
    }

    void PrepareAbsorbed(IMatrixOperations matrix)
    {
        if (_absorbedKeys is not null) return;
        int nope = _shape.QkNopeHeadDim, value = _shape.ValueHeadDim;
        var keys = new Tensor[_shape.Heads];
        var values = new Tensor[_shape.Heads];
        for (int head = 0; head < _shape.Heads; head++)
        {
            keys[head] = _keyValueUp.Value.Slice(head * (nope + value), nope);
            values[head] = _keyValueUp.Value.Slice((head * (nope + value)) + nope, value);
        }

        _absorbedKeys = matrix.Prepare(keys, ProductUses.BackwardInput);
        _absorbedValues = matrix.Prepare(values, ProductUses.Forward);
    }

    /// <summary>Queries of all heads with their rotation. <paramref name="queries"/> [tokens, heads, nope + rope].</summary>
    void ProjectQueries(ChunkContext chunk, Tensor input, Tensor queries)
    {
        IOperations ops = chunk.Operations;
        chunk.Forward(input, _query, queries.Reshape(input.Rows, _shape.Heads * _shape.QkHeadDim));
        Tensor rotated = queries.SliceColumns(_shape.QkNopeHeadDim, _shape.QkRopeHeadDim);
        ops.Elementwise.Rope(rotated, chunk.Positions, _rotary, inverse: false, rotated);
    }

    /// <summary>[tokens, kv_lora + rope]: latent before its norm and the shared key, rotated.</summary>
    void Compress(ChunkContext chunk, Tensor normed, Tensor keyValueLatent)
    {
        IOperations ops = chunk.Operations;
        chunk.Forward(normed, _keyValueDown, keyValueLatent);
        Tensor sharedKey = keyValueLatent.SliceColumns(_shape.KeyValueLoraRank, _shape.QkRopeHeadDim);
        ops.Elementwise.Rope(sharedKey, chunk.Positions, _rotary, inverse: false, sharedKey);
    }

    readonly record struct Expanded(Tensor Queries, Tensor Keys, Tensor Values);

    /// <summary>
    /// Up-projections from the kept latents (or, without query compression, the kept queries): the part of the forward that the backward repeats. Normed latents go to the given
    /// tensors, or to temporaries.
    /// </summary>
    Expanded Expand(ChunkContext chunk, AttentionSaved saved, Tensor queryLatent, Tensor keyValueLatent, Tensor queryLatentNormed, Tensor keyValueLatentNormed)
    {
        IOperations ops = chunk.Operations;
        int tokens = keyValueLatent.Rows, heads = _shape.Heads, nope = _shape.QkNopeHeadDim, rope = _shape.QkRopeHeadDim, rank = _shape.KeyValueLoraRank;
        Tensor queries;
        if (_queryDown is not null)
        {
            if (queryLatentNormed.IsEmpty) queryLatentNormed = chunk.Temporary(tokens, _shape.QueryLoraRank);
            ops.Elementwise.RmsNorm(queryLatent, _queryNorm!.Value, _shape.NormEpsilon, queryLatentNormed, saved.QueryLatentInverseRms);
            queries = chunk.Temporary(tokens, heads, _shape.QkHeadDim);
            ProjectQueries(chunk, queryLatentNormed, queries);
        }
        else
        {
            queries = queryLatent.Reshape(tokens, heads, _shape.QkHeadDim);
        }

        if (keyValueLatentNormed.IsEmpty) keyValueLatentNormed = chunk.Temporary(tokens, rank);
        ops.Elementwise.RmsNorm(keyValueLatent.SliceColumns(0, rank), _keyValueNorm.Value, _shape.NormEpsilon, keyValueLatentNormed,
            saved.KeyValueLatentInverseRms);
        Tensor keysValues = chunk.Temporary(tokens, heads, nope + _shape.ValueHeadDim);
        chunk.Forward(keyValueLatentNormed, _keyValueUp, keysValues.Reshape(tokens, heads * (nope + _shape.ValueHeadDim)));
        Tensor keys = chunk.Temporary(tokens, heads, _shape.QkHeadDim);
        ops.Elementwise.Copy(keysValues.SliceColumns(0, nope), keys.SliceColumns(0, nope));
        ops.Elementwise.RepeatRows(keyValueLatent.SliceColumns(rank, rope), heads, keys.SliceColumns(nope, rope));
        return new Expanded(queries, keys, keysValues.SliceColumns(nope, _shape.ValueHeadDim));
    }
}

/// <summary>Where the requests of a chunk stand in the paged latent cache.</summary>
/// <param name="PageTable">I32 [requests, pages per request].</param>
/// <param name="QueryOffsets">I32 [requests + 1]: new tokens of each request inside the chunk.</param>
/// <param name="ContextLengths">I32 [requests]: positions filled once the new tokens are appended.</param>
public readonly record struct LatentPages(Tensor PageTable, Tensor QueryOffsets, Tensor ContextLengths);
