namespace Hadal.Parallel.Ranks;

/// <summary>Runs work on ranks that are threads of this process.</summary>
public static class InProcessRanks
{
    /// <summary>Most ranks of a process.</summary>
    public const int Most = 4096;

    /// <summary>
    /// Runs <paramref name="work"/> once for each rank, each on a thread of its own, and returns when all have ended. A rank that ends by an exception is
    /// lost: ranks that wait get a <see cref="RankLostException"/> with its name at once.
    /// </summary>
    /// <param name="ranks">Number of ranks.</param>
    /// <param name="work">The program; it is given the group of all ranks.</param>
    /// <param name="patience">How long a rank that others wait for may be silent before it counts as lost; null: as long as it likes.</param>
    /// <exception cref="RankLostException">A rank was lost; the exception that ended it is inside.</exception>
    public static void Run(int ranks, Action<ProcessGroup> work, TimeSpan? patience = null)
    {
        if (ranks is < 1 or > Most) throw new ArgumentOutOfRangeException(nameof(ranks), ranks, $"{ranks} ranks were given; expected 1 to {Most}.");
        var world = new InProcessWorld(ranks, patience);
        var hub = new InProcessHub(world, [.. Enumerable.Range(0, ranks)]);
        var threads = new Thread[ranks];
        for (int i = 0; i < ranks; i++)
        {
            int rank = i;
            threads[rank] = new Thread(() => RunRank(hub, rank, work)) { Name = $"rank {rank}", IsBackground = true };
        }

        foreach (Thread thread in threads) thread.Start();
        foreach (Thread thread in threads)
        {
            // A rank that was lost by its silence may never end; the others have, and say so.
            while (!thread.Join(100))
                if (world.Loss is { InnerException: null } && patience is { } limit && !thread.Join(limit)) break;
        }

        if (world.Loss is { } loss) throw new RankLostException(loss.Rank, loss.Message, loss.InnerException);
    }

    static void RunRank(InProcessHub hub, int rank, Action<ProcessGroup> work)
    {
        try
        {
            using var group = new InProcessGroup(hub, rank);
            work(group);
        }
        catch (Exception exception) when (Tell(hub.World, rank, exception))
        {
            // It is reported when all have ended.
        }
        finally
        {
            hub.World.End(rank);
        }
    }

    // As the filter of a catch it runs before anything below is disposed: whoever says good-bye to others while the rank unwinds finds the loss told already.
    static bool Tell(InProcessWorld world, int rank, Exception exception)
    {
        if (exception is not RankLostException lost) world.Lose(rank, $"Rank {rank} was lost: {exception.GetType().Name}: {exception.Message}", exception);
        else world.Lose(lost.Rank, lost.Message, lost); // seen by a layer above the transport, or a consequence of the first
        return true;
    }
}
