using System.Globalization;
using System.Text;
using Hadal.Parallel.Ranks;
using Hadal.Tensors;

namespace Hadal.Parallel.Mpi;

/// <summary>Runs this process as one rank of an MPI world (docs/parallel.md). One run in a process.</summary>
public static class MpiRanks
{
    static int _runs;

    // mpirun of Open MPI; launchers with PMIx or PMI, among them srun --mpi=pmix and --mpi=pmi2; srun. SLURM_NTASKS is no sign of a launcher: every batch script has it, with one process.
    static readonly string[] SizeNames = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"], RankNames = ["OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"];

    /// <summary>Processes that a launcher (mpirun, srun) started; 1 without a launcher.</summary>
    public static int LaunchedSize => Launched(Environment.GetEnvironmentVariable).Size;

    /// <summary>Rank of this process as its launcher says, before anything is loaded; 0 without a launcher.</summary>
    public static int LaunchedRank => Launched(Environment.GetEnvironmentVariable).Rank;

    /// <summary>What a launcher says in the environment.</summary>
    /// <param name="variable">Reads a variable; null for none.</param>
    internal static (int Rank, int Size) Launched(Func<string, string?> variable)
    {
        return (First(RankNames, least: 0) ?? 0, First(SizeNames, least: 1) ?? 1);

        int? First(string[] names, int least)
        {
            foreach (string name in names)
                if (int.TryParse(variable(name), NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number >= least) return number;
            return null;
        }
    }

    /// <summary>Runs <paramref name="work"/> as this process's rank and returns when all ranks have ended theirs.</summary>
    /// <param name="ranks">Ranks that are expected.</param>
    /// <param name="work">The program; it is given the group of all ranks.</param>
    /// <exception cref="RankLostException">A rank was lost; every process gets this, with the same name.</exception>
    /// <exception cref="DllNotFoundException">Open MPI is not installed.</exception>
    /// <exception cref="ArgumentException">There are more or fewer processes.</exception>
    public static void Run(int ranks, Action<ProcessGroup> work)
    {
        if (Interlocked.Increment(ref _runs) > 1) throw new InvalidOperationException("MPI begins once in a process.");
        MpiLibrary library = MpiLibrary.Instance;
        library.Begin();
        (int rank, int size) = library.Place(library.World);
        if (size != ranks)
        {
            library.End();
            throw new ArgumentException($"{ranks} ranks are needed and {size} {(size == 1 ? "process was" : "processes were")} started: mpirun -n {ranks} hadal …", nameof(ranks));
        }

        using var watch = new RankWatch(rank, size);
        using var world = new MpiGroup(library, watch, library.World, [.. Enumerable.Range(0, size)], rank);
        try
        {
            Begin(watch, world, library);
            work(world);
            world.Barrier();
            watch.Leave();
        }
        catch (Exception exception) when (Tell(watch, rank, exception))
        {
            // No MPI_Finalize: it would wait for the lost.
            if (exception is RankLostException) throw;
            throw new RankLostException(watch.Loss!.Rank, watch.Loss.Message, exception);
        }

        library.End();
    }

    // As the filter of a catch it runs before anything below is disposed: what is sent while the rank unwinds cannot come before the name.
    static bool Tell(RankWatch watch, int rank, Exception exception)
    {
        if (exception is RankLostException lost) watch.Lose(lost.Rank, lost.Message);
        else watch.Lose(rank, $"Rank {rank} was lost: {exception.GetType().Name}: {exception.Message}");
        return true;
    }

    // Everyone learns where rank 0 listens, and a word that proves membership.
    static unsafe void Begin(RankWatch watch, MpiGroup world, MpiLibrary library)
    {
        const int Most = 1024;
        using var memory = new HostMemory((long)Most * (world.Size + 1));
        Tensor names = Tensor.View(memory, 0, DType.U8, world.Size, Most), own = Tensor.View(memory, (long)world.Size * Most, DType.U8, 1, Most);
        Write(own, library.Machine());
        int[] rows = [.. Enumerable.Repeat(1, world.Size)];
        world.AllGather(own, names, rows);
        bool together = Enumerable.Range(0, world.Size).All(other => string.Equals(Read(names.Slice(other, 1)), Read(names.Slice(0, 1)), StringComparison.Ordinal));
        if (world.Rank == 0) Write(own, watch.Listen(loopback: together));
        world.Broadcast(0, own);
        watch.Join(Read(own));
        world.Barrier();

        static void Write(Tensor to, string text)
        {
            Span<byte> bytes = to.AsSpan<byte>();
            bytes.Clear();
            Encoding.UTF8.GetBytes(text.AsSpan(0, Math.Min(text.Length, 250)), bytes);
        }

        static string Read(Tensor from)
        {
            ReadOnlySpan<byte> bytes = from.AsSpan<byte>();
            int end = bytes.IndexOf((byte)0);
            return Encoding.UTF8.GetString(end < 0 ? bytes : bytes[..end]);
        }
    }
}
