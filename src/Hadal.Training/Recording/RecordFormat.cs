using System.Buffers.Binary;
using System.Text;

namespace Hadal.Training.Recording;

/// <summary>
/// The file of a flight recorder, <c>flight-001.rec</c> and so on in the folder of a run. Little-endian. Eight bytes <c>HADALREC</c>, then records, each
/// <c>u32 kind, u32 length, payload, u64 XXH64 of all before</c>; only ever appended to. Kind 1, first in every file: version and facts of the run. Kind 2: the tensors
/// that step records after it speak of, replacing an earlier table. Kind 3: a step. Integers in payloads are unsigned LEB128 unless a width is said.
/// </summary>
static class RecordFormat
{
    internal const int Version = 1;

    internal const int HeaderKind = 1, TableKind = 2, StepKind = 3;

    /// <summary>Bytes around a payload.</summary>
    internal const int Framing = 16;

    /// <summary>No record is longer; a length beyond it is damage.</summary>
    internal const int LongestPayload = 1 << 28;

    internal const int LongestText = 512, MostTensors = 1 << 20, MostMicroBatches = 1 << 20;

    internal static ReadOnlySpan<byte> Magic => "HADALREC"u8;

    /// <summary>Names of a run's files, in the order they were written.</summary>
    internal static string FileName(int number) => FormattableString.Invariant($"flight-{number:D3}.rec");

    /// <summary>The files of a folder, in order.</summary>
    internal static IReadOnlyList<(int Number, string Path)> Files(string folder)
    {
        var files = new List<(int, string)>();
        if (!Directory.Exists(folder)) return files;
        foreach (string path in Directory.EnumerateFiles(folder, "flight-*.rec"))
        {
            string digits = Path.GetFileNameWithoutExtension(path)["flight-".Length..];
            if (digits.Length == 3 && int.TryParse(digits, System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out int number)) files.Add((number, path));
        }

        files.Sort();
        return files;
    }
}

/// <summary>Builds a record in a buffer that is kept: it grows to the largest record and then stays.</summary>
sealed class RecordBuilder
{
    byte[] _bytes = new byte[1 << 12];
    int _length;

    /// <summary>The record, with its framing after <see cref="End"/>.</summary>
    internal ReadOnlySpan<byte> Bytes => _bytes.AsSpan(0, _length);

    internal void Begin(int kind)
    {
        _length = 0;
        BinaryPrimitives.WriteInt32LittleEndian(Take(4), kind);
        Take(4);
    }

    internal void End(Hadal.Formats.Checksum64 hash)
    {
        BinaryPrimitives.WriteInt32LittleEndian(_bytes.AsSpan(4), _length - 8);
        hash.Reset();
        hash.Append(_bytes.AsSpan(0, _length));
        BinaryPrimitives.WriteUInt64LittleEndian(Take(8), hash.Value);
    }

    internal void Integer(long value)
    {
        ulong rest = (ulong)value;
        for (; rest >= 0x80; rest >>= 7) Take(1)[0] = (byte)(rest | 0x80);
        Take(1)[0] = (byte)rest;
    }

    internal void Wide(ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(Take(8), value);

    internal void Single(float value) => BinaryPrimitives.WriteSingleLittleEndian(Take(4), value);

    internal void Double(double value) => BinaryPrimitives.WriteDoubleLittleEndian(Take(8), value);

    internal void Text(string text)
    {
        int length = Encoding.UTF8.GetByteCount(text);
        Integer(length);
        Encoding.UTF8.GetBytes(text, Take(length));
    }

    Span<byte> Take(int count)
    {
        if (_length + count > _bytes.Length) Array.Resize(ref _bytes, Math.Max(_bytes.Length * 2, _length + count));
        _length += count;
        return _bytes.AsSpan(_length - count, count);
    }
}

/// <summary>Reads a payload; whatever it holds, only <see cref="InvalidDataException"/> comes out.</summary>
ref struct RecordParser(ReadOnlySpan<byte> payload)
{
    ReadOnlySpan<byte> _rest = payload;

    internal readonly bool AtEnd => _rest.IsEmpty;

    internal readonly int Left => _rest.Length;

    internal long Integer(long most)
    {
        ulong value = 0;
        for (int shift = 0; shift < 63; shift += 7)
        {
            byte next = Take(1)[0];
            value |= (ulong)(next & 0x7F) << shift;
            if (next < 0x80) return value <= (ulong)most ? (long)value : throw new InvalidDataException($"a number is {value}; at most {most} is possible there");
        }

        throw new InvalidDataException("a number does not end");
    }

    internal ulong Wide() => BinaryPrimitives.ReadUInt64LittleEndian(Take(8));

    internal float Single() => BinaryPrimitives.ReadSingleLittleEndian(Take(4));

    internal double Double() => BinaryPrimitives.ReadDoubleLittleEndian(Take(8));

    internal string Text() => Encoding.UTF8.GetString(Take((int)Integer(RecordFormat.LongestText)));

    ReadOnlySpan<byte> Take(int count)
    {
        if (count > _rest.Length) throw new InvalidDataException($"{count} bytes are expected and {_rest.Length} are left in the record");
        ReadOnlySpan<byte> taken = _rest[..count];
        _rest = _rest[count..];
        return taken;
    }
}
