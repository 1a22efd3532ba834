namespace Hadal.Kernels.Ir;

/// <summary>What an atomic operation orders beside its own access.</summary>
public enum MemoryOrder
{
    /// <summary>Nothing.</summary>
    Relaxed,

    /// <summary>Later accesses come after it.</summary>
    Acquire,

    /// <summary>Earlier accesses come before it.</summary>
    Release,

    /// <summary>Both.</summary>
    AcquireRelease,
}

/// <summary>Among which threads an atomic operation is one.</summary>
public enum MemoryScope
{
    /// <summary>The block.</summary>
    Block,

    /// <summary>The cluster.</summary>
    Cluster,

    /// <summary>The device.</summary>
    Device,

    /// <summary>All devices and the host.</summary>
    System,
}

/// <summary>Result (u32) = global memory at Address + ByteOffset, to which Added (u32) is added, as one step.</summary>
public sealed record AtomicAdd(Value Result, Value Address, long ByteOffset, Value Added, MemoryOrder Order, MemoryScope Scope) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [Address, Added];

    /// <inheritdoc/>
    public override Sequence<Value> Results => [Result];

    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.ReadsGlobal | MemoryEffect.WritesGlobal;

    /// <inheritdoc/>
    public override string Mnemonic => "atomic_add";

    /// <inheritdoc/>
    public override string Attributes => $"+{ByteOffset} {Order} {Scope}";
}
