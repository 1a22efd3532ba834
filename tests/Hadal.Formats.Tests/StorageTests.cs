using System.Text;

namespace Hadal.Formats.Tests;

public sealed class StorageTests
{
    /// <summary>Values published with xxHash.</summary>
    [Theory]
    [InlineData("", 0xEF46DB3751D8E999UL)]
    [InlineData("a", 0xD24EC4F1A98C6E5BUL)]
    [InlineData("abc", 0x44BC2CF5AD770999UL)]
    [InlineData("Nobody inspects the spammish repetition", 0xFBCEA83C8A378BF1UL)]
    public void The_checksum_is_xxh64(string text, ulong expected) => Assert.Equal(expected, Checksum64.Compute(Encoding.ASCII.GetBytes(text)));

    [Fact]
    public void The_checksum_does_not_depend_on_how_the_bytes_are_cut()
    {
        byte[] bytes = TestFiles.Pattern(200, 7);
        for (int length = 0; length <= bytes.Length; length += 13)
            for (int cut = 0; cut <= length; cut++)
            {
                var sum = new Checksum64();
                sum.Append(bytes.AsSpan(0, cut));
                _ = sum.Value;
                sum.Append(bytes.AsSpan(cut, length - cut));
                Assert.Equal(Checksum64.Compute(bytes.AsSpan(0, length)), sum.Value);
            }
    }

    [Fact]
    public void A_failed_write_leaves_the_old_file_and_no_partial_one()
    {
        using var directory = new TemporaryDirectory();
        string path = directory.Write("state", "old");
        Assert.Throws<InvalidOperationException>(() => AtomicFile.Write(path, stream =>
        {
            stream.WriteByte(1);
            throw new InvalidOperationException("stop");
        }));
        Assert.Equal("old", File.ReadAllText(path));
        Assert.Single(Directory.GetFiles(directory.Path));
    }

    [Fact]
    public void A_write_replaces_the_file_and_a_leftover_of_a_killed_process()
    {
        using var directory = new TemporaryDirectory();
        string path = directory.Write("state", "old");
        directory.Write("state" + AtomicFile.PartialSuffix, "leftover of another length");
        AtomicFile.WriteAllText(path, "neu: ü");
        Assert.Equal("neu: ü"u8.ToArray(), File.ReadAllBytes(path));
        Assert.Single(Directory.GetFiles(directory.Path));
    }

    [Fact]
    public void Too_little_space_is_said_with_numbers()
    {
        AtomicFile.RequireFreeSpace(Path.GetTempPath(), 1);
        Assert.Contains("1,152,921,504,606,846,976 bytes", Assert.Throws<IOException>(() => AtomicFile.RequireFreeSpace(Path.GetTempPath(), 1L << 60)).Message, StringComparison.Ordinal);
    }
}
