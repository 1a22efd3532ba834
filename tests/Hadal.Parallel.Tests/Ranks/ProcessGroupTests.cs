using Hadal.Parallel.Ranks;
using Hadal.Tensors;
using Hadal.Tensors.Reference;

namespace Hadal.Parallel.Tests.Ranks;

public sealed class ProcessGroupTests
{
    public static TheoryData<int> Sizes => [1, 2, 3, 4, 5, 6, 7, 8];

    static void Run(int ranks, Action<ProcessGroup, Rig> work) => InProcessRanks.Run(ranks, group =>
    {
        using var rig = new Rig();
        work(group, rig);
    }, TimeSpan.FromSeconds(20));

    [Theory]
    [MemberData(nameof(Sizes))]
    public void Messages_keep_their_order(int ranks) => Run(ranks, (group, rig) =>
    {
        int next = (group.Rank + 1) % ranks, previous = (group.Rank + ranks - 1) % ranks;
        for (int i = 0; i < 50; i++)
        {
            Tensor a = rig.Ints(group.Rank, i), b = rig.Ints(-i), gotA = rig.Ints(0, 0), gotB = rig.Ints(0);
            group.Exchange(Transfer.Send(next, a), Transfer.Send(next, b), Transfer.Receive(previous, gotA), Transfer.Receive(previous, gotB));
            Assert.Equal([previous, i], gotA.AsSpan<int>().ToArray());
            Assert.Equal([-i], gotB.AsSpan<int>().ToArray());
        }
    });

    [Theory]
    [MemberData(nameof(Sizes))]
    public void All_to_all_moves_any_counts(int ranks) => Run(ranks, (group, rig) =>
    {
        var random = new Random(77 * ranks + group.Rank);
        for (int trial = 0; trial < 20; trial++)
        {
            // Uneven, often nothing, sometimes nothing at all.
            int[] send = [.. Enumerable.Range(0, ranks).Select(_ => trial % 5 == 4 ? 0 : Math.Max(0, random.Next(-3, 6)))], receive = new int[ranks];
            group.ExchangeCounts(send, receive);
            Tensor from = rig.Allocate(DType.I32, send.Sum() + 1, 3), to = rig.Allocate(DType.I32, receive.Sum() + 1, 3);
            int row = 0;
            for (int peer = 0; peer < ranks; peer++)
                for (int i = 0; i < send[peer]; i++, row++)
                    for (int column = 0; column < 3; column++) from.Row<int>(row)[column] = Code(group.Rank, peer, i, column);
            group.AllToAll(from, send, to, receive);
            row = 0;
            for (int peer = 0; peer < ranks; peer++)
                for (int i = 0; i < receive[peer]; i++, row++)
                    for (int column = 0; column < 3; column++) Assert.Equal(Code(peer, group.Rank, i, column), to.Row<int>(row)[column]);
        }

        static int Code(int from, int to, int row, int column) => ((from * 16 + to) * 16 + row) * 4 + column;
    });

    [Theory]
    [MemberData(nameof(Sizes))]
    public void Gather_scatter_and_broadcast_for_every_root(int ranks) => Run(ranks, (group, rig) =>
    {
        int[] rows = [.. Enumerable.Range(0, ranks).Select(rank => (rank * 2 + 1) % 4)];
        int[] all = [.. Enumerable.Range(0, ranks).SelectMany(rank => Enumerable.Range(0, rows[rank]).Select(i => 10 * rank + i))];
        int[] mine = [.. Enumerable.Range(0, rows[group.Rank]).Select(i => 10 * group.Rank + i)];
        for (int root = 0; root < ranks; root++)
        {
            Tensor part = rig.Ints(mine), whole = rig.Ints(new int[all.Length]);
            group.Gather(root, part, whole, rows);
            Assert.Equal(group.Rank == root ? all : new int[all.Length], whole.AsSpan<int>().ToArray());
            Tensor back = rig.Ints(new int[mine.Length]);
            group.Scatter(root, whole, back, rows);
            Assert.Equal(mine, back.AsSpan<int>().ToArray());
            Tensor word = rig.Ints(group.Rank == root ? 4711 + root : 0);
            group.Broadcast(root, word);
            Assert.Equal(4711 + root, word.AsSpan<int>()[0]);
        }

        Tensor gathered = rig.Ints(new int[all.Length]);
        group.AllGather(rig.Ints(mine), gathered, rows);
        Assert.Equal(all, gathered.AsSpan<int>().ToArray());
    });

    [Theory]
    [MemberData(nameof(Sizes))]
    public void Nobody_leaves_a_barrier_before_all_have_come(int ranks)
    {
        int came = 0;
        Run(ranks, (group, _) =>
        {
            for (int round = 1; round <= 20; round++)
            {
                if (group.Rank == round % ranks) Thread.Sleep(1);
                Interlocked.Increment(ref came);
                group.Barrier();
                Assert.True(Volatile.Read(ref came) >= round * ranks);
                group.Barrier();
            }
        });
        Assert.Equal(20 * ranks, came);
    }

    [Theory]
    [MemberData(nameof(Sizes))]
    public void Parts_are_groups_of_their_own(int ranks) => Run(ranks, (group, rig) =>
    {
        // Odd and even ranks, the highest first; rank 1 sits out the second time.
        using ProcessGroup part = group.Split(group.Rank % 2, -group.Rank)!;
        int[] members = [.. Enumerable.Range(0, ranks).Where(rank => rank % 2 == group.Rank % 2).Reverse()];
        Assert.Equal((members.Length, Array.IndexOf(members, group.Rank)), (part.Size, part.Rank));
        Assert.Equal(members, Enumerable.Range(0, part.Size).Select(part.WorldRank));
        Tensor gathered = rig.Ints(new int[part.Size]);
        part.AllGather(rig.Ints(group.Rank), gathered, [.. members.Select(_ => 1)]);
        Assert.Equal(members, gathered.AsSpan<int>().ToArray());

        using ProcessGroup? again = part.Split(group.Rank == 1 ? -1 : 0, 0);
        Assert.Equal(group.Rank == 1, again is null);
        again?.Barrier();
        group.Barrier();
    });

    /// <summary>A rank whose neighbour still computes goes on: the first small messages are kept for it, a large one waits.</summary>
    [Fact]
    public void Small_messages_do_not_wait_for_their_receiver()
    {
        using var sent = new ManualResetEventSlim();
        bool early = false;
        Run(2, (group, rig) =>
        {
            const int large = (int)(2 * InProcessChannel.MostKeptBytes / sizeof(int));
            if (group.Rank == 1)
            {
                early = sent.Wait(TimeSpan.FromSeconds(60));
                for (int i = 0; i < 5; i++)
                {
                    Tensor came = rig.Ints(new int[i == 3 ? large : 7]);
                    group.Receive(0, came);
                    Assert.Equal(-1, came.AsSpan<int>().IndexOfAnyExcept(i));
                }

                return;
            }

            Tensor small = rig.Ints(new int[7]), whole = rig.Ints(new int[large]);
            for (int i = 0; i < 5; i++)
            {
                Tensor data = i == 3 ? whole : small;
                data.AsSpan<int>().Fill(i); // after a send its memory is the sender's again
                if (i == InProcessChannel.MostKept) sent.Set();
                group.Send(1, data);
            }
        });
        Assert.True(early);
    }

    [Fact]
    public void What_cannot_be_moved_is_refused()
    {
        Run(1, (group, rig) =>
        {
            Assert.Contains("ranks 0 to 0", Assert.Throws<ArgumentException>(() => group.Send(1, rig.Ints(1))).Message, StringComparison.Ordinal);
            Assert.Contains("gaps", Assert.Throws<ArgumentException>(() => group.Send(0, rig.Allocate(DType.I32, 4, 4).SliceColumns(0, 2))).Message, StringComparison.Ordinal);
            Assert.Contains("5 rows", Assert.Throws<ArgumentException>(() => group.AllToAll(rig.Ints(1, 2), [5], rig.Ints(0, 0), [2])).Message, StringComparison.Ordinal);
            Assert.Contains("-1 rows", Assert.Throws<ArgumentException>(() => group.AllToAll(rig.Ints(1, 2), [-1], rig.Ints(0, 0), [2])).Message, StringComparison.Ordinal);
        });
        Assert.Throws<ArgumentOutOfRangeException>(() => InProcessRanks.Run(0, _ => { }));
    }

    /// <summary>Memory and operations of one rank.</summary>
    sealed class Rig : IDisposable
    {
        readonly ReferenceBackend _backend = new();
        readonly TensorArena _arena;

        public Rig() => _arena = new TensorArena(_backend);

        public IOperations Operations => _backend.Operations;

        public Tensor Allocate(DType type, params ReadOnlySpan<int> shape) => _arena.Allocate(type, shape);

        public Tensor Ints(params ReadOnlySpan<int> values)
        {
            Tensor tensor = _arena.Allocate(DType.I32, values.Length);
            values.CopyTo(tensor.AsSpan<int>());
            return tensor;
        }

        public Tensor Floats(ReadOnlySpan<float> values)
        {
            Tensor tensor = _arena.Allocate(DType.F32, values.Length);
            values.CopyTo(tensor.AsSpan<float>());
            return tensor;
        }

        public void Dispose()
        {
            _arena.Dispose();
            _backend.Dispose();
        }
    }
}
