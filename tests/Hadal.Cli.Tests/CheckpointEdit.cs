using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json.Nodes;
using Hadal.Formats;

namespace Hadal.Cli.Tests;

/// <summary>Safetensors files taken apart and put together again without the library, so that they can say what no writer would write.</summary>
sealed class CheckpointEdit
{
    CheckpointEdit(JsonObject header, byte[] data) => (Header, Data) = (header, data);

    public JsonObject Header { get; }

    public byte[] Data { get; set; }

    public static CheckpointEdit Open(string path)
    {
        byte[] bytes = File.ReadAllBytes(path);
        int length = (int)BinaryPrimitives.ReadInt64LittleEndian(bytes);
        return new CheckpointEdit(JsonNode.Parse(bytes.AsSpan(8, length))!.AsObject(), bytes[(8 + length)..]);
    }

    /// <summary>Opens, changes, writes back.</summary>
    public static void Change(string path, Action<CheckpointEdit> change)
    {
        CheckpointEdit edit = Open(path);
        change(edit);
        edit.Save(path);
    }

    public JsonObject this[string tensor] => Header[tensor]!.AsObject();

    public Span<byte> Bytes(string tensor)
    {
        JsonArray offsets = this[tensor]["data_offsets"]!.AsArray();
        return Data.AsSpan(offsets[0]!.GetValue<int>()..offsets[1]!.GetValue<int>());
    }

    /// <summary>Appends a tensor at the end of the data.</summary>
    public void Add(string name, string type, int[] shape, byte[] bytes)
    {
        Header[name] = new JsonObject
        {
            ["dtype"] = type, ["shape"] = new JsonArray([.. shape.Select(n => (JsonNode)n)]), ["data_offsets"] = new JsonArray(Data.Length, Data.Length + bytes.Length),
        };
        Data = [.. Data, .. bytes];
    }

    /// <summary>Takes a tensor out and closes the gap.</summary>
    public void Remove(string name)
    {
        JsonArray gone = this[name]["data_offsets"]!.AsArray();
        int begin = gone[0]!.GetValue<int>(), end = gone[1]!.GetValue<int>();
        Header.Remove(name);
        Data = [.. Data[..begin], .. Data[end..]];
        foreach ((string other, JsonNode? entry) in Header)
        {
            if (other is "__metadata__") continue;
            JsonArray offsets = entry!["data_offsets"]!.AsArray();
            for (int i = 0; i < 2; i++)
                if (offsets[i]!.GetValue<int>() >= end) offsets[i] = offsets[i]!.GetValue<int>() - (end - begin);
        }
    }

    public void Save(string path)
    {
        byte[] json = Encoding.UTF8.GetBytes(Header.ToJsonString());
        byte[] length = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, json.Length);
        File.WriteAllBytes(path, [.. length, .. json, .. Data]);
    }

    /// <summary>The values of every tensor by name, FP8 multiplied out, in plain loops.</summary>
    public static Dictionary<string, double[]> Values(string folder)
    {
        using Checkpoint checkpoint = Checkpoint.Open(folder);
        return checkpoint.Entries.Where(e => !e.Name.EndsWith("_scale_inv", StringComparison.Ordinal)).ToDictionary(e => e.Name, e => Values(checkpoint, e), StringComparer.Ordinal);
    }

    static double[] Values(Checkpoint checkpoint, TensorEntry entry)
    {
        byte[] bytes = checkpoint.Read(entry);
        double[] values = new double[entry.ElementCount];
        float[] scales = entry.Type == ElementType.F8E4M3 ? MemoryMarshal.Cast<byte, float>(checkpoint.Read(checkpoint.Get(entry.Name + "_scale_inv"))).ToArray() : [];
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = entry.Type switch
            {
                ElementType.F32 => BitConverter.ToSingle(bytes, 4 * i),
                ElementType.F16 => (double)BitConverter.ToHalf(bytes, 2 * i),
                ElementType.BF16 => BitConverter.Int32BitsToSingle(BitConverter.ToUInt16(bytes, 2 * i) << 16),
                ElementType.F8E4M3 => E4M3(bytes[i]) * scales[(i / (int)entry.Shape[1] / 128 * (((int)entry.Shape[1] + 127) / 128)) + (i % (int)entry.Shape[1] / 128)],
                _ => throw new InvalidOperationException(entry.ToString()),
            };
        }

        return values;
    }

    static double E4M3(byte code)
    {
        int exponent = (code >> 3) & 15, mantissa = code & 7;
        double magnitude = exponent == 0 ? mantissa * Math.ScaleB(1, -9) : (8 + mantissa) * Math.ScaleB(1, exponent - 10);
        return (code & 0x80) != 0 ? -magnitude : magnitude;
    }
}
