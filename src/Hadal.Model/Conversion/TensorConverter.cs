using System.Runtime.InteropServices;
using Hadal.Formats;
using Hadal.Numerics;

namespace Hadal.Model.Conversion;

/// <summary>
/// Moves tensors from a checkpoint to a writer in pieces: stored type → binary32 → stored type, each step rounded once, to nearest even. Memory is a few buffers of one
/// piece: 128 rows of a quantised matrix, a million elements otherwise.
/// </summary>
sealed class TensorConverter(Checkpoint source, CheckpointWriter writer, ScaleKind scaleKind, List<string> warnings, Action<long> advance)
{
    const int Piece = 1 << 20;
    const float LargestF16 = 65520, LargestBF16 = 3.3961775e38f; // from here on rounding gives infinity

    readonly TensorDecoder _decoder = new(source);
    byte[] _input = [], _output = [];
    float[] _values = [];

    /// <summary>Writes one tensor, and its scales when it has some.</summary>
    internal void Convert(ConversionItem item, CancellationToken cancel)
    {
        if (item.Copy)
        {
            Copy(item.Source, cancel);
            if (item.SourceScale is not null) Copy(item.SourceScale, cancel);
            return;
        }

        long nonFinite = 0;
        bool blocks = item.SourceScale is not null || item.IsQuantised;
        int columns = blocks ? checked((int)item.Source.Shape[1]) : 1;
        long count = item.Source.ElementCount, step = blocks ? (long)TileQuantizer.Tile * columns : Piece;
        for (long start = 0; start < count; start += step)
        {
            cancel.ThrowIfCancellationRequested();
            int length = checked((int)Math.Min(step, count - start));
            Span<float> values = Grow(ref _values, length);
            _decoder.Decode(item.Source, item.SourceScale, item.Target, start, columns, values);
            Encode(item, start, columns, values, ref nonFinite);
            advance(length * (long)item.Source.Type.Size());
        }

        if (item.SourceScale is not null) advance(item.SourceScale.Length);
        if (nonFinite > 0) warnings.Add($"{item.Source.Name} holds {nonFinite} values that are infinite or not a number; they are kept.");
    }

    void Copy(TensorEntry entry, CancellationToken cancel)
    {
        for (long start = 0; start < entry.Length; start += Piece)
        {
            cancel.ThrowIfCancellationRequested();
            Span<byte> part = Grow(ref _input, (int)Math.Min(Piece, entry.Length - start));
            source.Read(entry, start, part);
            writer.Append(entry.Name, part);
            advance(part.Length);
        }
    }

    void Encode(ConversionItem item, long start, int columns, Span<float> values, ref long nonFinite)
    {
        Span<byte> bytes = Grow(ref _output, values.Length * item.Target.Size());
        switch (item.Target)
        {
            case ElementType.F8E4M3:
                var scales = new float[TileQuantizer.TileCount(columns)];
                long fault = TileQuantizer.QuantizeBlocks(values, values.Length / columns, columns, columns, scaleKind, MemoryMarshal.Cast<byte, E4M3>(bytes), scales);
                if (fault >= 0)
                {
                    throw new CheckpointFormatException($"element {start + fault} is {values[(int)fault]}; FP8 blocks hold finite numbers only.", item.Source.File,
                        "The checkpoint is damaged or diverged: fetch it again, go back to an earlier one, or convert to bf16 or f32.", item.Source.Name);
                }

                writer.Append(item.ScaleName, MemoryMarshal.AsBytes(scales.AsSpan()));
                break;
            case ElementType.F32:
                nonFinite += CountNonFinite(values);
                MemoryMarshal.AsBytes(values).CopyTo(bytes);
                break;
            case ElementType.BF16:
                nonFinite += RequireBelow(item, start, values, LargestBF16);
                BF16.FromSingle(values, MemoryMarshal.Cast<byte, BF16>(bytes));
                break;
            case ElementType.F16:
                nonFinite += RequireBelow(item, start, values, LargestF16);
                F16.FromSingle(values, MemoryMarshal.Cast<byte, Half>(bytes));
                break;
            default:
                throw new InvalidOperationException($"{item.Source} cannot become {item.Target}.");
        }

        writer.Append(item.Source.Name, bytes);
    }

    static long CountNonFinite(ReadOnlySpan<float> values)
    {
        if (float.IsFinite(TileScale.LargestMagnitude(values))) return 0;
        long count = 0;
        foreach (float value in values)
            if (!float.IsFinite(value)) count++;
        return count;
    }

    // Values that are not finite stay so in the target; finite ones must not become infinite.
    static long RequireBelow(ConversionItem item, long start, ReadOnlySpan<float> values, float limit)
    {
        if (TileScale.LargestMagnitude(values) < limit) return 0;
        for (int i = 0; i < values.Length; i++)
            if (float.IsFinite(values[i]) && Math.Abs(values[i]) >= limit) throw TensorDecoder.TooLarge(item.Source, item.Target, start + i, values[i]);
        return CountNonFinite(values);
    }

    internal static Span<T> Grow<T>(ref T[] buffer, int length)
    {
        if (buffer.Length < length) buffer = GC.AllocateUninitializedArray<T>(length);
        return buffer.AsSpan(0, length);
    }
}
