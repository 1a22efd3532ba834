namespace Hadal.Kernels.Ir;

/// <summary>Four results (f32) = the four E4M3 bytes of Packed (u32), the lowest first, exactly; a NaN code gives a NaN.</summary>
public sealed record UnpackE4M3(Sequence<Value> Unpacked, Value Packed) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [Packed];

    /// <inheritdoc/>
    public override Sequence<Value> Results => Unpacked;

    /// <inheritdoc/>
    public override string Mnemonic => "unpack_e4m3";
}
