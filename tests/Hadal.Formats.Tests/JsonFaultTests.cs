using System.Text.Json;

namespace Hadal.Formats.Tests;

public sealed class JsonFaultTests
{
    [Theory]
    [InlineData("", "it is empty")]
    [InlineData(" \n", "it is empty")]
    [InlineData("{\n  \"a\": 1,", "line 2, column 9: ")]
    [InlineData("{\n  \"a\": nine\n}", "line 2, column 9: 'n")]
    [InlineData("{\"a\": [1, 2}", "line 1, column 12: '}' is invalid")]
    public void Faults_are_told_by_line_and_column_without_words_of_the_parser(string json, string expected)
    {
        string told = JsonFault.Describe(Assert.ThrowsAny<JsonException>(() => JsonDocument.Parse(json)));
        Assert.StartsWith(expected, told, StringComparison.Ordinal);
        foreach (string word in (string[])["LineNumber", "BytePosition", "isFinalBlock", "depth to be zero"]) Assert.DoesNotContain(word, told, StringComparison.Ordinal);
    }
}
