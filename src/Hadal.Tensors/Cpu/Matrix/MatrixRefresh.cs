using System.Runtime.InteropServices;

namespace Hadal.Tensors.Cpu.Matrix;

/// <summary>Packs all panels of a weight, shared by the threads.</summary>
static unsafe class MatrixRefresh
{
    /// <summary>Packs <paramref name="weight"/>. Only one thread at a time.</summary>
    public static void Run(CpuThreads threads, CpuPreparedWeight weight)
    {
        int units = weight.PackUnits;
        var state = new State { Weight = weight.Handle, Units = units, Items = Math.Min(units, threads.Count * 8) };
        threads.Run(state.Items, &Pack, &state);
        GC.KeepAlive(weight);
    }

    static void Pack(void* context, int item)
    {
        var state = (State*)context;
        var weight = (CpuPreparedWeight)GCHandle.FromIntPtr(state->Weight).Target!;
        (int unit, int end) = CpuThreads.Part(state->Units, item, state->Items);
        for (; unit < end; unit++) weight.PackPanel(unit);
    }

    struct State
    {
        public nint Weight;
        public int Units;
        public int Items;
    }
}
