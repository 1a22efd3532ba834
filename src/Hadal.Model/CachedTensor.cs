using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Model;

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
    public void Keep(ChunkContext chunk, Tensor values, Tensor rowCount = default, bool rounded = false)
    {
        if (!IsPlain) chunk.Operations.Quantization.Encode(values, Format, _codes, _scales, rowCount);
        Tell(chunk, values, rowCount);
        if (IsPlain) return;
        if (rounded) chunk.Operations.Quantization.Decode(_codes, _scales, Format, values, rowCount);
    }

    /// <summary>Keeps values that live elsewhere, and returns the tensor to go on reading: the kept one, or <paramref name="values"/> itself.</summary>
    public Tensor Hold(ChunkContext chunk, Tensor values)
    {
        if (!IsPlain)
        {
            chunk.Operations.Quantization.Encode(values, Format, _codes, _scales, default);
            Tell(chunk, values, default);
            return values;
        }

        chunk.Operations.Elementwise.Copy(values, _codes);
        Tell(chunk, values, default);
        return _codes;
    }

    void Tell(ChunkContext chunk, Tensor values, Tensor rowCount) => chunk.Observer?.Kept(this, values, IsPlain ? default : _codes, _scales, rowCount);

    /// <summary>The values, [rows, columns]: the kept tensor, or a temporary of the chunk.</summary>
    public Tensor Restore(ChunkContext chunk, Tensor rowCount = default)
    {
        if (IsPlain) return _codes;
        Tensor values = chunk.Temporary(Rows, Columns);
        chunk.Operations.Quantization.Decode(_codes, _scales, Format, values, rowCount);
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
