namespace Hadal.Kernels.Ir;

/// <summary>Read-only registers of the machine.</summary>
public enum SpecialRegister
{
    /// <summary>Index of the thread in its block.</summary>
    ThreadIndex,

    /// <summary>Index of the block in the grid.</summary>
    BlockIndex,

    /// <summary>Number of blocks in the grid.</summary>
    BlockCount,

    /// <summary>Index of the block in its cluster.</summary>
    ClusterRank,
}

/// <summary>Two-operand operations. All operands and the result have one type; shifts take a u32 count.</summary>
public enum BinaryKind
{
    /// <summary>Sum (wraps for words, round to nearest even for f32).</summary>
    Add,

    /// <summary>Difference.</summary>
    Subtract,

    /// <summary>Product (low half for words).</summary>
    Multiply,

    /// <summary>Quotient (rounded down for words, correctly rounded for f32).</summary>
    Divide,

    /// <summary>Remainder of words.</summary>
    Remainder,

    /// <summary>Bitwise or logical and.</summary>
    And,

    /// <summary>Bitwise or logical or.</summary>
    Or,

    /// <summary>Bitwise or logical exclusive or.</summary>
    Xor,

    /// <summary>Left shift.</summary>
    ShiftLeft,

    /// <summary>Logical right shift.</summary>
    ShiftRight,

    /// <summary>The smaller; of f32 the one that is a number.</summary>
    Minimum,

    /// <summary>The larger; of f32 the one that is a number.</summary>
    Maximum,

    /// <summary>The larger of two f32; not a number where one of them is none.</summary>
    MaximumOrNaN,
}

/// <summary>One-operand operations.</summary>
public enum UnaryKind
{
    /// <summary>f32 to f32: absolute value.</summary>
    Absolute,

    /// <summary>f32 to f32: sign changed.</summary>
    Negate,

    /// <summary>f32 to f32: reciprocal, correctly rounded.</summary>
    Reciprocal,

    /// <summary>Predicate to predicate: logical not.</summary>
    Not,

    /// <summary>u32 to f32: the same bits.</summary>
    BitsToF32,

    /// <summary>f32 to u32: the same bits.</summary>
    F32ToBits,

    /// <summary>u32 to u64: zero-extended.</summary>
    Widen,
}

/// <summary>Comparisons of words (unsigned) or f32 (false when unordered, except NotEqual).</summary>
public enum CompareKind
{
    /// <summary>Equal.</summary>
    Equal,

    /// <summary>Not equal.</summary>
    NotEqual,

    /// <summary>Less.</summary>
    Less,

    /// <summary>Less or equal.</summary>
    LessOrEqual,

    /// <summary>Greater.</summary>
    Greater,

    /// <summary>Greater or equal.</summary>
    GreaterOrEqual,
}

/// <summary>A value known when the kernel is built. <paramref name="Bits"/> holds a word, the bits of an f32, or 0 and 1.</summary>
public sealed record Constant(Value Result, ulong Bits) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Results => [Result];

    /// <inheritdoc/>
    public override string Mnemonic => "constant";

    /// <inheritdoc/>
    public override string Attributes => Result.Type == ScalarType.F32
        ? BitConverter.UInt32BitsToSingle((uint)Bits).ToString("R", System.Globalization.CultureInfo.InvariantCulture)
        : Bits.ToString(System.Globalization.CultureInfo.InvariantCulture);
}

/// <summary>Reads a register of the machine (u32).</summary>
public sealed record ReadSpecial(Value Result, SpecialRegister Register) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Results => [Result];

    /// <inheritdoc/>
    public override string Mnemonic => "special";

    /// <inheritdoc/>
    public override string Attributes => Register.ToString();
}

/// <summary>Reads a kernel parameter: a scalar, the global address a pointer holds, or the address of a tensor map (u64).</summary>
public sealed record ReadParameter(Value Result, int Parameter) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Results => [Result];

    /// <inheritdoc/>
    public override string Mnemonic => "parameter";

    /// <inheritdoc/>
    public override string Attributes => $"{Parameter}";
}

/// <summary>The shared-memory address (u32) of a byte offset from the block's dynamic shared memory.</summary>
public sealed record SharedAddress(Value Result, int ByteOffset) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Results => [Result];

    /// <inheritdoc/>
    public override string Mnemonic => "shared_address";

    /// <inheritdoc/>
    public override string Attributes => $"+{ByteOffset}";
}

/// <summary>Result = Left op Right.</summary>
public sealed record Binary(Value Result, BinaryKind Kind, Value Left, Value Right) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [Left, Right];

    /// <inheritdoc/>
    public override Sequence<Value> Results => [Result];

    /// <inheritdoc/>
    public override string Mnemonic => Kind switch
    {
        BinaryKind.Add => "add",
        BinaryKind.Subtract => "subtract",
        BinaryKind.Multiply => "multiply",
        BinaryKind.Divide => "divide",
        BinaryKind.Remainder => "remainder",
        BinaryKind.And => "and",
        BinaryKind.Or => "or",
        BinaryKind.Xor => "xor",
        BinaryKind.ShiftLeft => "shift_left",
        BinaryKind.ShiftRight => "shift_right",
        BinaryKind.Minimum => "minimum",
        BinaryKind.MaximumOrNaN => "maximum_or_nan",
        _ => "maximum",
    };
}

/// <summary>Result = op Operand.</summary>
public sealed record Unary(Value Result, UnaryKind Kind, Value Operand) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [Operand];

    /// <inheritdoc/>
    public override Sequence<Value> Results => [Result];

    /// <inheritdoc/>
    public override string Mnemonic => Kind switch
    {
        UnaryKind.Absolute => "absolute",
        UnaryKind.Negate => "negate",
        UnaryKind.Reciprocal => "reciprocal",
        UnaryKind.Not => "not",
        UnaryKind.BitsToF32 => "bits_to_f32",
        UnaryKind.F32ToBits => "f32_to_bits",
        _ => "widen",
    };
}

/// <summary>Result (u64) = Left · Right, both u32.</summary>
public sealed record MultiplyWide(Value Result, Value Left, Value Right) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [Left, Right];

    /// <inheritdoc/>
    public override Sequence<Value> Results => [Result];

    /// <inheritdoc/>
    public override string Mnemonic => "multiply_wide";
}

/// <summary>Result (f32) = Left · Right + Addend, rounded once.</summary>
public sealed record FusedMultiplyAdd(Value Result, Value Left, Value Right, Value Addend) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [Left, Right, Addend];

    /// <inheritdoc/>
    public override Sequence<Value> Results => [Result];

    /// <inheritdoc/>
    public override string Mnemonic => "fused_multiply_add";
}

/// <summary>Result (predicate) = Left compared with Right.</summary>
public sealed record Compare(Value Result, CompareKind Kind, Value Left, Value Right) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [Left, Right];

    /// <inheritdoc/>
    public override Sequence<Value> Results => [Result];

    /// <inheritdoc/>
    public override string Mnemonic => "compare";

    /// <inheritdoc/>
    public override string Attributes => Kind.ToString();
}

/// <summary>Result = Condition ? WhenTrue : WhenFalse.</summary>
public sealed record Select(Value Result, Value Condition, Value WhenTrue, Value WhenFalse) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [Condition, WhenTrue, WhenFalse];

    /// <inheritdoc/>
    public override Sequence<Value> Results => [Result];

    /// <inheritdoc/>
    public override string Mnemonic => "select";
}

/// <summary>Result (u32) = BF16 of Low in bits 0–15 and of High in bits 16–31, rounded to nearest even.</summary>
public sealed record PackBF16(Value Result, Value Low, Value High) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [Low, High];

    /// <inheritdoc/>
    public override Sequence<Value> Results => [Result];

    /// <inheritdoc/>
    public override string Mnemonic => "pack_bf16";
}

/// <summary>Result (u32) = four E4M3 bytes of the given f32, the first lowest; rounded to nearest even, saturated to ±448.</summary>
public sealed record PackE4M3(Value Result, Value First, Value Second, Value Third, Value Fourth) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [First, Second, Third, Fourth];

    /// <inheritdoc/>
    public override Sequence<Value> Results => [Result];

    /// <inheritdoc/>
    public override string Mnemonic => "pack_e4m3";
}

/// <summary>How a shuffle names the lane it reads.</summary>
public enum ShuffleKind
{
    /// <summary>The lane given.</summary>
    Index,

    /// <summary>The own lane XOR the number given.</summary>
    Butterfly,
}

/// <summary>Result = Taken of another lane of the warp. All 32 lanes take part.</summary>
public sealed record Shuffle(Value Result, ShuffleKind Kind, Value Taken, int Lane) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [Taken];

    /// <inheritdoc/>
    public override Sequence<Value> Results => [Result];

    /// <inheritdoc/>
    public override string Mnemonic => "shuffle";

    /// <inheritdoc/>
    public override string Attributes => $"{Kind} {Lane}";
}

/// <summary>Result = the variable's value now.</summary>
public sealed record ReadVariable(Value Result, Variable Variable) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Results => [Result];

    /// <inheritdoc/>
    public override string Mnemonic => "read";

    /// <inheritdoc/>
    public override string Attributes => Variable.ToString();
}

/// <summary>Variable := Value.</summary>
public sealed record WriteVariable(Variable Variable, Value Value) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [Value];

    /// <inheritdoc/>
    public override string Mnemonic => "write";

    /// <inheritdoc/>
    public override string Attributes => Variable.ToString();
}
