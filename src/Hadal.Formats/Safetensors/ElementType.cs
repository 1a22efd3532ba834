namespace Hadal.Formats;

/// <summary>Element types of the safetensors format that Hadal knows.</summary>
public enum ElementType
{
    /// <summary>A type whose name is not known here; such a tensor is listed, and refused when read.</summary>
    Unknown,
    /// <summary>IEEE binary64.</summary>
    F64,
    /// <summary>IEEE binary32.</summary>
    F32,
    /// <summary>IEEE binary16.</summary>
    F16,
    /// <summary>bfloat16.</summary>
    BF16,
    /// <summary>FP8 E4M3 (fn).</summary>
    F8E4M3,
    /// <summary>FP8 E5M2.</summary>
    F8E5M2,
    /// <summary>64-bit signed integer.</summary>
    I64,
    /// <summary>32-bit signed integer.</summary>
    I32,
    /// <summary>16-bit signed integer.</summary>
    I16,
    /// <summary>8-bit signed integer.</summary>
    I8,
    /// <summary>8-bit unsigned integer.</summary>
    U8,
    /// <summary>One byte, 0 or 1.</summary>
    Bool,
}

/// <summary>Names and sizes of <see cref="ElementType"/> values.</summary>
public static class ElementTypes
{
    static readonly (ElementType Type, string Name, int Size)[] Known =
    [
        (ElementType.F64, "F64", 8), (ElementType.F32, "F32", 4), (ElementType.F16, "F16", 2), (ElementType.BF16, "BF16", 2),
        (ElementType.F8E4M3, "F8_E4M3", 1), (ElementType.F8E5M2, "F8_E5M2", 1),
        (ElementType.I64, "I64", 8), (ElementType.I32, "I32", 4), (ElementType.I16, "I16", 2), (ElementType.I8, "I8", 1), (ElementType.U8, "U8", 1), (ElementType.Bool, "BOOL", 1),
    ];

    /// <summary>The known names, comma separated, for messages.</summary>
    internal static string KnownNames { get; } = string.Join(", ", Known.Select(k => k.Name));

    /// <summary>Bytes of one element. <see cref="ElementType.Unknown"/> has no size.</summary>
    public static int Size(this ElementType type) => Find(type).Size;

    /// <summary>The name in a safetensors header, such as F8_E4M3.</summary>
    public static string Name(this ElementType type) => Find(type).Name;

    /// <summary>The type with a header name, or <see cref="ElementType.Unknown"/>.</summary>
    public static ElementType FromName(string name)
    {
        foreach (var known in Known)
            if (string.Equals(known.Name, name, StringComparison.Ordinal)) return known.Type;
        return ElementType.Unknown;
    }

    static (ElementType Type, string Name, int Size) Find(ElementType type)
    {
        foreach (var known in Known)
            if (known.Type == type) return known;
        throw new ArgumentOutOfRangeException(nameof(type), type, $"This element type has no name and no size; the known ones are {KnownNames}.");
    }
}
