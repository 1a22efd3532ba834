namespace Hadal.Kernels.Ir;

/// <summary>Type of a value that a thread holds in a register.</summary>
public enum ScalarType
{
    /// <summary>A truth value.</summary>
    Predicate,

    /// <summary>An unsigned 32-bit word; also packed pairs of BF16 and quadruples of E4M3, and shared-memory addresses.</summary>
    U32,

    /// <summary>An unsigned 64-bit word; also global addresses.</summary>
    U64,

    /// <summary>An IEEE binary32 number.</summary>
    F32,
}

/// <summary>Element type of a tensor in memory, as tensor maps and matrix instructions name it.</summary>
public enum ElementType
{
    /// <summary>8-bit float, 4 exponent and 3 mantissa bits, no infinities.</summary>
    E4M3,

    /// <summary>bfloat16.</summary>
    BF16,

    /// <summary>IEEE binary32.</summary>
    F32,
}

/// <summary>How a tensor map permutes 16-byte pieces of a box in shared memory.</summary>
public enum Swizzle
{
    /// <summary>Row-major, unpermuted.</summary>
    None,

    /// <summary>Rows of 128 bytes; piece p of row r lies at piece p XOR (r mod 8). What wgmma reads K-major operands from.</summary>
    Bytes128,
}

/// <summary>Which memory an operation touches and through which proxy: the generic one (loads and stores) or the asynchronous one (TMA, wgmma).</summary>
[Flags]
public enum MemoryEffect
{
    /// <summary>Registers only.</summary>
    None = 0,

    /// <summary>Reads global memory.</summary>
    ReadsGlobal = 1,

    /// <summary>Writes global memory.</summary>
    WritesGlobal = 2,

    /// <summary>Reads shared memory through the generic proxy.</summary>
    ReadsShared = 4,

    /// <summary>Writes shared memory through the generic proxy.</summary>
    WritesShared = 8,

    /// <summary>Reads shared memory through the asynchronous proxy, at an unknown later time.</summary>
    ReadsSharedAsync = 16,

    /// <summary>Writes shared memory through the asynchronous proxy, at an unknown later time.</summary>
    WritesSharedAsync = 32,

    /// <summary>Orders or awaits other effects.</summary>
    Synchronizes = 64,
}

/// <summary>The line of C# that recorded an operation. The file has no folder, so that texts do not depend on the machine.</summary>
public readonly record struct SourceLine(string File, int Line)
{
    /// <summary><c>file:line</c>, or <c>?</c> when unknown.</summary>
    public override string ToString() => File is null ? "?" : $"{File}:{Line}";
}

/// <summary>A value that one operation defines and nothing changes.</summary>
public sealed record Value(int Id, ScalarType Type)
{
    /// <summary><c>%id:type</c>.</summary>
    public override string ToString() => $"%{Id}:{Names.Of(Type)}";
}

/// <summary>A register that operations read and write by name: what a loop carries.</summary>
public sealed record Variable(int Id, ScalarType Type, string Name)
{
    /// <summary><c>$name.id:type</c>.</summary>
    public override string ToString() => $"${Name}.{Id}:{Names.Of(Type)}";
}

/// <summary>
/// The float32 accumulators of a warpgroup for 64 rows by <see cref="Columns"/> columns. Thread t of the warpgroup (warp w = t / 32, lane l = t mod 32) holds
/// rows 16w + l/4 and 8 further, columns 8j + 2(l mod 4) and the next; element 4j + e is row half e / 2, column e mod 2.
/// </summary>
public sealed record FragmentRegisters(int Id, int Columns, string Name)
{
    /// <summary>Registers in each thread.</summary>
    public int RegistersPerThread => Columns / 2;

    /// <summary><c>#name.id[64 x columns]</c>.</summary>
    public override string ToString() => $"#{Name}.{Id}[64x{Columns}]";
}

/// <summary>A straight list of operations. Values defined in it are visible in it, after their definition, and in blocks nested there.</summary>
public sealed record Block(Sequence<Operation> Operations);

static class Names
{
    public static string Of(ScalarType type) => type switch
    {
        ScalarType.Predicate => "pred",
        ScalarType.U32 => "u32",
        ScalarType.U64 => "u64",
        _ => "f32",
    };

    public static int BytesOf(ScalarType type) => type == ScalarType.U64 ? 8 : 4;

    public static int BytesOf(ElementType type) => type switch { ElementType.E4M3 => 1, ElementType.BF16 => 2, _ => 4 };
}
