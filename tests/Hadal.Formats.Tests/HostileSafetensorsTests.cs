using System.Buffers.Binary;
using System.Text;

namespace Hadal.Formats.Tests;

/// <summary>Damaged and hostile files: each is refused with the file, the tensor where there is one, and a remedy.</summary>
public sealed class HostileSafetensorsTests
{
    const string Good = """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""";

    public static TheoryData<string, string, int, string> Headers() => new()
    {
        { "not json", "{\"a\":", 0, "not valid JSON" },
        { "empty header", "", 0, "not valid JSON" },
        { "not an object", "[1]", 0, "not a JSON object" },
        { "two objects", Good + "{}", 8, "not valid JSON" },
        { "entry not an object", """{"a":3}""", 0, "not an object" },
        { "duplicate name", """{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}""", 2, "twice" },
        { "duplicate dtype", """{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}""", 1, "'dtype' appears twice" },
        { "dtype missing", """{"a":{"shape":[1],"data_offsets":[0,1]}}""", 1, "'dtype' is missing" },
        { "dtype a number", """{"a":{"dtype":3,"shape":[1],"data_offsets":[0,1]}}""", 1, "'dtype' is not a string" },
        { "shape missing", """{"a":{"dtype":"U8","data_offsets":[0,1]}}""", 1, "'shape' is missing" },
        { "shape a string", """{"a":{"dtype":"U8","shape":"x","data_offsets":[0,1]}}""", 1, "'shape' is not a list" },
        { "negative dimension", """{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}""", 1, "not a whole number" },
        { "fractional dimension", """{"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}}""", 1, "not a whole number" },
        { "dimension beyond 64 bits", """{"a":{"dtype":"U8","shape":[99999999999999999999],"data_offsets":[0,1]}}""", 1, "not a whole number" },
        { "product overflows", """{"a":{"dtype":"U8","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,1]}}""", 1, "more elements than a file can hold" },
        { "product overflows to the right value", """{"a":{"dtype":"U8","shape":[9223372036854775807,2],"data_offsets":[0,1]}}""", 1, "more elements than a file can hold" },
        { "offsets missing", """{"a":{"dtype":"U8","shape":[1]}}""", 1, "'data_offsets' is missing" },
        { "one offset", """{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}""", 1, "two were expected" },
        { "three offsets", """{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}""", 1, "more than 2 numbers" },
        { "negative offset", """{"a":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}}""", 1, "not a whole number" },
        { "offsets reversed", """{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}""", 1, "end before they begin" },
        { "beyond the file", """{"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}""", 8, "data section, which has 8 bytes" },
        { "length differs from shape", """{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}""", 8, "needs 12 bytes" },
        { "overlap", """{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}}""", 7, "overlap" },
        { "hole", """{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[3],"data_offsets":[5,8]}}""", 8, "belong to no tensor" },
        { "data after the last tensor", Good, 9, "1 bytes after the last tensor" },
        { "metadata not an object", """{"__metadata__":3}""", 0, "__metadata__ is not an object" },
        { "metadata value not a string", """{"__metadata__":{"a":3}}""", 0, "is not a string" },
        { "metadata twice", """{"__metadata__":{"a":"b","a":"c"}}""", 0, "appears twice" },
        { "half a surrogate pair", """{"\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}""", 1, "not valid Unicode" },
        { "too many dimensions", """{"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}}""", 1, "more than 32 numbers" },
        { "too deep", """{"a":{"x":[[[[[[[[[[[[1]]]]]]]]]]]],"dtype":"U8","shape":[1],"data_offsets":[0,1]}}""", 1, "not valid JSON" },
    };

    [Theory]
    [MemberData(nameof(Headers))]
    public void A_bad_header_is_refused_with_the_reason(string what, string header, int dataLength, string message)
    {
        using var directory = new TemporaryDirectory();
        string path = directory.Write("model.safetensors", TestFiles.Safetensors(header, dataLength));
        CheckpointFormatException error = Assert.Throws<CheckpointFormatException>(() => SafetensorsFile.Open(path));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
        Assert.True(error.Message.StartsWith(path, StringComparison.Ordinal), what);
        Assert.NotEmpty(error.Remedy);
        Assert.Throws<CheckpointFormatException>(() => SafetensorsFile.ReadHeader(File.ReadAllBytes(path), "memory"));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(7)]
    [InlineData(20)]
    public void Every_truncation_is_refused(int length)
    {
        byte[] whole = TestFiles.Safetensors(Good, 8);
        using var directory = new TemporaryDirectory();
        string path = directory.Write("cut.safetensors", whole[..length]);
        Assert.Throws<CheckpointFormatException>(() => SafetensorsFile.Open(path));
        for (int cut = 0; cut < whole.Length; cut++) Assert.Throws<CheckpointFormatException>(() => SafetensorsFile.ReadHeader(whole.AsSpan(0, cut), "memory"));
        Assert.Single(SafetensorsFile.ReadHeader(whole, "memory"));
    }

    [Theory]
    [InlineData(100_000_001UL, "more than the 100000000")]
    [InlineData(ulong.MaxValue, "more than the 100000000")]
    [InlineData(1UL << 63, "more than the 100000000")]
    [InlineData(500UL, "only 62 follow")]
    public void A_header_length_that_cannot_be_is_refused_before_anything_is_allocated(ulong length, string message)
    {
        byte[] bytes = TestFiles.Safetensors(Good, 8);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, length);
        using var directory = new TemporaryDirectory();
        string path = directory.Write("model.safetensors", bytes);
        Assert.Contains(message, Assert.Throws<CheckpointFormatException>(() => SafetensorsFile.Open(path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_wrong_byte_order_is_recognised()
    {
        byte[] bytes = TestFiles.Safetensors(Good, 8);
        Array.Reverse(bytes, 0, 8);
        CheckpointFormatException error = Assert.Throws<CheckpointFormatException>(() => SafetensorsFile.ReadHeader(bytes, "memory"));
        Assert.Contains("byte order", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_unknown_element_type_is_listed_and_refused_by_name_when_read()
    {
        using var directory = new TemporaryDirectory();
        string path = directory.Write("model.safetensors", TestFiles.Safetensors("""{"a":{"dtype":"F4_E2M1","shape":[4],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}""", 3));
        using SafetensorsFile file = SafetensorsFile.Open(path);
        Assert.Equal(ElementType.Unknown, file.Find("a")!.Type);
        Assert.Single(file.Read(file.Find("b")!));
        CheckpointFormatException error = Assert.Throws<CheckpointFormatException>(() => file.Read(file.Find("a")!));
        Assert.Contains("F4_E2M1", error.Message, StringComparison.Ordinal);
        Assert.Equal("a", error.Tensor);
    }

    [Fact]
    public void A_long_or_binary_name_does_not_flood_the_message()
    {
        string name = new string('x', 100_000) + "\\u001b[2J";
        byte[] bytes = TestFiles.Safetensors("{\"" + name + "\":3}", 0);
        CheckpointFormatException error = Assert.Throws<CheckpointFormatException>(() => SafetensorsFile.ReadHeader(bytes, "memory"));
        Assert.True(error.Message.Length < 500);
        Assert.DoesNotContain('\u001b', error.Message);
    }

    [Fact]
    public void Invalid_utf8_in_a_name_is_refused()
    {
        byte[] header = Encoding.UTF8.GetBytes(Good);
        header[2] = 0xFF;
        Assert.Throws<CheckpointFormatException>(() => SafetensorsFile.ReadHeader(TestFiles.Safetensors(header, new byte[8]), "memory"));
    }

    [Fact]
    public void Empty_tensors_share_a_place_without_overlap()
    {
        byte[] bytes = TestFiles.Safetensors("""{"a":{"dtype":"F32","shape":[0,4611686018427387904,8],"data_offsets":[0,0]},"b":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"c":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}}""", 4);
        Assert.Equal(new[] { "a", "b", "c" }, SafetensorsFile.ReadHeader(bytes, "memory").Select(e => e.Name).ToArray());
    }
}
