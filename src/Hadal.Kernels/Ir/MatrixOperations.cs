namespace Hadal.Kernels.Ir;

/// <summary>
/// ldmatrix: a warp loads one, two or four 8×8 matrices of 16-bit elements from shared memory. Lane l gives the address of row l mod 8 of matrix l / 8 (16-byte
/// aligned; lanes beyond the matrices are ignored) and receives in Loaded[i] the elements 2(l mod 4), +1 of row l / 4 of matrix i, or of its transpose.
/// </summary>
public sealed record LoadMatrix(Sequence<Value> Loaded, Value Address, int ByteOffset, bool Transposed) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [Address];

    /// <inheritdoc/>
    public override Sequence<Value> Results => Loaded;

    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.ReadsShared;

    /// <inheritdoc/>
    public override string Mnemonic => "load_matrix";

    /// <inheritdoc/>
    public override string Attributes => $"+{ByteOffset}{(Transposed ? " transposed" : "")}";
}

/// <summary>
/// mma.sync m16n8k16: a warp computes Sums (four f32 a lane) = Addends + A[16, 16] · B[8, 16]ᵀ of BF16. Lane l, with r = l / 4 and c = 2(l mod 4), holds
/// A: rows r, r + 8 at columns c, +1, then the same at c + 8 (four words); B: row r at columns c, +1 and c + 8, +9 (two words);
/// sums: row r at columns c, +1, then row r + 8.
/// </summary>
public sealed record MultiplySync(Sequence<Value> Sums, Sequence<Value> A, Sequence<Value> B, Sequence<Value> Addends) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [.. A, .. B, .. Addends];

    /// <inheritdoc/>
    public override Sequence<Value> Results => Sums;

    /// <inheritdoc/>
    public override string Mnemonic => "multiply_sync";

    /// <inheritdoc/>
    public override string Attributes => "m16n8k16 BF16";
}
