using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Model;

/// <summary>Some rows of a tensor that follow each other; none means all.</summary>
/// <param name="First">First row.</param>
/// <param name="Count">Rows; 0 for all of the tensor.</param>
public readonly record struct RowRange(int First, int Count);

/// <summary>
/// A tensor that a record keeps from forward to backward in the format the recipe gives it. In float32 (the model's element type) it is an ordinary tensor that phases write
/// and read directly; in a narrower format phases work on a temporary, which is encoded when it is kept and decoded when it is restored.
/// </summary>
public sealed class CachedTensor
{
    Tensor _codes, _scales;

    /// <summary>How it is kept.</summary>
    public QuantizationFormat Format { get; private set; }

    /// <summary>Rows.</summary>
    public int Rows { get; private set; }

    /// <summary>Elements of a row.</summary>
    public int Columns { get; private set; }

    /// <summary>False until memory was taken.</summary>
    public bool IsAllocated => !_codes.IsEmpty;

    bool IsPlain => Format.Number == NumberFormat.F32;

    /// <summary>Takes memory for [rows, columns].</summary>
    /// <param name="arena">Where from.</param>
    /// <param name="format">How it is kept.</param>
    /// <param name="type">Element type of the model's activations, for the format F32.</param>
    /// <param name="rows">Rows.</param>
    /// <param name="columns">Elements of a row.</param>
    public void Allocate(TensorArena arena, QuantizationFormat format, DType type, int rows, int columns)
    {
        Format = format;
        Rows = rows;
        Columns = columns;
        _codes = IsPlain ? arena.Allocate(type, rows, columns) : arena.Allocate(format.StorageType, rows, format.StorageColumns(columns));
        (int scaleRows, int scaleColumns) = format.StorageScales(rows, columns);
        _scales = scaleRows == 0 ? default : arena.Allocate(DType.F32, scaleRows, scaleColumns);
    }

    /// <summary>What a phase writes the values to, [rows, columns], before <see cref="Keep"/>.</summary>
    public Tensor Begin(ChunkContext chunk) => IsPlain ? _codes : chunk.Temporary(Rows, Columns);

    /// <summary>Keeps what was written to <see cref="Begin"/>. With <paramref name="rounded"/> the values become what <see cref="Restore"/> will give.</summary>
    /// <param name="chunk">The chunk.</param>
    /// <param name="values">[rows, columns], or the rows of <paramref name="part"/>.</param>
    /// <param name="rowCount">I32 [1]: rows in use; absent means all.</param>
    /// <param name="rounded">Also round the values.</param>
    /// <param name="part">The rows that are kept.</param>
    public void Keep(ChunkContext chunk, Tensor values, Tensor rowCount = default, bool rounded = false, RowRange part = default)
    {
        (Tensor codes, Tensor scales) = Stored(part);
        if (!IsPlain) chunk.Operations.Quantization.Encode(values, Format, codes, scales, rowCount);
        Tell(chunk, values, codes, scales, rowCount);
        if (IsPlain) return;
        if (rounded) chunk.Operations.Quantization.Decode(codes, scales, Format, values, rowCount);
    }

    // Scales of tiles belong to rows; blocks would straddle parts, and a part of the whole has none.
    (Tensor Codes, Tensor Scales) Stored(RowRange part)
    {
        if (part.Count == 0 || part.Count == Rows) return (_codes, _scales);
        if (Format.Granularity is Granularity.Block or Granularity.Tensor)
            throw new InvalidOperationException($"A tensor kept as {Format} has scales that several rows share, so it cannot be kept in parts: experts across ranks need a recipe whose expert inputs have tiles.");
        return (_codes.Slice(part.First, part.Count), _scales.IsEmpty ? default : _scales.Slice(part.First, part.Count));
    }

    /// <summary>Keeps values that live elsewhere, and returns the tensor to go on reading: the kept one, or <paramref name="values"/> itself.</summary>
    public Tensor Hold(ChunkContext chunk, Tensor values)
    {
        if (!IsPlain)
        {
            chunk.Operations.Quantization.Encode(values, Format, _codes, _scales, default);
            Tell(chunk, values, _codes, _scales, default);
            return values;
        }

        chunk.Operations.Elementwise.Copy(values, _codes);
        Tell(chunk, values, _codes, _scales, default);
        return _codes;
    }

    void Tell(ChunkContext chunk, Tensor values, Tensor codes, Tensor scales, Tensor rowCount) => chunk.Observer?.Kept(this, values, IsPlain ? default : codes, scales, rowCount);

    /// <summary>The values, [rows, columns]: the kept tensor, or a temporary of the chunk; of <paramref name="part"/> when one is given.</summary>
    public Tensor Restore(ChunkContext chunk, Tensor rowCount = default, RowRange part = default)
    {
        (Tensor codes, Tensor scales) = Stored(part);
        if (IsPlain) return codes;
        Tensor values = chunk.Temporary(part.Count == 0 ? Rows : part.Count, Columns);
        chunk.Operations.Quantization.Decode(codes, scales, Format, values, rowCount);
        return values;
    }

    /// <summary>Its parts, under a name.</summary>
    public IEnumerable<RecordEntry> Entries(string name)
    {
        if (!IsAllocated) yield break;
        yield return new RecordEntry(name, _codes, Format);
        if (!_scales.IsEmpty) yield return new RecordEntry(name + ".Scales", _scales, QuantizationFormat.F32);
    }
}
