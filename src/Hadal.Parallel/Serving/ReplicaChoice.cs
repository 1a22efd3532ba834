using System.Runtime.CompilerServices;
using Hadal.Parallel.Experts;

namespace Hadal.Parallel.Serving;

/// <summary>Which of an expert's replicas a token goes to: in turns over the tokens of a rank, ranks beginning at different ones. Nothing but speed depends on it.</summary>
public static class ReplicaChoice
{
    /// <summary>The slot.</summary>
    /// <param name="plan">Where replicas lie.</param>
    /// <param name="expert">The chosen expert.</param>
    /// <param name="source">The rank that has the token.</param>
    /// <param name="token">Its number there.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Slot(ReplicaPlan plan, int expert, int source, int token)
    {
        int[] slots = plan.ExpertSlots[expert];
        return slots.Length == 1 ? slots[0] : slots[(int)((uint)(source + token) % (uint)slots.Length)];
    }
}
