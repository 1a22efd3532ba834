namespace Hadal.Kernels.Ir;

/// <summary>How a global load or store treats the caches.</summary>
public enum CacheHint
{
    /// <summary>The machine's choice.</summary>
    None,

    /// <summary>Read-only for the whole kernel: may go through the texture path.</summary>
    ReadOnly,

    /// <summary>Used once: evicted first.</summary>
    Streaming,
}

/// <summary>Results (1, 2 or 4 u32 or f32) = global memory at Address + ByteOffset; lanes whose guard is false keep their results unset.</summary>
public sealed record LoadGlobal(Sequence<Value> Loaded, Value Address, long ByteOffset, CacheHint Cache, Value? Guard) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => Guard is null ? [Address] : [Address, Guard];

    /// <inheritdoc/>
    public override Sequence<Value> Results => Loaded;

    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.ReadsGlobal;

    /// <inheritdoc/>
    public override string Mnemonic => "load_global";

    /// <inheritdoc/>
    public override string Attributes => $"+{ByteOffset} {Cache}{(Guard is null ? "" : " guarded")}";
}

/// <summary>Global memory at Address + ByteOffset = Stored (1, 2 or 4 u32 or f32), in lanes whose guard is true.</summary>
public sealed record StoreGlobal(Value Address, long ByteOffset, Sequence<Value> Stored, CacheHint Cache, Value? Guard) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => Guard is null ? [Address, .. Stored] : [Address, .. Stored, Guard];

    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.WritesGlobal;

    /// <inheritdoc/>
    public override string Mnemonic => "store_global";

    /// <inheritdoc/>
    public override string Attributes => $"+{ByteOffset} {Cache}{(Guard is null ? "" : " guarded")}";
}

/// <summary>The low or high 16 bits of Stored (u32) to global memory: one BF16, where a wider store would not be aligned.</summary>
public sealed record StoreGlobalHalf(Value Address, long ByteOffset, Value Stored, bool High, Value? Guard) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => Guard is null ? [Address, Stored] : [Address, Stored, Guard];

    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.WritesGlobal;

    /// <inheritdoc/>
    public override string Mnemonic => "store_global_half";

    /// <inheritdoc/>
    public override string Attributes => $"+{ByteOffset} {(High ? "high" : "low")}{(Guard is null ? "" : " guarded")}";
}

/// <summary>Adds Added (1 or 2 f32) to global memory, each element atomically, relaxed, at device scope.</summary>
public sealed record AddGlobal(Value Address, long ByteOffset, Sequence<Value> Added, Value? Guard) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => Guard is null ? [Address, .. Added] : [Address, .. Added, Guard];

    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.ReadsGlobal | MemoryEffect.WritesGlobal;

    /// <inheritdoc/>
    public override string Mnemonic => "add_global";

    /// <inheritdoc/>
    public override string Attributes => $"+{ByteOffset}{(Guard is null ? "" : " guarded")}";
}

/// <summary>Results (1, 2 or 4 u32 or f32) = shared memory at Address + ByteOffset.</summary>
public sealed record LoadShared(Sequence<Value> Loaded, Value Address, int ByteOffset) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [Address];

    /// <inheritdoc/>
    public override Sequence<Value> Results => Loaded;

    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.ReadsShared;

    /// <inheritdoc/>
    public override string Mnemonic => "load_shared";

    /// <inheritdoc/>
    public override string Attributes => $"+{ByteOffset}";
}

/// <summary>Shared memory at Address + ByteOffset = Stored (1, 2 or 4 u32 or f32).</summary>
public sealed record StoreShared(Value Address, int ByteOffset, Sequence<Value> Stored) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [Address, .. Stored];

    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.WritesShared;

    /// <inheritdoc/>
    public override string Mnemonic => "store_shared";

    /// <inheritdoc/>
    public override string Attributes => $"+{ByteOffset}";
}

/// <summary>
/// stmatrix x4: a warp stores four 8×8 matrices of 16-bit elements. Lane l gives the address of row l mod 8 of matrix l / 8, and holds in Stored[i] the
/// elements 2(l mod 4), +1 of row l / 4 of matrix i.
/// </summary>
public sealed record StoreMatrix(Value Address, Sequence<Value> Stored) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [Address, .. Stored];

    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.WritesShared;

    /// <inheritdoc/>
    public override string Mnemonic => "store_matrix";
}
