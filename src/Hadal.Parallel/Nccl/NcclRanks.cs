using Hadal.Kernels.Driver;
using Hadal.Parallel.Ranks;
using Hadal.Tensors;

namespace Hadal.Parallel.Nccl;

/// <summary>Runs work on ranks that are threads of this process with a GPU each.</summary>
public static class NcclRanks
{
    /// <summary>Runs <paramref name="work"/> once for each rank; rank r has GPU r.</summary>
    /// <param name="ranks">Ranks.</param>
    /// <param name="work">The program; it is given the group of all ranks.</param>
    /// <exception cref="ArgumentException">There are fewer GPUs.</exception>
    /// <exception cref="DllNotFoundException">NCCL is not installed.</exception>
    /// <exception cref="RankLostException">A rank was lost.</exception>
    public static void Run(int ranks, Action<ProcessGroup> work) => Run(ranks, (group, _) => work(group));

    /// <summary>As the other, with the GPU's context, which is current on the rank's thread.</summary>
    public static void Run(int ranks, Action<ProcessGroup, CudaContext> work)
    {
        CudaState state = CudaDriver.Look();
        if (state.Refusal is { } refusal) throw new ArgumentException($"The transport nccl needs {ranks} GPUs: {refusal}", nameof(ranks));
        if (state.Devices.Count < ranks) throw new ArgumentException($"The transport nccl needs a GPU for each of {ranks} ranks and this machine has {state.Devices.Count}.", nameof(ranks));
        NcclLibrary library = NcclLibrary.Instance;
        InProcessRanks.Run(ranks, control =>
        {
            // A rank that throws is told lost before what follows is disposed (InProcessRanks).
            using CudaContext context = CudaContext.Open(control.Rank);
            using var group = new NcclGroup(new NcclDevice(library, context), control);
            work(group, context);
            group.Barrier();
        });
    }

    /// <summary>Memory of a GPU that tensors view.</summary>
    public static TensorMemory Allocate(CudaContext context, long bytes) => new CudaTensorMemory(context.Allocate(bytes));

    sealed class CudaTensorMemory(DeviceMemory memory) : TensorMemory
    {
        public override nint Address => (nint)memory.Address;

        public override long Bytes => memory.Bytes;

        public override bool IsHost => false;

        protected override void Dispose(bool disposing)
        {
            if (disposing) memory.Dispose();
        }
    }
}
