using Hadal.Numerics;
using Hadal.Tensors;

namespace Hadal.Model;

/// <summary>The first tensor of a chunk's records that is not finite.</summary>
/// <param name="Layer">Index of the block, as in checkpoints.</param>
/// <param name="Tensor">Field of its record, for example <c>Attention.Output</c>.</param>
/// <param name="Token">Token of the chunk; −1 when the tensor has no row for each token.</param>
public readonly record struct RecordFault(int Layer, string Tensor, int Token)
{
    /// <inheritdoc/>
    public override string ToString() => $"layer {Layer}, {Tensor}";
}

/// <summary>Finds where a NaN or infinity first appeared: in the order of the forward, over records in host memory. For the way out of a run that has failed.</summary>
public static class FaultFinder
{
    /// <summary>The first fault in the records of the last forward, MTP modules after the main blocks; null when all are finite.</summary>
    public static RecordFault? Find(SequenceChunk chunk, Transformer model)
    {
        ArgumentNullException.ThrowIfNull(chunk);
        ArgumentNullException.ThrowIfNull(model);
        for (int layer = 0; layer < chunk.Saved.Count; layer++)
            if (Find(chunk.Saved[layer], model.Blocks[layer].Layer) is { } fault) return fault;
        for (int depth = 0; depth < chunk.MtpSaved.Count; depth++)
            if (Find(chunk.MtpSaved[depth].Block, model.Mtp[depth].Block.Layer) is { } fault) return fault;
        return null;
    }

    /// <summary>The first parameter that is not finite; null when all are.</summary>
    public static Parameter? FindParameter(Transformer model)
    {
        ArgumentNullException.ThrowIfNull(model);
        return model.Parameters.All.FirstOrDefault(p => FirstRow(p.Value, p.Value.Rows) >= 0);
    }

    static RecordFault? Find(BlockSaved saved, int layer)
    {
        int routedRows = saved.Routed is null ? 0 : saved.Routed.Movement.RowCount.AsSpan<int>()[0];
        foreach (RecordEntry entry in saved.Entries())
        {
            if (entry.Tensor.IsEmpty || !entry.Tensor.IsHost || !entry.Tensor.DType.IsFloatingPoint() || entry.Name is "Routed.BalanceGradient" or "Routed.BalanceLoss") continue;
            bool routed = saved.Routed is not null && entry.Tensor.Length > 1 && (entry.Name.StartsWith("Routed.Rows", StringComparison.Ordinal)
                || entry.Name.StartsWith("Routed.GateUp", StringComparison.Ordinal) || string.Equals(entry.Name, "Routed.RowWeights", StringComparison.Ordinal));
            Tensor rows = entry.Tensor.Rank == 1 ? entry.Tensor.Reshape(entry.Tensor.Columns, 1) : entry.Tensor;
            int row = FirstRow(rows, routed ? Math.Min(routedRows, rows.Rows) : rows.Rows);
            if (row < 0) continue;
            int token = routed ? saved.Routed!.Movement.Sources > 1 ? -1 : saved.Routed!.Movement.RowToken.AsSpan<int>()[row] : rows.Rows == saved.Middle.Rows ? row : -1;
            return new RecordFault(layer, entry.Name.Replace(".Scales", "", StringComparison.Ordinal), token);
        }

        return null;
    }

    static int FirstRow(Tensor tensor, int rows)
    {
        for (int row = 0; row < rows; row++)
        {
            bool finite = tensor.DType switch
            {
                DType.F32 => TileQuantizer.FirstNonFinite(tensor.Row<float>(row)) < 0,
                DType.F64 => tensor.Row<double>(row).IndexOfAnyExceptInRange(double.MinValue, double.MaxValue) < 0,
                DType.BF16 => IsFinite(tensor.Row<BF16>(row)),
                _ => true, // narrower formats carry a fault in their scales, which are entries of their own
            };
            if (!finite) return row;
        }

        return -1;
    }

    static bool IsFinite(ReadOnlySpan<BF16> values)
    {
        foreach (BF16 value in values)
            if (!float.IsFinite(value.ToSingle())) return false;
        return true;
    }
}
