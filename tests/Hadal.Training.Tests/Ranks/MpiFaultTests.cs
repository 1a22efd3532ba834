using Hadal.Training.Data;

namespace Hadal.Training.Tests.Ranks;

/// <summary>Faults of messages between real processes: named, and the run goes on with the same bits.</summary>
public sealed class MpiFaultTests
{
    const int Steps = 10;

    /// <summary>One run of two processes that meets a fault after every few steps: cut, doubled and changed messages, rank 0 that fails in mid-step, and at last a slow one.</summary>
    [Fact]
    [Trait("tier", "full")]
    public void Harmed_messages_between_processes_are_named_and_the_run_goes_on_with_the_same_bits()
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = RankRuns.Configuration(folder, Steps, "fp8") with { Checkpoint = new CheckpointConfiguration { Every = 1, Keep = 2 } };
        PreparedRun data = TinyRuns.Prepare(run);
        RankRuns.Train(run, data, TestContext.Current.CancellationToken);
        string[] expected = [.. RankRuns.State(run, Steps)];

        RunConfiguration split = run with { Parallel = RankRuns.Layout(1, 2, 1) with { Transport = "mpi", Checked = true }, Output = folder.File("split") };
        (MessageFault Fault, int Rank, int Message)[] faults =
        [
            (MessageFault.Truncated, 1, 30), (MessageFault.Duplicated, 1, 30), (MessageFault.Changed, 1, 30), (MessageFault.Killed, 0, 30), (MessageFault.Delayed, 1, 10),
        ];
        foreach ((MessageFault Fault, int Rank, int Message) fault in faults)
        {
            (int code, string text) = RankProcess.Launch(split, folder.File("run.json"), fault);
            TestContext.Current.TestOutputHelper!.WriteLine($"{fault}: at {Path.GetFileName(Directory.GetDirectories(Path.Combine(split.Output, "checkpoints"), "step-*").Max(StringComparer.Ordinal))}");
            if (fault.Fault == MessageFault.Delayed)
            {
                Assert.True(code == 0, text);
                Assert.Contains("The message was Delayed", text, StringComparison.Ordinal);
                continue;
            }

            Assert.True(code != 0, $"{fault}: {text}");
            string[] named = [.. text.Split('\n').Where(line => line.StartsWith("RankLostException: ", StringComparison.Ordinal))];
            Assert.True(named.Length > 0 && named.All(line => line.StartsWith($"RankLostException: Rank {fault.Rank} was lost: ", StringComparison.Ordinal)), $"{fault}: {text}");
        }

        string[] actual = [.. RankRuns.State(split, Steps)];
        Assert.True(expected.AsSpan().SequenceEqual(actual), RankRuns.Difference("after faults", expected, actual));
    }
}
