namespace Hadal.Formats.Tests;

public sealed class BitFlipTests
{
    /// <summary>Any one bit of a file that Hadal wrote: the file is refused, or it has lost its checksum and says the same as before.</summary>
    [Fact]
    public void No_flipped_bit_changes_what_a_checksummed_file_says()
    {
        using var directory = new TemporaryDirectory();
        string path = directory.File("model.safetensors");
        TensorDeclaration[] tensors = [new("a.weight", ElementType.F32, [3, 5]), new("b.bias", ElementType.BF16, [7]), new("gate.e_score_correction_bias", ElementType.F32, [2])];
        using (var writer = new SafetensorsWriter(path, tensors))
        {
            foreach (TensorDeclaration tensor in tensors) writer.Write(tensor.Name, TestFiles.Pattern((int)tensor.Length, 3));
            writer.Commit();
        }

        byte[] good = File.ReadAllBytes(path);
        string meaning = Meaning(path, out bool verified);
        Assert.True(verified);
        int refused = 0, harmless = 0;
        for (int bit = 0; bit < good.Length * 8; bit++)
        {
            byte[] bad = [.. good];
            bad[bit / 8] ^= (byte)(1 << (bit % 8));
            File.WriteAllBytes(path, bad);
            try
            {
                string now = Meaning(path, out verified);
                Assert.False(verified, $"bit {bit} passed the checksum");
                Assert.True(string.Equals(meaning, now, StringComparison.Ordinal), $"bit {bit} changed the content");
                harmless++;
            }
            catch (CheckpointFormatException)
            {
                refused++;
            }
        }

        // What may pass is a flip inside the checksum's own key.
        Assert.InRange(harmless, 1, 8 * (SafetensorsChecksum.Key.Length + 2));
        Assert.True(refused > 2000);
    }

    static string Meaning(string path, out bool verified)
    {
        using SafetensorsFile file = SafetensorsFile.Open(path);
        verified = SafetensorsChecksum.Verify(file);
        return string.Join('\n', file.Entries.Select(e => $"{e} {Convert.ToHexString(file.Read(e))}"));
    }
}
