using System.Buffers.Binary;
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;

namespace Hadal.Text.Tests;

/// <summary>Hugging Face's native tokenizers, run through node (tests/oracles/tokenizer).</summary>
static class TokenizerOracle
{
    static string Scripts { get; } = Path.Combine(Repository.Root, "tests", "oracles", "tokenizer");

    public static string Modules { get; } = Path.Combine(Repository.Root, "artifacts", "oracles", "tokenizer", "node_modules");

    /// <summary>DeepSeek-V3's own tokenizer.json.</summary>
    public static string DeepSeekPath
    {
        get
        {
            string path = Path.Combine(Modules, "@lenml", "tokenizer-deepseek_v3", "models", "tokenizer.json");
            Assert.True(File.Exists(path), $"{path} is missing. Run ./test.sh, or tests/oracles/tokenizer/install.sh, which installs it.");
            return path;
        }
    }

    public readonly record struct Encoded(int[] Ids, string Decoded);

    /// <summary>Encodes documents and decodes the ids, with the tokenizer of a file.</summary>
    public static List<Encoded> Encode(string tokenizerPath, IReadOnlyList<TestDocuments.Document> documents)
    {
        string folder = Directory.CreateTempSubdirectory("hadal-oracle-").FullName;
        try
        {
            string input = Path.Combine(folder, "documents");
            string output = Path.Combine(folder, "encoded");
            WriteDocuments(input, documents);
            Run("encode.js", Modules, tokenizerPath, input, output);
            return ReadEncoded(File.ReadAllBytes(output));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>Bytes and seconds that the oracle needed.</summary>
    public static (long Bytes, double Seconds) Time(string tokenizerPath, IReadOnlyList<TestDocuments.Document> documents)
    {
        string folder = Directory.CreateTempSubdirectory("hadal-oracle-").FullName;
        try
        {
            string input = Path.Combine(folder, "documents");
            WriteDocuments(input, documents);
            string[] answer = Run("encode.js", Modules, tokenizerPath, input, "-", "--time").Split(' ');
            return (long.Parse(answer[0]), double.Parse(answer[1]));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    public static string Run(string script, params string[] arguments)
    {
        Assert.True(Directory.Exists(Modules), $"{Modules} is missing. Run ./test.sh, or tests/oracles/tokenizer/install.sh, which installs the tokenizer oracle.");
        var start = new ProcessStartInfo("node") { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true };
        start.ArgumentList.Add(Path.Combine(Scripts, script));
        foreach (string argument in arguments) start.ArgumentList.Add(argument);
        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"node {script} ended with {process.ExitCode}: {errors.GetAwaiter().GetResult()}");
        return output;
    }

    static void WriteDocuments(string path, IReadOnlyList<TestDocuments.Document> documents)
    {
        using var writer = new BinaryWriter(File.Create(path));
        foreach ((string? text, byte[]? raw) in documents)
        {
            byte[] bytes = text is null ? raw! : MemoryMarshal.AsBytes(text.AsSpan()).ToArray();
            writer.Write(text is null ? (byte)0 : (byte)1);
            writer.Write(bytes.Length);
            writer.Write(bytes);
        }
    }

    static List<Encoded> ReadEncoded(ReadOnlySpan<byte> data)
    {
        var encoded = new List<Encoded>();
        while (!data.IsEmpty)
        {
            int[] ids = new int[BinaryPrimitives.ReadInt32LittleEndian(data)];
            MemoryMarshal.Cast<byte, int>(data.Slice(4, ids.Length * 4)).CopyTo(ids);
            data = data[(4 + ids.Length * 4)..];
            int length = BinaryPrimitives.ReadInt32LittleEndian(data);
            encoded.Add(new(ids, Encoding.UTF8.GetString(data.Slice(4, length))));
            data = data[(4 + length)..];
        }
        return encoded;
    }
}
