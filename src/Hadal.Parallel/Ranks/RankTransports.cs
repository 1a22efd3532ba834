using Hadal.Parallel.Mpi;
using Hadal.Parallel.Nccl;

namespace Hadal.Parallel.Ranks;

/// <summary>Transports by the names that a user types.</summary>
public static class RankTransports
{
    /// <summary>Threads of this process.</summary>
    public const string InProcess = "in-process";

    /// <summary>Processes of Open MPI.</summary>
    public const string Mpi = "mpi";

    /// <summary>Threads of this process with a GPU each; NCCL carries the messages.</summary>
    public const string Nccl = "nccl";

    /// <summary>Names, the default first.</summary>
    public static IReadOnlyList<string> Names { get; } = [InProcess, Mpi, Nccl];

    /// <summary>
    /// Runs <paramref name="work"/> on the ranks of a transport: all of them in this process, or this process's own. It returns when the ranks of this process have ended.
    /// </summary>
    /// <param name="transport">One of <see cref="Names"/>.</param>
    /// <param name="ranks">Ranks of the whole world.</param>
    /// <param name="work">The program; it is given the group of all ranks.</param>
    /// <exception cref="RankLostException">A rank was lost.</exception>
    /// <exception cref="ArgumentException">There is no such transport, or its world has another size.</exception>
    public static void Run(string transport, int ranks, Action<ProcessGroup> work)
    {
        switch (transport)
        {
            case InProcess:
                InProcessRanks.Run(ranks, work);
                break;
            case Mpi:
                MpiRanks.Run(ranks, work);
                break;
            case Nccl:
                NcclRanks.Run(ranks, work);
                break;
            default:
                throw new ArgumentException($"There is no transport '{transport}'; expected one of {string.Join(", ", Names)}.", nameof(transport));
        }
    }
}
