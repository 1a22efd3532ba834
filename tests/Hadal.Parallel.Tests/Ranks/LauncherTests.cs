using Hadal.Parallel.Mpi;

namespace Hadal.Parallel.Tests.Ranks;

/// <summary>Which rank this process is, as its launcher says before MPI is loaded.</summary>
public sealed class LauncherTests
{
    [Theory]
    [InlineData("", 0, 1)]
    [InlineData("OMPI_COMM_WORLD_RANK=3 OMPI_COMM_WORLD_SIZE=8", 3, 8)]
    [InlineData("PMI_RANK=5 PMI_SIZE=6", 5, 6)]
    [InlineData("PMIX_RANK=2 SLURM_PROCID=2 SLURM_STEP_NUM_TASKS=4", 2, 4)]
    [InlineData("SLURM_PROCID=7 SLURM_NTASKS=8 SLURM_STEP_NUM_TASKS=8", 7, 8)]

    // A batch script of Slurm is one process, however many tasks it may start; mpirun in a step of Slurm knows better than the step.
    [InlineData("SLURM_PROCID=0 SLURM_NTASKS=32", 0, 1)]
    [InlineData("OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2 PMIX_RANK=1 SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=1", 1, 2)]
    [InlineData("OMPI_COMM_WORLD_RANK=-1 OMPI_COMM_WORLD_SIZE=many PMIX_RANK=4294967295 SLURM_PROCID=1 SLURM_STEP_NUM_TASKS=3", 1, 3)]
    public void The_rank_is_the_launchers(string environment, int rank, int size)
    {
        Dictionary<string, string> variables = environment.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(pair => pair.Split('=')).ToDictionary(pair => pair[0], pair => pair[1], StringComparer.Ordinal);
        Assert.Equal((rank, size), MpiRanks.Launched(name => variables.GetValueOrDefault(name)));
    }
}
