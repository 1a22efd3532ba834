namespace Hadal.Tensors;

/// <summary>Element types a <see cref="Tensor"/> can hold. Bytes per element: see <see cref="DTypes.Size"/>.</summary>
public enum DType : byte
{
    /// <summary>IEEE binary64; operations on it exist in the Reference set only (finite differences, oracles).</summary>
    F64,
    /// <summary>IEEE binary32.</summary>
    F32,
    /// <summary>bfloat16: the upper half of binary32, round to nearest even.</summary>
    BF16,
    /// <summary>IEEE binary16.</summary>
    F16,
    /// <summary>FP8 E4M3 (fn): largest value 448, no infinity.</summary>
    E4M3,
    /// <summary>FP8 E5M2.</summary>
    E5M2,
    /// <summary>32-bit signed integer: token ids, positions, counts, offsets.</summary>
    I32,
    /// <summary>8-bit unsigned integer: packed codes and flags.</summary>
    U8,
}

/// <summary>Facts about <see cref="DType"/> values.</summary>
public static class DTypes
{
    /// <summary>Bytes of one element.</summary>
    public static int Size(this DType type) => type switch
    {
        DType.F64 => 8,
        DType.F32 or DType.I32 => 4,
        DType.BF16 or DType.F16 => 2,
        DType.E4M3 or DType.E5M2 or DType.U8 => 1,
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "Unknown element type."),
    };

    /// <summary>True for the types whose elements are real numbers.</summary>
    public static bool IsFloatingPoint(this DType type) => type is not (DType.I32 or DType.U8);
}
