using System.Text;

namespace Hadal.Formats.Tests;

public sealed class SafetensorsTests
{
    static readonly TensorDeclaration[] Declarations =
    [
        new("z.bytes", ElementType.U8, [3]), new("b.weight", ElementType.F32, [2, 3]), new("a.weight", ElementType.F32, [1]),
        new("half", ElementType.BF16, [5]), new("scalar", ElementType.I64, []), new("empty", ElementType.F32, [0, 7]), new("fp8", ElementType.F8E4M3, [4]),
    ];

    [Fact]
    [Implements("public checkpoints", "Safetensors of the public layout are read, sharded or not")]
    public void The_fixture_of_the_public_library_is_read()
    {
        using Checkpoint checkpoint = Checkpoint.Open(Path.Combine(TestFiles.Fixtures, "base"));
        Assert.Empty(checkpoint.Warnings);
        TensorEntry head = checkpoint.Get("lm_head.weight");
        Assert.Equal((ElementType.F32, 320, 64, 81920L), (head.Type, (int)head.Shape[0], (int)head.Shape[1], head.Length));
        Assert.Equal("pt", checkpoint.Files[0].Metadata["format"]);
        byte[] bytes = checkpoint.Read(head);
        Assert.True(checkpoint.View(head).SequenceEqual(bytes));
        Assert.True(File.ReadAllBytes(Path.Combine(TestFiles.Fixtures, "base", "model.safetensors")).AsSpan((int)head.Offset, (int)head.Length).SequenceEqual(bytes));
        Assert.True(checkpoint.View(head, 100, 50).SequenceEqual(bytes.AsSpan(100, 50)));
        byte[] part = new byte[50];
        checkpoint.Read(head, 100, part);
        Assert.Equal(bytes[100..150], part);
        Assert.Throws<ArgumentOutOfRangeException>(() => checkpoint.Read(head, head.Length - 49, part));
        Assert.Throws<ArgumentOutOfRangeException>(() => checkpoint.Read(head, -1, part));
        Assert.Contains("no.such", Assert.Throws<CheckpointFormatException>(() => checkpoint.Get("no.such")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_written_is_read_again_in_any_order_of_writing_and_the_files_are_equal()
    {
        using var directory = new TemporaryDirectory();
        string first = directory.File("first.safetensors"), second = directory.File("second.safetensors");
        WriteAll(first, Declarations, parts: false);
        WriteAll(second, Declarations.Reverse(), parts: true);
        Assert.Equal(File.ReadAllBytes(first), File.ReadAllBytes(second));
        using SafetensorsFile file = SafetensorsFile.Open(first);
        // Largest elements first, then by name; the empty tensor shares its place with its neighbour.
        string[] order = [.. file.Entries.Where(e => e.Length > 0).Select(e => e.Name)];
        Assert.Equal("scalar a.weight b.weight half fp8 z.bytes", string.Join(' ', order));
        foreach (TensorDeclaration d in Declarations)
        {
            TensorEntry entry = file.Find(d.Name)!;
            Assert.Equal((d.Type, d.Length), (entry.Type, entry.Length));
            Assert.Equal(d.Shape, entry.Shape);
            Assert.Equal(0, entry.Offset % d.Type.Size());
            Assert.Equal(TestFiles.Pattern((int)d.Length, (byte)d.Name.Length), file.Read(entry));
        }
        Assert.True(SafetensorsChecksum.Verify(file));
        Assert.Equal("pt", file.Metadata["format"]);
        byte[] bytes = File.ReadAllBytes(first);
        long headerLength = BitConverter.ToInt64(bytes);
        Assert.Equal(0, headerLength % 8);
        Assert.Equal((byte)'{', bytes[8]);
    }

    [Fact]
    public void A_flipped_bit_in_the_data_is_found()
    {
        using var directory = new TemporaryDirectory();
        string path = directory.File("model.safetensors");
        WriteAll(path, Declarations, parts: false);
        byte[] bytes = File.ReadAllBytes(path);
        int headerEnd = 8 + (int)BitConverter.ToInt64(bytes);
        for (int position = headerEnd; position < bytes.Length; position++)
        {
            byte[] flipped = [.. bytes];
            flipped[position] ^= 0x10;
            using SafetensorsFile file = SafetensorsFile.Open(directory.Write("flipped.safetensors", flipped));
            Assert.Contains("checksum", Assert.Throws<CheckpointFormatException>(() => SafetensorsChecksum.Verify(file)).Message, StringComparison.Ordinal);
        }
        using SafetensorsFile foreign = SafetensorsFile.Open(Path.Combine(TestFiles.Fixtures, "base", "model.safetensors"));
        Assert.False(SafetensorsChecksum.Verify(foreign));
    }

    [Fact]
    public void Without_commit_nothing_appears_and_the_old_file_stays()
    {
        using var directory = new TemporaryDirectory();
        string path = directory.Write("model.safetensors", "old");
        using (var writer = new SafetensorsWriter(path, Declarations))
        {
            writer.Write("fp8", new byte[4]);
            Assert.Contains("scalar", Assert.Throws<InvalidOperationException>(writer.Commit).Message, StringComparison.Ordinal);
        }
        Assert.Equal("old", File.ReadAllText(path));
        Assert.Single(Directory.GetFiles(directory.Path));
    }

    [Fact]
    public void Wrong_use_of_the_writer_is_refused()
    {
        using var directory = new TemporaryDirectory();
        string path = directory.File("model.safetensors");
        Assert.Throws<ArgumentException>(() => new SafetensorsWriter(path, [new("a", ElementType.U8, [1]), new("a", ElementType.U8, [1])]));
        Assert.Throws<ArgumentException>(() => new SafetensorsWriter(path, [new("__metadata__", ElementType.U8, [1])]));
        Assert.Throws<ArgumentException>(() => new SafetensorsWriter(path, [new("a", ElementType.U8, [-1])]));
        Assert.Throws<ArgumentException>(() => new SafetensorsWriter(path, [new("a", ElementType.U8, [long.MaxValue, 2])]));
        IOException full = Assert.Throws<IOException>(() => new SafetensorsWriter(path, [new("a", ElementType.U8, [1L << 60])]));
        Assert.Contains("free", full.Message, StringComparison.Ordinal);
        using var writer = new SafetensorsWriter(path, Declarations);
        Assert.Throws<ArgumentException>(() => writer.Write("unknown", []));
        Assert.Throws<ArgumentException>(() => writer.Write("fp8", new byte[3]));
        writer.Append("fp8", new byte[3]);
        Assert.Throws<ArgumentException>(() => writer.Append("fp8", new byte[2]));
    }

    [Fact]
    public void A_tensor_beyond_four_gigabytes_is_found_at_its_place()
    {
        using var directory = new TemporaryDirectory();
        const long Big = (1L << 32) + 100;
        string header = "{\"big\":{\"dtype\":\"U8\",\"shape\":[" + Big + "],\"data_offsets\":[0," + Big + "]},\"last\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[" + Big + "," + (Big + 4) + "]}}";
        byte[] start = TestFiles.Safetensors(Encoding.UTF8.GetBytes(header), []);
        string path = directory.File("sparse.safetensors");
        using (FileStream stream = File.Create(path))
        {
            stream.Write(start);
            stream.Position = start.Length + Big - 2; // a sparse file: only the ends occupy space
            stream.Write([1, 2, 3, 4, 5, 6]);
        }
        using SafetensorsFile file = SafetensorsFile.Open(path);
        Assert.Equal([3, 4, 5, 6], file.Read(file.Find("last")!));
        Assert.Equal([1, 2], file.View(file.Find("big")!, Big - 2, 2).ToArray());
        Assert.Throws<ArgumentException>(() => file.Read(file.Find("big")!));
    }

    internal static void WriteAll(string path, IEnumerable<TensorDeclaration> declarations, bool parts)
    {
        TensorDeclaration[] list = [.. declarations];
        using var writer = new SafetensorsWriter(path, list);
        foreach (TensorDeclaration d in list)
        {
            byte[] data = TestFiles.Pattern((int)d.Length, (byte)d.Name.Length);
            if (parts)
                for (int i = 0; i < data.Length; i += 5) writer.Append(d.Name, data.AsSpan(i, Math.Min(5, data.Length - i)));
            else writer.Write(d.Name, data);
        }
        writer.Commit();
    }
}
