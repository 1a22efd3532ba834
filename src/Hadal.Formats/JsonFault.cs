using System.Globalization;
using System.Text.Json;

namespace Hadal.Formats;

/// <summary>What is wrong with a text that is not JSON, for people: line and column as editors count them, without the parser's own vocabulary.</summary>
public static class JsonFault
{
    /// <summary>Line, column and fault, without a full stop: <c>line 3, column 12: 'j' is an invalid start of a value</c>.</summary>
    public static string Describe(JsonException exception)
    {
        ArgumentNullException.ThrowIfNull(exception);
        string text = exception.Message;
        if (text.StartsWith("The input does not contain any JSON tokens", StringComparison.Ordinal)) return "it is empty";
        if (text.StartsWith("Expected depth to be zero", StringComparison.Ordinal)) text = "the text ends before a bracket is closed";
        foreach (string tail in (string[])[" Path: ", " LineNumber: "])
            if (text.IndexOf(tail, StringComparison.Ordinal) is int cut and >= 0) text = text[..cut];
        text = text.TrimEnd('.', ' ');
        return exception is { LineNumber: long line, BytePositionInLine: long column } ? string.Create(CultureInfo.InvariantCulture, $"line {line + 1}, column {column + 1}: {text}") : text;
    }
}
