using System.Text;
using System.Text.Json;
using Hadal.Training.Running;

namespace Hadal.Training.Tests;

public sealed class MetricsFileTests
{
    static StepProgress Step(long step) => new()
    {
        Step = step, Steps = 9, Tokens = step * 10, Loss = 1.5, MtpLoss = double.NaN, LearningRate = 1e-3, GradientNorm = 2, MaxViolation = 0.5,
        StepSeconds = 0.1, TokensPerSecond = 100, ElapsedSeconds = step, RemainingSeconds = 1,
    };

    [Fact]
    public void A_resumed_run_has_every_step_once()
    {
        using var folder = new TemporaryFolder();
        string path = folder.File("metrics.jsonl");
        using (var metrics = new MetricsFile(path, 0))
            for (int s = 1; s <= 5; s++) metrics.Stepped(Step(s));
        File.AppendAllText(path, "{\"kind\": \"step\", \"st"); // torn by a kill
        using (var metrics = new MetricsFile(path, 3))
        {
            metrics.Stepped(Step(4));
            metrics.Evaluated(4, [new TextScore("a \"b\"", 2.5, 10, 1, 4)], final: true);
        }

        JsonElement[] lines = [.. File.ReadAllLines(path).Select(l => JsonDocument.Parse(l).RootElement)];
        Assert.Equal([1, 2, 3, 4, 4], lines.Select(l => l.GetProperty("step").GetInt64()));
        Assert.Equal(JsonValueKind.Null, lines[0].GetProperty("mtp_loss").ValueKind);
        Assert.Equal("a \"b\"", lines[4].GetProperty("corpus").GetString());
    }

    [Fact]
    public void A_finished_run_that_is_started_again_has_one_final_evaluation()
    {
        using var folder = new TemporaryFolder();
        string path = folder.File("metrics.jsonl");
        for (int start = 0; start < 3; start++)
        {
            using var metrics = new MetricsFile(path, start == 0 ? 0 : 4);
            if (start == 0)
            {
                metrics.Stepped(Step(4));
                metrics.Evaluated(4, [new TextScore("text", 3, 10, 1, 4)], final: false);
            }

            metrics.Evaluated(4, [new TextScore("text", 2.5, 10, 1, 4)], final: true);
        }

        JsonElement[] lines = [.. File.ReadAllLines(path).Select(l => JsonDocument.Parse(l).RootElement)];
        Assert.Equal("step evaluation evaluation", string.Join(' ', lines.Select(l => l.GetProperty("kind").GetString())));
        Assert.Equal([false, true], lines[1..].Select(l => l.GetProperty("final").GetBoolean()));
    }

    [Fact]
    public void Writing_a_step_allocates_nothing()
    {
        using var folder = new TemporaryFolder();
        using var metrics = new MetricsFile(folder.File("m.jsonl"), 0);
        for (int s = 1; s <= 50; s++) metrics.Stepped(Step(s));
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int s = 51; s <= 60; s++) metrics.Stepped(Step(s));
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void Lines_of_later_steps_and_foreign_lines_are_dropped() =>
        Assert.Equal("{\"step\":1}\n", Encoding.UTF8.GetString(MetricsFile.Keep("{\"step\":1}\nnonsense\n{\"step\":2}\n{\"step\":1"u8, 1)));
}
