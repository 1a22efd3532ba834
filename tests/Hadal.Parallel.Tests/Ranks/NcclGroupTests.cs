using Hadal.Parallel.Nccl;
using Hadal.Parallel.Ranks;
using Hadal.Tensors;

namespace Hadal.Parallel.Tests.Ranks;

/// <summary>What the group over NCCL does when a rank is lost, with a stand-in for library and GPU: no GPU is needed, and nothing is said of NCCL itself.</summary>
public sealed class NcclGroupTests
{
    static RankLostException? Run(FakeNccl.Library library, Action<ProcessGroup, ProcessGroup> work)
    {
        try
        {
            InProcessRanks.Run(4, control =>
            {
                using var world = new NcclGroup(new FakeNccl(control, library), control);
                using ProcessGroup pair = world.Split(world.Rank / 2, world.Rank)!;
                work(world, pair);
            }, TimeSpan.FromSeconds(60));
            return null;
        }
        catch (RankLostException lost)
        {
            return lost;
        }
    }

    static unsafe int Word(ProcessGroup group, int value)
    {
        int next = (group.Rank + 1) % group.Size, previous = (group.Rank + group.Size - 1) % group.Size, came = -1;
        group.Exchange(new(IsSend: true, next, (nint)(&value), sizeof(int)), new(IsSend: false, previous, (nint)(&came), sizeof(int)));
        return came;
    }

    [Fact]
    public void Messages_of_host_memory_arrive_and_communicators_end_in_order()
    {
        var library = new FakeNccl.Library();
        Assert.Null(Run(library, (world, pair) =>
        {
            for (int i = 0; i < 5; i++)
            {
                Assert.Equal(((world.Rank + 3) % 4) + i, Word(world, world.Rank + i));
                Assert.Equal((world.Rank ^ 1) + i, Word(pair, world.Rank + i));
            }

            using var memory = new HostMemory(64);
            Tensor tensor = Tensor.View(memory, 0, DType.I32, 4);
            world.AllGather(tensor.Slice(world.Rank, 1), tensor, [1, 1, 1, 1]);
        }));
        Assert.Empty(library.Hangs);
        Assert.Equal(8, library.Ends.Count);
        Assert.All(library.Ends, end => Assert.Equal("ended", end.How));
    }

    /// <summary>The others wait for the rank in the world, or for one that does, or in a part of it.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    public void A_rank_that_throws_is_told_before_any_communicator_ends_and_all_are_aborted(int victim)
    {
        var library = new FakeNccl.Library();
        RankLostException lost = Run(library, (world, pair) =>
        {
            Word(world, 1);
            if (world.Rank == victim) throw new InvalidDataException("the power went out");
            Word(pair, 2);
            world.Barrier(); // nobody passes without all
        })!;
        Assert.Equal(victim, lost.Rank);
        Assert.Contains("the power went out", lost.Message, StringComparison.Ordinal);
        Assert.Empty(library.Hangs);
        Assert.Equal(8, library.Ends.Count);
        Assert.All(library.Ends, end => Assert.Equal(("aborted", true), (end.How, end.Told)));
    }

    [Fact]
    public void An_error_of_the_library_ends_all()
    {
        var library = new FakeNccl.Library { Broken = (1, 6) };
        RankLostException lost = Run(library, (world, pair) =>
        {
            for (int i = 0; i < 20; i++) Word(world, i);
        })!;
        Assert.Contains("NCCL gave up while rank 1 was waiting", lost.Message, StringComparison.Ordinal);
        Assert.Contains("unhandled system error", lost.Message, StringComparison.Ordinal);
        Assert.Empty(library.Hangs);
        Assert.All(library.Ends, end => Assert.Equal(("aborted", true), (end.How, end.Told)));
    }
}
