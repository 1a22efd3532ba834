using System.Buffers.Binary;
using Hadal.Formats;

namespace Hadal.Training.Recording;

/// <summary>A record's place in a file.</summary>
/// <param name="Kind">Header, table or step.</param>
/// <param name="Offset">Of the payload.</param>
/// <param name="Length">Of the payload.</param>
readonly record struct RecordPlace(int Kind, long Offset, int Length);

/// <summary>Walks through the records of a file, up to its end or to the first damage.</summary>
static class RecordFile
{
    /// <summary>Calls <paramref name="record"/> for every whole record with a right checksum.</summary>
    /// <param name="stream">At any position; it can seek.</param>
    /// <param name="record">Its place and payload.</param>
    /// <param name="end">Where the last good record ends.</param>
    /// <returns>What is wrong at <paramref name="end"/>; null when the file ends there, or breaks off inside a record as a killed process leaves it.</returns>
    internal static string? Scan(Stream stream, RecordVisitor record, out long end)
    {
        end = 0;
        long length = stream.Length;
        Span<byte> frame = stackalloc byte[8];
        stream.Position = 0;
        if (length < 8 || stream.ReadAtLeast(frame, 8, throwOnEndOfStream: false) < 8 || !frame.SequenceEqual(RecordFormat.Magic)) return "it does not begin as a flight recorder's file does";
        end = 8;
        var hash = new Checksum64();
        byte[] payload = [];
        while (true)
        {
            if (length - end < RecordFormat.Framing) return null;
            stream.Position = end;
            stream.ReadExactly(frame);
            int kind = BinaryPrimitives.ReadInt32LittleEndian(frame), size = BinaryPrimitives.ReadInt32LittleEndian(frame[4..]);
            if (kind is < RecordFormat.HeaderKind or > RecordFormat.StepKind || size is < 0 or > RecordFormat.LongestPayload) return $"a record at byte {end} says kind {kind} and {size} bytes";
            if (length - end - RecordFormat.Framing < size) return null;
            if (payload.Length < size) payload = new byte[Math.Max(size, payload.Length * 2)];
            stream.ReadExactly(payload.AsSpan(0, size));
            hash.Reset();
            hash.Append(frame);
            hash.Append(payload.AsSpan(0, size));
            stream.ReadExactly(frame);
            if (BinaryPrimitives.ReadUInt64LittleEndian(frame) != hash.Value) return $"the checksum of the record at byte {end} is wrong";
            try
            {
                record(new RecordPlace(kind, end + 8, size), payload.AsSpan(0, size));
            }
            catch (InvalidDataException exception)
            {
                return $"the record at byte {end} cannot be read: {exception.Message}";
            }

            end += size + RecordFormat.Framing;
        }
    }

    /// <summary>What a walk calls.</summary>
    internal delegate void RecordVisitor(RecordPlace place, ReadOnlySpan<byte> payload);
}
