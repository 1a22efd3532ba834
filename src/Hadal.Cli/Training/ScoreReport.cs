using System.Text.Json;
using Hadal.Training.Running;

namespace Hadal.Cli.Training;

/// <summary>Held-out scores as JSON.</summary>
static class ScoreReport
{
    /// <summary>Writes the array <c>scores</c>.</summary>
    public static void Write(Utf8JsonWriter json, IReadOnlyList<TextScore> scores)
    {
        json.WriteStartArray("scores");
        foreach (TextScore score in scores)
        {
            json.WriteStartObject();
            json.WriteString("corpus", score.Corpus);
            json.WriteNumber("bits_per_byte", score.BitsPerByte);
            json.WriteNumber("bytes", score.Bytes);
            json.WriteNumber("documents", score.Documents);
            json.WriteNumber("tokens", score.Tokens);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }
}
