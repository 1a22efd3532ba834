using System.Globalization;
using System.Text.Json;
using Hadal.Training.Supervised;

namespace Hadal.Cli.Training;

/// <summary>Accuracy on held-out tasks, as text and as JSON.</summary>
static class TaskReport
{
    /// <summary>One line a task.</summary>
    public static void Write(TextWriter output, IReadOnlyList<TaskScore> scores)
    {
        foreach (IGrouping<string, TaskScore> task in scores.GroupBy(s => s.Task, StringComparer.Ordinal))
        {
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{task.Key,-10} {Mode(task, thinks: false)}   {Mode(task, thinks: true)}   of {task.First().Problems} held-out problems"));
        }
    }

    /// <summary>Writes the array <c>tasks</c>.</summary>
    public static void Write(Utf8JsonWriter json, IReadOnlyList<TaskScore> scores)
    {
        json.WriteStartArray("tasks");
        foreach (TaskScore score in scores)
        {
            json.WriteStartObject();
            json.WriteString("task", score.Task);
            json.WriteBoolean("thinks", score.Thinks);
            json.WriteNumber("problems", score.Problems);
            json.WriteNumber("right", score.Right);
            json.WriteNumber("accuracy", score.Accuracy);
            json.WriteNumber("mean_tokens", score.MeanTokens);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    static string Mode(IEnumerable<TaskScore> task, bool thinks)
    {
        TaskScore score = task.Single(s => s.Thinks == thinks);
        return string.Create(CultureInfo.InvariantCulture, $"{(thinks ? "thinking" : "direct")} {100 * score.Accuracy,5:F1} % ({score.MeanTokens,5:F1} tokens)");
    }
}
