using System.Diagnostics;
using Hadal.Kernels.Driver;
using Hadal.Parallel.Nccl;
using Hadal.Parallel.Ranks;
using Hadal.Tensors;

namespace Hadal.Parallel.Measurement;

/// <summary>What one operation came to on one size of message.</summary>
/// <param name="Operation">For example <c>all-to-all</c>.</param>
/// <param name="Bytes">Of the largest message of a rank.</param>
/// <param name="Correct">Every byte was the expected one, on every rank.</param>
/// <param name="Seconds">Median of one call, on the slowest rank.</param>
/// <param name="BytesPerSecond">Bytes that a rank sends to others, over the time; NaN where none are.</param>
public readonly record struct RankMeasurement(string Operation, long Bytes, bool Correct, double Seconds, double BytesPerSecond);

/// <summary>Checks and times every operation of a transport: every rank sends bytes that say who sent them to whom, and every byte that comes is compared.</summary>
public static class RankBench
{
    /// <summary>Checks and times.</summary>
    /// <param name="transport">One of <see cref="RankTransports.Names"/>.</param>
    /// <param name="ranks">Ranks.</param>
    /// <param name="sizes">Bytes of a message, each a multiple of 8.</param>
    /// <param name="repeats">Timed calls of each operation.</param>
    /// <param name="report">Receives each measurement, on rank 0; NCCL: in device memory.</param>
    public static void Run(string transport, int ranks, IReadOnlyList<long> sizes, int repeats, Action<RankMeasurement> report)
    {
        if (transport is RankTransports.Nccl) NcclRanks.Run(ranks, (group, context) => Measure(new Bench(group, context, report), sizes, repeats));
        else RankTransports.Run(transport, ranks, group => Measure(new Bench(group, null, report), sizes, repeats));
    }

    static void Measure(Bench bench, IReadOnlyList<long> sizes, int repeats)
    {
        ProcessGroup group = bench.Group;
        int size = group.Size, rank = group.Rank, next = (rank + 1) % size, previous = (rank + size - 1) % size;
        bench.Time("barrier", 0, repeats, 0, (_, _) => group.Barrier(), [], []);
        foreach (long bytes in sizes)
        {
            int words = checked((int)(bytes / sizeof(int)));

            // Round a ring: everyone sends and receives at once.
            bench.Time("send and receive", bytes, repeats, bytes, (send, receive) => group.Exchange(Transfer.Send(next, send.Slice(0, words)), Transfer.Receive(previous, receive.Slice(0, words))),
                [(next, words)], [(previous, words)]);

            // Uneven on purpose: rank r sends peer p a share that depends on both, some nothing.
            int[] sends = [.. Enumerable.Range(0, size).Select(peer => Share(words, rank, peer, size))], receives = [.. Enumerable.Range(0, size).Select(peer => Share(words, peer, rank, size))];
            bench.Time("all-to-all, uneven", bytes, repeats, sizeof(int) * (sends.Sum(count => (long)count) - sends[rank]), (send, receive) => group.AllToAll(send, sends, receive, receives),
                [.. sends.Select((count, peer) => (peer, count))], [.. receives.Select((count, peer) => (peer, count))]);

            // Counts first, as a dispatch does.
            int[] counts = new int[size];
            bench.Time("counts, then all-to-all", bytes, repeats, sizeof(int) * (sends.Sum(count => (long)count) - sends[rank]), (send, receive) =>
            {
                group.ExchangeCounts(sends, counts);
                if (!counts.AsSpan().SequenceEqual(receives)) throw new InvalidOperationException($"Rank {rank} was told other counts than were sent.");
                group.AllToAll(send, sends, receive, counts);
            }, [.. sends.Select((count, peer) => (peer, count))], [.. receives.Select((count, peer) => (peer, count))]);

            int each = words / size;
            int[] even = [.. Enumerable.Repeat(each, size)];
            bench.Time("all-gather", bytes, repeats, sizeof(int) * (long)each * (size - 1), (send, receive) => group.AllGather(send.Slice(0, each), receive, even),
                [(Bench.Everyone, each)], [.. Enumerable.Range(0, size).Select(peer => (peer, each))], fromEveryone: true);
        }
    }

    static int Share(int words, int from, int to, int size) => words / size * ((from + (2 * to)) % 4) / 3;

    sealed class Bench(ProcessGroup group, CudaContext? context, Action<RankMeasurement> report)
    {
        internal const int Everyone = -1;

        internal ProcessGroup Group => group;

        internal void Time(string name, long bytes, int repeats, long sent, Action<Tensor, Tensor> run, (int Peer, int Words)[] sends, (int Peer, int Words)[] receives, bool fromEveryone = false)
        {
            int sendWords = Math.Max(1, sends.Sum(part => part.Words)), receiveWords = Math.Max(1, receives.Sum(part => part.Words));
            using TensorMemory sendMemory = Allocate(sendWords), receiveMemory = Allocate(receiveWords);
            Tensor send = Tensor.View(sendMemory, 0, DType.I32, sendWords), receive = Tensor.View(receiveMemory, 0, DType.I32, receiveWords);
            int[] values = new int[sendWords], expected = new int[receiveWords], found = new int[receiveWords];
            Fill(values, sends, sender: true, fromEveryone);
            Fill(expected, receives, sender: false, fromEveryone);
            found.AsSpan().Fill(-1);
            Write(send, values);
            Write(receive, found);
            group.Barrier();
            run(send, receive);
            Read(receive, found);
            bool correct = receives.Length == 0 || expected.AsSpan().SequenceEqual(found);

            double[] seconds = new double[repeats];
            for (int i = 0; i < repeats; i++)
            {
                group.Barrier();
                long began = Stopwatch.GetTimestamp();
                run(send, receive);
                seconds[i] = Stopwatch.GetElapsedTime(began).TotalSeconds;
            }

            Array.Sort(seconds);
            using var memory = new HostMemory(2L * sizeof(double) * (group.Size + 1));
            Tensor mine = Tensor.View(memory, 0, DType.F64, 1, 2), all = Tensor.View(memory, 2 * sizeof(double), DType.F64, group.Size, 2);
            mine.AsSpan<double>()[0] = seconds[repeats / 2];
            mine.AsSpan<double>()[1] = correct ? 1 : 0;
            group.AllGather(mine, all, [.. Enumerable.Repeat(1, group.Size)]);
            if (group.Rank != 0) return;
            double slowest = 0;
            for (int rank = 0; rank < group.Size; rank++)
            {
                slowest = Math.Max(slowest, all.Row<double>(rank)[0]);
                correct &= all.Row<double>(rank)[1] == 1;
            }

            report(new RankMeasurement(name, bytes, correct, slowest, sent > 0 ? sent / slowest : double.NaN));
        }

        // Word i of a message says who sent it, to whom, and i.
        void Fill(int[] words, (int Peer, int Words)[] parts, bool sender, bool fromEveryone)
        {
            int at = 0;
            foreach ((int peer, int count) in parts)
            {
                int from = sender ? group.Rank : peer, to = fromEveryone ? 0 : sender ? peer : group.Rank;
                for (int i = 0; i < count; i++) words[at++] = unchecked((((from * 61) + to) * 1_000_003) + i);
            }
        }

        TensorMemory Allocate(int words) => context is null ? new HostMemory((long)words * sizeof(int)) : NcclRanks.Allocate(context, (long)words * sizeof(int));

        static void Write(Tensor to, int[] words)
        {
            if (to.IsHost) words.CopyTo(to.AsSpan<int>());
            else CudaContext.Upload<int>((ulong)to.Address, words);
        }

        static void Read(Tensor from, int[] words)
        {
            if (from.IsHost) from.AsSpan<int>().CopyTo(words);
            else CudaContext.Download<int>((ulong)from.Address, words);
        }
    }
}
