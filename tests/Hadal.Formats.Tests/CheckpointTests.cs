namespace Hadal.Formats.Tests;

public sealed class CheckpointTests
{
    static readonly TensorDeclaration[] Declarations = [.. Enumerable.Range(0, 10).Select(i => new TensorDeclaration($"layer.{i}.weight", ElementType.BF16, [i + 1, 8]))];

    static byte[] Data(TensorDeclaration d) => TestFiles.Pattern((int)d.Length, (byte)d.Name[6]);

    static void Write(string directory, long shardLength)
    {
        using var writer = new CheckpointWriter(directory, Declarations, shardLength);
        foreach (TensorDeclaration d in Declarations.Reverse()) writer.Write(d.Name, Data(d));
        writer.Commit();
    }

    [Theory]
    [InlineData(1, 10)]
    [InlineData(300, 4)]
    [InlineData(1_000_000, 1)]
    [Implements("public checkpoints", "Safetensors of the public layout are read, sharded or not")]
    public void Shards_are_written_and_read_again(long shardLength, int files)
    {
        using var directory = new TemporaryDirectory();
        Write(directory.Path, shardLength);
        using Checkpoint checkpoint = Checkpoint.Open(directory.Path);
        Assert.Equal(files, checkpoint.Files.Count);
        Assert.Equal(files > 1, File.Exists(directory.File(Checkpoint.IndexFileName)));
        Assert.Empty(checkpoint.Warnings);
        Assert.Equal(Declarations.Length, checkpoint.Entries.Count);
        foreach (TensorDeclaration d in Declarations) Assert.Equal(Data(d), checkpoint.Read(checkpoint.Get(d.Name)));
        Assert.DoesNotContain(Directory.GetFiles(directory.Path), f => f.EndsWith(AtomicFile.PartialSuffix, StringComparison.Ordinal));
    }

    [Fact]
    public void Weights_of_another_sharding_are_not_mixed_with_new_ones()
    {
        using var directory = new TemporaryDirectory();
        Write(directory.Path, 300);
        Write(directory.Path, 300); // the same sharding replaces itself
        Assert.Contains("model-00001-of-00004", Assert.Throws<IOException>(() => Write(directory.Path, 1_000_000)).Message, StringComparison.Ordinal);
        using Checkpoint checkpoint = Checkpoint.Open(directory.Path);
        Assert.Equal(4, checkpoint.Files.Count);
    }

    [Fact]
    public void A_writer_that_is_not_committed_leaves_nothing()
    {
        using var directory = new TemporaryDirectory();
        using (var writer = new CheckpointWriter(directory.Path, Declarations, 300)) writer.Write(Declarations[0].Name, Data(Declarations[0]));
        Assert.Empty(Directory.GetFiles(directory.Path));
    }

    [Theory]
    [InlineData("{", "not valid JSON")]
    [InlineData("[]", "not a JSON object")]
    [InlineData("{}", "'weight_map' is missing")]
    [InlineData("""{"weight_map":{}}""", "'weight_map' is empty")]
    [InlineData("""{"weight_map":3}""", "not an object")]
    [InlineData("""{"weight_map":{"a":3}}""", "not a string")]
    [InlineData("""{"weight_map":{"a":"one.safetensors"},"weight_map":{"a":"one.safetensors"}}""", "appears twice")]
    [InlineData("""{"weight_map":{"a":"one.safetensors","a":"one.safetensors"}}""", "appears twice")]
    [InlineData("""{"weight_map":{"a":"../one.safetensors"}}""", "not a plain file name")]
    [InlineData("""{"weight_map":{"a":"/etc/one.safetensors"}}""", "not a plain file name")]
    [InlineData("""{"weight_map":{"a":"sub\\one.safetensors"}}""", "not a plain file name")]
    [InlineData("""{"weight_map":{"a":"C:one.safetensors"}}""", "not a plain file name")]
    [InlineData("""{"weight_map":{"a":""}}""", "not a plain file name")]
    [InlineData("""{"weight_map":{"a":"passwd"}}""", "not a plain file name")]
    [InlineData("""{"weight_map":{"a":"missing.safetensors"}}""", "not in the directory")]
    [InlineData("""{"weight_map":{"a":"one.safetensors","b":"two.safetensors","c":"one.safetensors"}}""", "does not hold it")]
    [InlineData("""{"weight_map":{"a":"two.safetensors","b":"two.safetensors"}}""", "does not hold it")]
    [InlineData("""{"weight_map":{"a":"one.safetensors","b":"one.safetensors","x":"two.safetensors"}}""", "but it is here")]
    [InlineData("""{"weight_map":{"a":"one.safetensors","twin":"four.safetensors","b":"two.safetensors","x":"three.safetensors"}}""", "is also in")]
    public void An_index_that_does_not_fit_is_refused(string index, string message)
    {
        using var directory = new TemporaryDirectory();
        directory.Write("one.safetensors", One("a"));
        directory.Write("two.safetensors", One("b"));
        directory.Write("three.safetensors", One("twin"));
        directory.Write("four.safetensors", One("twin"));
        directory.Write(Checkpoint.IndexFileName, index);
        CheckpointFormatException error = Assert.Throws<CheckpointFormatException>(() => Checkpoint.Open(directory.Path));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_tensor_that_the_index_does_not_list_is_a_warning()
    {
        using var directory = new TemporaryDirectory();
        directory.Write("one.safetensors", TestFiles.Safetensors("""{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"extra":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}""", 2));
        directory.Write(Checkpoint.IndexFileName, """{"metadata":{"total_size":1,"other":[{}]},"weight_map":{"a":"one.safetensors"}}""");
        using Checkpoint checkpoint = Checkpoint.Open(directory.Path);
        Assert.Contains("extra", Assert.Single(checkpoint.Warnings), StringComparison.Ordinal);
        Assert.Equal("a", Assert.Single(checkpoint.Entries).Name);
    }

    [Fact]
    public void What_is_absent_is_named()
    {
        using var directory = new TemporaryDirectory();
        Assert.Contains(Checkpoint.IndexFileName, Assert.Throws<FileNotFoundException>(() => Checkpoint.Open(directory.Path)).Message, StringComparison.Ordinal);
        Assert.Throws<DirectoryNotFoundException>(() => Checkpoint.Open(directory.File("nowhere")));
    }

    static byte[] One(string name) => TestFiles.Safetensors("{\"" + name + "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1);
}
