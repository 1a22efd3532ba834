using System.Collections.Concurrent;
using System.Diagnostics;
using Hadal.Parallel.Ranks;

namespace Hadal.Parallel.Tests.Ranks;

/// <summary>A lost rank is named by the others, soon, and everyone ends.</summary>
public sealed class RankLossTests
{
    static unsafe void Word(ProcessGroup group, int peer, bool send, int bytes = 4)
    {
        long room = 0;
        group.Exchange(new Transfer(send, peer, (nint)(&room), bytes));
    }

    [Fact]
    public void A_rank_that_fails_is_named_by_all_others()
    {
        var named = new ConcurrentDictionary<int, RankLostException>();
        long failed = 0;
        RankLostException lost = Assert.Throws<RankLostException>(() => InProcessRanks.Run(5, group =>
        {
            if (group.Rank == 3)
            {
                failed = Stopwatch.GetTimestamp();
                throw new InvalidDataException("the disk caught fire");
            }

            try
            {
                // Rank 4 waits for 3, the others wait for 4.
                Word(group, group.Rank == 4 ? 3 : 4, send: false);
            }
            catch (RankLostException exception)
            {
                named[group.Rank] = exception;
                throw;
            }
        }));
        Assert.Equal(3, lost.Rank);
        Assert.IsType<InvalidDataException>(lost.InnerException);
        Assert.Contains("the disk caught fire", lost.Message, StringComparison.Ordinal);
        Assert.Equal([0, 1, 2, 4], named.Keys.Order());
        Assert.All(named, entry =>
        {
            Assert.Equal(3, entry.Value.Rank);
            Assert.Contains($"Rank {entry.Key} was waiting to receive 4 bytes from rank {(entry.Key == 4 ? 3 : 4)}", entry.Value.Message, StringComparison.Ordinal);
        });
        TimeSpan took = Stopwatch.GetElapsedTime(failed);
        TestContext.Current.TestOutputHelper!.WriteLine($"from the failure to the end of all: {took}");
        Assert.True(took < TimeSpan.FromSeconds(60), $"From the failure to the end of all it took {took}.");
    }

    [Fact]
    public void A_rank_that_ends_early_is_named()
    {
        RankLostException lost = Assert.Throws<RankLostException>(() => InProcessRanks.Run(2, group =>
        {
            if (group.Rank == 1) Word(group, 0, send: false);
        }));
        Assert.Equal(0, lost.Rank);
        Assert.Contains("its work ended while rank 1", lost.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_message_of_an_ended_rank_still_arrives() => InProcessRanks.Run(2, group =>
    {
        if (group.Rank == 1) Thread.Sleep(50);
        Word(group, 1 - group.Rank, send: group.Rank == 0);
    });

    [Fact]
    public void A_silent_rank_at_the_end_of_a_chain_is_named()
    {
        using var release = new ManualResetEventSlim();
        RankLostException lost = Assert.Throws<RankLostException>(() => InProcessRanks.Run(4, group =>
        {
            // 0 waits for 1, 1 for 2, 2 for 3, and 3 says nothing.
            if (group.Rank < 3) Word(group, group.Rank + 1, send: false);
            else release.Wait(TimeSpan.FromSeconds(30));
        }, patience: TimeSpan.FromSeconds(0.5)));
        release.Set();
        Assert.Equal(3, lost.Rank);
        Assert.Contains("silent for 0.5 s", lost.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_circle_of_waiting_ranks_is_named_as_one()
    {
        RankLostException lost = Assert.Throws<RankLostException>(() => InProcessRanks.Run(3, group => Word(group, (group.Rank + 1) % 3, send: false), TimeSpan.FromSeconds(0.5)));
        Assert.Equal(-1, lost.Rank);
        Assert.Contains("in a circle", lost.Message, StringComparison.Ordinal);
        Assert.Contains("waits for", lost.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_message_of_another_size_is_found()
    {
        RankLostException lost = Assert.Throws<RankLostException>(() => InProcessRanks.Run(2, group => Word(group, 1 - group.Rank, send: group.Rank == 0, bytes: group.Rank == 0 ? 4 : 8)));
        Assert.Equal(0, lost.Rank);
        Assert.Contains("Rank 0 was lost: rank 1 was told to receive 8 bytes from it and 4 bytes came", lost.Message, StringComparison.Ordinal);
    }
}
