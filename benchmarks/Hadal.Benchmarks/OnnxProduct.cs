using System.Text;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;

namespace Hadal.Benchmarks;

/// <summary>
/// y = x·Wᵀ by ONNX Runtime: a model of one MatMul whose right operand is a constant, so that the runtime packs it when the session is made, as a model
/// server would have it. The model is written here, message by message (onnx.proto3, IR version 8, opset 13).
/// </summary>
sealed unsafe class OnnxProduct : IDisposable
{
    static readonly string[] InputNames = ["x"], OutputNames = ["y"];
    readonly InferenceSession _session;
    readonly RunOptions _run = new();
    readonly OrtValue[] _inputs, _outputs;

    /// <summary>Makes the session. <paramref name="w"/> is [n, k] and is copied; x [m, k] and y [m, n] are used where they lie.</summary>
    public OnnxProduct(float* x, float* w, float* y, int m, int n, int k, int threads)
    {
        using var options = new SessionOptions { IntraOpNumThreads = threads, InterOpNumThreads = 1, ExecutionMode = ExecutionMode.ORT_SEQUENTIAL };
        _session = new InferenceSession(Model(w, m, n, k), options);
        _inputs = [OrtValue.CreateTensorValueWithData(OrtMemoryInfo.DefaultInstance, TensorElementType.Float, [m, k], (nint)x, 4L * m * k)];
        _outputs = [OrtValue.CreateTensorValueWithData(OrtMemoryInfo.DefaultInstance, TensorElementType.Float, [m, n], (nint)y, 4L * m * n)];
    }

    public void Run() => _session.Run(_run, InputNames, _inputs, OutputNames, _outputs);

    public void Dispose()
    {
        foreach (OrtValue value in _inputs) value.Dispose();
        foreach (OrtValue value in _outputs) value.Dispose();
        _run.Dispose();
        _session.Dispose();
    }

    static byte[] Model(float* w, int m, int n, int k)
    {
        // MatMul takes [k, n].
        var transposed = new byte[4L * n * k];
        fixed (byte* bytes = transposed)
        {
            var to = (float*)bytes;
            for (int i = 0; i < n; i++)
                for (int j = 0; j < k; j++) to[((long)j * n) + i] = w[((long)i * k) + j];
        }

        byte[] weights = Message(Number(1, k), Number(1, n), Number(2, 1), Text(8, "w"), Bytes(9, transposed));
        byte[] node = Message(Text(1, "x"), Text(1, "w"), Text(2, "y"), Text(3, "product"), Text(4, "MatMul"));
        byte[] graph = Message(Bytes(1, node), Text(2, "product"), Bytes(5, weights), Bytes(11, Value("x", m, k)), Bytes(12, Value("y", m, n)));
        return Message(Number(1, 8), Bytes(7, graph), Bytes(8, Message(Text(1, ""), Number(2, 13))));
    }

    static byte[] Value(string name, int rows, int columns)
    {
        byte[] shape = Message(Bytes(1, Message(Number(1, rows))), Bytes(1, Message(Number(1, columns))));
        return Message(Text(1, name), Bytes(2, Message(Bytes(1, Message(Number(1, 1), Bytes(2, shape))))));
    }

    static byte[] Message(params byte[][] fields)
    {
        var message = new byte[fields.Sum(f => f.LongLength)];
        long at = 0;
        foreach (byte[] field in fields)
        {
            Array.Copy(field, 0, message, at, field.LongLength);
            at += field.LongLength;
        }

        return message;
    }

    static byte[] Number(int field, int value) => [.. Varint((ulong)field << 3), .. Varint((ulong)value)];

    static byte[] Text(int field, string text) => Bytes(field, Encoding.UTF8.GetBytes(text));

    static byte[] Bytes(int field, byte[] content) => Message([.. Varint(((ulong)field << 3) | 2), .. Varint((ulong)content.LongLength)], content);

    static byte[] Varint(ulong value)
    {
        var bytes = new List<byte>();
        for (; value >= 0x80; value >>= 7) bytes.Add((byte)(value | 0x80));
        bytes.Add((byte)value);
        return [.. bytes];
    }
}
