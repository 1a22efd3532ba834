using Hadal.Cli.Framework;
using Hadal.Parallel.Schedules;
using Hadal.Training;

namespace Hadal.Cli.Tests;

public sealed class RankOptionsTests
{
    static readonly ParallelConfiguration File = new() { Pipeline = 1, Expert = 4, Data = 1, Nodes = 2, Schedule = ScheduleKind.ZeroBubble, Checked = true };

    [Fact]
    public void What_is_not_given_stays_as_the_file_says() => Assert.Equal(File, RankOptions.Apply(File, ranks: null, schedule: null, transport: null));

    /// <summary>A token crosses once to each node: a number that the line does not name stays the file's.</summary>
    [Fact]
    public void The_nodes_of_the_file_stay()
    {
        ParallelConfiguration read = RankOptions.Apply(File, "2x8x3", "dualpipe", "mpi");
        Assert.Equal(File with { Pipeline = 2, Expert = 8, Data = 3, Schedule = ScheduleKind.DualPipe, Transport = "mpi" }, read);
        Assert.Equal(2, read.Nodes);
        Assert.Equal(new ParallelConfiguration { Data = 5 }, RankOptions.Apply(new ParallelConfiguration(), "5", schedule: null, transport: null));
    }

    [Theory]
    [InlineData("1x3x2", "lets 3 ranks share")]
    [InlineData("4", "lets 1 rank share")]
    public void Nodes_that_do_not_divide_the_ranks_are_refused_with_a_reason(string ranks, string reason)
    {
        CommandError error = Assert.Throws<CommandError>(() => RankOptions.Apply(File, ranks, schedule: null, transport: null));
        Assert.Contains(reason, error.Message, StringComparison.Ordinal);
        Assert.Contains("\"nodes\": 2", error.Message, StringComparison.Ordinal);
        Assert.Equal(2, error.Code);
        Assert.Contains("run.json", error.Fix, StringComparison.Ordinal);
    }
}
