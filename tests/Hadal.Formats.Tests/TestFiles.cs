using System.Buffers.Binary;
using System.Text;

namespace Hadal.Formats.Tests;

/// <summary>A directory of its own for a test, removed at the end.</summary>
sealed class TemporaryDirectory : IDisposable
{
    internal string Path { get; } = Directory.CreateTempSubdirectory("hadal-formats-").FullName;

    internal string File(string name) => System.IO.Path.Combine(Path, name);

    internal string Write(string name, byte[] bytes)
    {
        System.IO.File.WriteAllBytes(File(name), bytes);
        return File(name);
    }

    internal string Write(string name, string text) => Write(name, Encoding.UTF8.GetBytes(text));

    public void Dispose() => Directory.Delete(Path, recursive: true);
}

static class TestFiles
{
    /// <summary>The folder that holds the public fixture checkpoints.</summary>
    internal static string Fixtures { get; } = System.IO.Path.Combine(FindRoot(), "tests", "fixtures", "hf-deepseek-v3");

    /// <summary>A safetensors file from a header text and data.</summary>
    internal static byte[] Safetensors(string header, int dataLength) => Safetensors(Encoding.UTF8.GetBytes(header), new byte[dataLength]);

    internal static byte[] Safetensors(byte[] header, byte[] data)
    {
        byte[] file = new byte[8 + header.Length + data.Length];
        BinaryPrimitives.WriteUInt64LittleEndian(file, (ulong)header.Length);
        header.CopyTo(file, 8);
        data.CopyTo(file, 8 + header.Length);
        return file;
    }

    internal static byte[] Pattern(int length, byte seed)
    {
        byte[] bytes = new byte[length];
        for (int i = 0; i < length; i++) bytes[i] = (byte)(i * 31 + seed);
        return bytes;
    }

    static string FindRoot()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
            if (System.IO.File.Exists(System.IO.Path.Combine(folder.FullName, "Hadal.slnx"))) return folder.FullName;
        throw new InvalidOperationException($"Hadal.slnx was not found above {AppContext.BaseDirectory}.");
    }
}
