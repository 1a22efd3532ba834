namespace Hadal.Kernels.Ir;

/// <summary>Sets up the phase machine at Address (u32, 8-byte aligned) for Count arrivals a phase.</summary>
public sealed record BarrierInitialize(Value Address, int Count) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [Address];

    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.WritesShared;

    /// <inheritdoc/>
    public override string Mnemonic => "barrier_initialize";

    /// <inheritdoc/>
    public override string Attributes => $"count {Count}";
}

/// <summary>One arrival per active lane whose guard is true; with InCluster the address may be a peer block's.</summary>
/// <param name="ReleasesSlot">The ring slot this arrival gives back, for the verifier.</param>
public sealed record BarrierArrive(Value Address, bool InCluster, Value? Guard, int? ReleasesSlot) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => Guard is null ? [Address] : [Address, Guard];

    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.Synchronizes;

    /// <inheritdoc/>
    public override string Mnemonic => "barrier_arrive";

    /// <inheritdoc/>
    public override string Attributes => $"{(InCluster ? "cluster" : "block")}{(ReleasesSlot is { } s ? $" releases slot {s}" : "")}{(Guard is null ? "" : " guarded")}";
}

/// <summary>Announces Bytes of asynchronous copies and arrives once.</summary>
/// <param name="Slot">The ring slot being filled, for the verifier.</param>
public sealed record BarrierExpect(Value Address, int Bytes, int? Slot) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [Address];

    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.Synchronizes;

    /// <inheritdoc/>
    public override string Mnemonic => "barrier_expect";

    /// <inheritdoc/>
    public override string Attributes => $"{Bytes} bytes{(Slot is { } s ? $" slot {s}" : "")}";
}

/// <summary>Waits for the end of the phase with this Parity (u32).</summary>
public sealed record BarrierWait(Value Address, Value Parity) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [Address, Parity];

    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.Synchronizes;

    /// <inheritdoc/>
    public override string Mnemonic => "barrier_wait";
}

/// <summary>Makes freshly set up barriers visible to the asynchronous proxy and to the cluster.</summary>
public sealed record FenceBarrierInitialize : Operation
{
    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.Synchronizes;

    /// <inheritdoc/>
    public override string Mnemonic => "fence_barrier_initialize";
}

/// <summary>Makes the thread's earlier shared-memory stores visible to the asynchronous proxy.</summary>
public sealed record FenceProxyAsync : Operation
{
    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.Synchronizes;

    /// <inheritdoc/>
    public override string Mnemonic => "fence_proxy_async";
}

/// <summary>
/// Copies one box of a tensor map to shared memory; its bytes count on Barrier when they have arrived. Coordinates are in elements, innermost first; outside
/// the tensor zeros are written. One thread issues it. With MulticastMask each named block of the cluster receives the box at the same offset, on its own barrier.
/// </summary>
public sealed record TensorLoad(int Map, Value MapAddress, Value Destination, Sequence<Value> Coordinates, Value Barrier, int MulticastMask, int? Slot) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [MapAddress, Destination, .. Coordinates, Barrier];

    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.WritesSharedAsync | MemoryEffect.ReadsGlobal;

    /// <inheritdoc/>
    public override string Mnemonic => "tensor_load";

    /// <inheritdoc/>
    public override string Attributes => $"map {Map}{(MulticastMask == 0 ? "" : $" multicast {MulticastMask}")}{(Slot is { } s ? $" slot {s}" : "")}";
}

/// <summary>
/// Copies one box from shared memory to a tensor, or adds it, each element atomically (f32); elements outside are dropped. One thread issues it.
/// </summary>
public sealed record TensorStore(int Map, Value MapAddress, Value Taken, Sequence<Value> Coordinates, bool Add = false) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [MapAddress, Taken, .. Coordinates];

    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.ReadsSharedAsync | MemoryEffect.WritesGlobal | (Add ? MemoryEffect.ReadsGlobal : MemoryEffect.None);

    /// <inheritdoc/>
    public override string Mnemonic => "tensor_store";

    /// <inheritdoc/>
    public override string Attributes => $"map {Map}{(Add ? " add" : "")}";
}

/// <summary>Asks for a tensor map in the descriptor cache.</summary>
public sealed record PrefetchTensorMap(int Map, Value MapAddress) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [MapAddress];

    /// <inheritdoc/>
    public override string Mnemonic => "prefetch_tensor_map";

    /// <inheritdoc/>
    public override string Attributes => $"map {Map}";
}

/// <summary>Closes a group of the thread's tensor stores.</summary>
public sealed record BulkCommit : Operation
{
    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.Synchronizes;

    /// <inheritdoc/>
    public override string Mnemonic => "bulk_commit";
}

/// <summary>Waits until at most Pending groups of the thread's tensor stores are unfinished; with ReadOnly only until they have read shared memory.</summary>
public sealed record BulkWait(int Pending, bool ReadOnly) : Operation
{
    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.Synchronizes;

    /// <inheritdoc/>
    public override string Mnemonic => "bulk_wait";

    /// <inheritdoc/>
    public override string Attributes => $"{Pending}{(ReadOnly ? " read" : "")}";
}

/// <summary>Result (u32) = Address as block Rank of the cluster knows it.</summary>
public sealed record MapToPeer(Value Result, Value Address, Value Rank) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [Address, Rank];

    /// <inheritdoc/>
    public override Sequence<Value> Results => [Result];

    /// <inheritdoc/>
    public override string Mnemonic => "map_to_peer";
}

/// <summary>Waits for all lanes of the warp and makes their shared-memory accesses visible to each other.</summary>
public sealed record WarpSync : Operation
{
    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.Synchronizes;

    /// <inheritdoc/>
    public override string Mnemonic => "warp_sync";
}

/// <summary>Named barrier Index of the block: arrives, and with Wait also waits, for Threads threads in all.</summary>
public sealed record NamedBarrier(int Index, int Threads, bool Wait) : Operation
{
    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.Synchronizes;

    /// <inheritdoc/>
    public override string Mnemonic => Wait ? "named_barrier_sync" : "named_barrier_arrive";

    /// <inheritdoc/>
    public override string Attributes => $"{Index} threads {Threads}";
}

/// <summary>Waits for every thread of the cluster.</summary>
public sealed record ClusterSync : Operation
{
    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.Synchronizes;

    /// <inheritdoc/>
    public override string Mnemonic => "cluster_sync";
}

/// <summary>Programmatic dependent launch: waits for the grids this one depends on.</summary>
public sealed record GridDependencyWait : Operation
{
    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.Synchronizes;

    /// <inheritdoc/>
    public override string Mnemonic => "grid_dependency_wait";
}

/// <summary>Programmatic dependent launch: lets dependent grids start.</summary>
public sealed record GridDependencyLaunch : Operation
{
    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.Synchronizes;

    /// <inheritdoc/>
    public override string Mnemonic => "grid_dependency_launch";
}
