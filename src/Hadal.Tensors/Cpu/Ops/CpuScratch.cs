using System.Diagnostics.CodeAnalysis;

namespace Hadal.Tensors.Cpu.Ops;

/// <summary>Temporaries of one thread: grown when first needed, then reused, so that operations allocate nothing after warm-up.</summary>
static unsafe class CpuScratch
{
    [ThreadStatic]
    static HostMemory? t_memory;

    /// <summary>At least <paramref name="floats"/> floats with any content; valid until the thread's next call.</summary>
    [SuppressMessage("Reliability", "CA2000", Justification = "Kept for the thread's life; its finalizer frees it.")]
    public static float* Floats(long floats)
    {
        if (t_memory is null || t_memory.Bytes < floats * sizeof(float))
        {
            t_memory?.Dispose();
            t_memory = new HostMemory(floats * sizeof(float));
        }

        return (float*)t_memory.Address;
    }
}

/// <summary>Functions of a lane that the base library has no same-bits form for.</summary>
/// <typeparam name="TLanes">The lanes.</typeparam>
static class LaneMath<TLanes>
    where TLanes : struct, Lanes.ILanes<TLanes>
{
    const float Low = -87.33f, High = 88.02f, Magic = 12582912f; // 1.5·2²³: adding it leaves the rounded integer in the low bits

    /// <summary>
    /// e^x within 2 ulp for −87.33 ≤ x ≤ 88.02; 0 below (the results would be subnormal), e^88.02 above; NaN stays NaN. Cody–Waite reduction to
    /// |r| ≤ ln 2 / 2, Taylor polynomial of degree 7 (its remainder is 5e-9 relative), exponent put in by integer addition.
    /// </summary>
    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveInlining)]
    public static TLanes Exp(TLanes x)
    {
        TLanes low = TLanes.Broadcast(Low), magic = TLanes.Broadcast(Magic);
        TLanes tiny = TLanes.LessThan(x, low);
        x = TLanes.Max(low, TLanes.Min(TLanes.Broadcast(High), x));
        TLanes shifted = TLanes.Fma(x, TLanes.Broadcast(1.44269504f), magic);
        TLanes n = shifted - magic;
        TLanes r = TLanes.FmaNegated(n, TLanes.Broadcast(0.693145752f), x);
        r = TLanes.FmaNegated(n, TLanes.Broadcast(1.42860677e-6f), r);
        TLanes p = TLanes.Fma(TLanes.Broadcast(1f / 5040), r, TLanes.Broadcast(1f / 720));
        p = TLanes.Fma(p, r, TLanes.Broadcast(1f / 120));
        p = TLanes.Fma(p, r, TLanes.Broadcast(1f / 24));
        p = TLanes.Fma(p, r, TLanes.Broadcast(1f / 6));
        p = TLanes.Fma(p, r, TLanes.Broadcast(0.5f));
        p = TLanes.Fma(p, r, TLanes.Broadcast(1f));
        p = TLanes.Fma(p, r, TLanes.Broadcast(1f));
        TLanes scaled = TLanes.AddBits(p, TLanes.ShiftLeftBits(TLanes.SubtractBits(shifted, magic), 23));
        return TLanes.Select(tiny, TLanes.Zero, scaled);
    }
}
