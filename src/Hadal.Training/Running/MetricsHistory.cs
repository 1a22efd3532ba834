using System.Text.Json;

namespace Hadal.Training.Running;

/// <summary>What <see cref="MetricsFile"/> wrote, read back for curves.</summary>
/// <param name="Losses">Step and mean next-token cross-entropy in nats, in order of steps.</param>
/// <param name="Scores">Per held-out text: step and bits per byte, in order of steps.</param>
public sealed record MetricsHistory(IReadOnlyList<(long Step, double Loss)> Losses, IReadOnlyDictionary<string, IReadOnlyList<(long Step, double BitsPerByte)>> Scores)
{
    /// <summary>Reads a file; lines that are torn or foreign are passed over.</summary>
    public static MetricsHistory Read(string path)
    {
        var losses = new List<(long, double)>();
        var scores = new SortedDictionary<string, List<(long Step, double BitsPerByte)>>(StringComparer.Ordinal);
        foreach (string line in File.ReadLines(path))
        {
            try
            {
                using JsonDocument document = JsonDocument.Parse(line);
                JsonElement root = document.RootElement;
                long step = root.GetProperty("step").GetInt64();
                switch (root.GetProperty("kind").GetString())
                {
                    case "step" when root.GetProperty("loss").ValueKind == JsonValueKind.Number:
                        losses.Add((step, root.GetProperty("loss").GetDouble()));
                        break;
                    case "evaluation" when root.GetProperty("bits_per_byte").ValueKind == JsonValueKind.Number:
                        string corpus = root.GetProperty("corpus").GetString()!;
                        if (!scores.TryGetValue(corpus, out List<(long, double)>? list)) scores[corpus] = list = [];
                        list.Add((step, root.GetProperty("bits_per_byte").GetDouble()));
                        break;
                }
            }
            catch (Exception exception) when (exception is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
            {
                // A line that a killed process tore: the run wrote it again after its resume.
            }
        }

        return new MetricsHistory(losses, scores.ToDictionary(s => s.Key, s => (IReadOnlyList<(long, double)>)s.Value, StringComparer.Ordinal));
    }
}
