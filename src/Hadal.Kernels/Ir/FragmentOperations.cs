namespace Hadal.Kernels.Ir;

/// <summary>Every accumulator of the fragment := Value (f32).</summary>
public sealed record FillFragment(FragmentRegisters Fragment, Value Value) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [Value];

    /// <inheritdoc/>
    public override string Mnemonic => "fill_fragment";

    /// <inheritdoc/>
    public override string Attributes => Fragment.ToString();
}

/// <summary>
/// Promotion: in column groups FirstGroup … FirstGroup + Groups − 1 (8 columns each), element e of Destination = element e of Source · Scales[e mod 4], added to
/// Destination (fused) when Accumulate. Scales are ordered (row 0, column 0), (row 0, column 1), (row 1, column 0), (row 1, column 1) of the thread.
/// </summary>
public sealed record ScaleFragment(FragmentRegisters Destination, FragmentRegisters Taken, int FirstGroup, int Groups, Sequence<Value> Scales, bool Accumulate) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => Scales;

    /// <inheritdoc/>
    public override string Mnemonic => "scale_fragment";

    /// <inheritdoc/>
    public override string Attributes => $"{Destination} {(Accumulate ? "+=" : "=")} {Taken} groups {FirstGroup}..{FirstGroup + Groups - 1}";
}

/// <summary>Result (f32) = one accumulator of each thread.</summary>
public sealed record ReadFragment(Value Result, FragmentRegisters Fragment, int Element) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Results => [Result];

    /// <inheritdoc/>
    public override string Mnemonic => "read_fragment";

    /// <inheritdoc/>
    public override string Attributes => $"{Fragment}[{Element}]";
}

/// <summary>Result (u32) = elements Element and Element + 1 as BF16, the first in the low half.</summary>
public sealed record PackFragment(Value Result, FragmentRegisters Fragment, int Element) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Results => [Result];

    /// <inheritdoc/>
    public override string Mnemonic => "pack_fragment";

    /// <inheritdoc/>
    public override string Attributes => $"{Fragment}[{Element}]";
}

/// <summary>
/// One wgmma, issued by a warpgroup and done at an unknown later time: Fragment (+)= A[64, k] · B[columns, k]ᵀ, k = 32 bytes of elements (F32: the upper 19 bits, TF32), both K-major in shared
/// memory with the 128-byte swizzle. ADescriptor and BDescriptor are low descriptor words (u32): address / 16 | 1 &lt;&lt; 16; Advance is added to both, in 16-byte units.
/// </summary>
/// <param name="Slots">Ring slots whose bytes it reads, for the verifier.</param>
public sealed record Wgmma(FragmentRegisters Fragment, ElementType Element, Value ADescriptor, Value BDescriptor, int Advance, bool Accumulate, Sequence<int> Slots) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [ADescriptor, BDescriptor];

    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.ReadsSharedAsync;

    /// <inheritdoc/>
    public override string Mnemonic => "wgmma";

    /// <inheritdoc/>
    public override string Attributes => $"{Fragment} {(Accumulate ? "+=" : "=")} {Element} advance {Advance}{(Slots.Count == 0 ? "" : $" slots {Slots}")}";
}

/// <summary>Orders the registers of following wgmma operations after earlier accesses by the same threads.</summary>
public sealed record WgmmaFence : Operation
{
    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.Synchronizes;

    /// <inheritdoc/>
    public override string Mnemonic => "wgmma_fence";
}

/// <summary>Closes a group of wgmma operations.</summary>
public sealed record WgmmaCommit : Operation
{
    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.Synchronizes;

    /// <inheritdoc/>
    public override string Mnemonic => "wgmma_commit";
}

/// <summary>Waits until at most Pending groups of the warpgroup are unfinished.</summary>
public sealed record WgmmaWait(int Pending) : Operation
{
    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.Synchronizes;

    /// <inheritdoc/>
    public override string Mnemonic => "wgmma_wait";

    /// <inheritdoc/>
    public override string Attributes => $"{Pending}";
}
