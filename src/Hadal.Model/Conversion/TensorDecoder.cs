using System.Runtime.InteropServices;
using Hadal.Formats;
using Hadal.Numerics;

namespace Hadal.Model.Conversion;

/// <summary>Reads pieces of stored tensors as binary32.</summary>
sealed class TensorDecoder(Checkpoint source)
{
    byte[] _input = [];

    /// <summary>Elements from <paramref name="start"/> on; of a tensor with scales whole rows, from a row that begins a block.</summary>
    internal void Decode(TensorEntry entry, TensorEntry? scale, ElementType target, long start, int columns, Span<float> values)
    {
        int size = entry.Type.Size();
        Span<byte> bytes = TensorConverter.Grow(ref _input, checked(values.Length * size));
        source.Read(entry, start * size, bytes);
        switch (entry.Type)
        {
            case ElementType.F32: MemoryMarshal.Cast<byte, float>(bytes).CopyTo(values); break;
            case ElementType.BF16: BF16.ToSingle(MemoryMarshal.Cast<byte, BF16>(bytes), values); break;
            case ElementType.F16: F16.ToSingle(MemoryMarshal.Cast<byte, Half>(bytes), values); break;
            case ElementType.F64:
                ReadOnlySpan<double> wide = MemoryMarshal.Cast<byte, double>(bytes);
                for (int i = 0; i < values.Length; i++)
                {
                    values[i] = (float)wide[i];
                    if (float.IsInfinity(values[i]) && double.IsFinite(wide[i])) throw TooLarge(entry, target, start + i, wide[i]);
                }
                break;
            default:
                int blockColumns = TileQuantizer.TileCount(columns), blockRow = checked((int)(start / columns / TileQuantizer.Tile));
                var scales = new float[blockColumns];
                source.Read(scale!, (long)blockRow * blockColumns * sizeof(float), MemoryMarshal.AsBytes(scales.AsSpan()));
                TileQuantizer.DequantizeBlocks(MemoryMarshal.Cast<byte, E4M3>(bytes), scales, values.Length / columns, columns, values, columns);
                break;
        }
    }

    internal static CheckpointFormatException TooLarge(TensorEntry entry, ElementType target, long element, double value) =>
        new($"element {element} is {value:R}, beyond the range of {target.Name()}.", entry.File, "Convert to bf16 or f32.", entry.Name);
}
