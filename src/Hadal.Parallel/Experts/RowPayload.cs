using Hadal.Model;
using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Parallel.Experts;

/// <summary>
/// Token rows as they travel: codes, then the row's scales, in whole words. Encoding happens once for each token before it is sent, decoding once for each
/// expert row; in between bytes are copied.
/// </summary>
unsafe ref struct RowPayload
{
    readonly ChunkContext _chunk;
    readonly QuantizationFormat _format;
    readonly int _columns, _codeBytes, _scaleBytes;
    Tensor _codes, _scales, _rowCodes, _rowScales;

    /// <summary>For rows of so many columns in a format.</summary>
    /// <exception cref="NotSupportedException">Rows of the format share scales.</exception>
    public RowPayload(ChunkContext chunk, QuantizationFormat format, int columns)
    {
        if (format.Granularity is Granularity.Block or Granularity.Tensor)
            throw new NotSupportedException($"Token rows cannot travel as {format}: several rows share a scale. Experts across ranks need a recipe whose expert inputs and gradients have tiles, for example fp8.");
        (_chunk, _format, _columns) = (chunk, format, columns);
        _codeBytes = format.StorageColumns(columns) * format.StorageType.Size();
        _scaleBytes = format.StorageScales(1, columns).Columns * sizeof(float);
    }

    /// <summary>Bytes of a row.</summary>
    public readonly int Bytes => ((_codeBytes + 3) & ~3) + _scaleBytes;

    readonly bool IsPlain => _format.Number == NumberFormat.F32;

    /// <summary>Encodes [tokens, columns].</summary>
    public void Encode(Tensor tokens)
    {
        if (tokens.DType != DType.F32) throw new NotSupportedException($"Experts across ranks compute in F32; {tokens} was given.");
        if (IsPlain)
        {
            _codes = tokens;
            return;
        }

        (_codes, _scales) = Take(tokens.Rows);
        _chunk.Operations.Quantization.Encode(tokens, _format, _codes, _scales, default);
    }

    /// <summary>Writes an encoded row.</summary>
    public readonly void Write(int token, byte* to)
    {
        Copy(_codes, token, to, _codeBytes, toTensor: false);
        if (_scaleBytes > 0) Copy(_scales, token, to + Bytes - _scaleBytes, _scaleBytes, toTensor: false);
    }

    /// <summary>Prepares for rows of one sender.</summary>
    public void Begin(int rows)
    {
        if (!IsPlain && _rowCodes.IsEmpty) (_rowCodes, _rowScales) = Take(rows);
    }

    /// <summary>Puts a row into its place.</summary>
    public readonly void Read(byte* from, int row, Tensor rows)
    {
        Copy(IsPlain ? rows : _rowCodes, row, from, _codeBytes, toTensor: true);
        if (_scaleBytes > 0) Copy(_rowScales, row, from + Bytes - _scaleBytes, _scaleBytes, toTensor: true);
    }

    /// <summary>After all rows were read: their values.</summary>
    public readonly void Decode(Tensor rows, Tensor rowCount)
    {
        if (!IsPlain) _chunk.Operations.Quantization.Decode(_rowCodes, _rowScales, _format, rows, rowCount);
    }

    readonly (Tensor Codes, Tensor Scales) Take(int rows)
    {
        (int scaleRows, int scaleColumns) = _format.StorageScales(rows, _columns);
        return (_chunk.Scratch.Allocate(_format.StorageType, rows, _format.StorageColumns(_columns)), scaleRows == 0 ? default : _chunk.Scratch.Allocate(DType.F32, scaleRows, scaleColumns));
    }

    static void Copy(Tensor tensor, int row, byte* bytes, int count, bool toTensor)
    {
        var there = (byte*)(tensor.Address + (nint)(row * tensor.RowStride * tensor.DType.Size()));
        if (toTensor) Buffer.MemoryCopy(bytes, there, count, count);
        else Buffer.MemoryCopy(there, bytes, count, count);
    }
}
