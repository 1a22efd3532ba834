using Hadal.Kernels.Ir;
using static Hadal.Kernels.Ir.ScalarType;

namespace Hadal.Kernels.Verify;

/// <summary>Operand and result types, counts, and ranges of what an operation is told.</summary>
static class TypeRules
{
    public static void Check(Kernel kernel, Findings findings)
    {
        foreach (Operation operation in kernel.AllOperations())
        {
            if (Wrong(kernel, operation) is { } wrong)
                findings.Add(VerifierRule.Type, operation.Source, $"'{operation.Mnemonic}' {wrong}", "give it what it takes");
        }
    }

    static string? Wrong(Kernel kernel, Operation operation) => operation switch
    {
        Constant o => o.Result.Type != U64 && o.Bits > uint.MaxValue ? $"puts 0x{o.Bits:x} into {o.Result}" : null,
        ReadSpecial o => Expect(o.Result, U32),
        ReadParameter o => Expect(o.Result, kernel.Parameters[o.Parameter] is ScalarParameter scalar ? scalar.Type : U64),
        SharedAddress o => Expect(o.Result, U32),
        Binary o => BinaryTypes(o),
        Unary o => o.Kind switch
        {
            UnaryKind.Not => Expect(o.Operand, Predicate) ?? Expect(o.Result, Predicate),
            UnaryKind.BitsToF32 => Expect(o.Operand, U32) ?? Expect(o.Result, F32),
            UnaryKind.F32ToBits => Expect(o.Operand, F32) ?? Expect(o.Result, U32),
            UnaryKind.Widen => Expect(o.Operand, U32) ?? Expect(o.Result, U64),
            _ => Expect(o.Operand, F32) ?? Expect(o.Result, F32),
        },
        MultiplyWide o => Expect(o.Left, U32) ?? Expect(o.Right, U32) ?? Expect(o.Result, U64),
        FusedMultiplyAdd o => All(F32, [o.Left, o.Right, o.Addend, o.Result]),
        Compare o => Expect(o.Right, o.Left.Type) ?? (o.Left.Type == Predicate ? $"compares {o.Left}, which has no order" : null) ?? Expect(o.Result, Predicate),
        Select o => Expect(o.Condition, Predicate) ?? Expect(o.WhenTrue, o.Result.Type) ?? Expect(o.WhenFalse, o.Result.Type),
        PackBF16 o => Expect(o.Low, F32) ?? Expect(o.High, F32) ?? Expect(o.Result, U32),
        PackE4M3 o => All(F32, [o.First, o.Second, o.Third, o.Fourth]) ?? Expect(o.Result, U32),
        UnpackE4M3 o => Expect(o.Packed, U32) ?? Count(o.Unpacked, 4) ?? All(F32, o.Unpacked),
        Shuffle o => Expect(o.Taken, o.Result.Type) ?? (o.Result.Type is U32 or F32 ? null : $"takes u32 or f32, is given {o.Taken}") ?? Range(o.Lane, 0, 31, "lane"),
        ReadVariable o => Expect(o.Result, o.Variable.Type),
        WriteVariable o => Expect(o.Value, o.Variable.Type),
        LoadGlobal o => Expect(o.Address, U64) ?? Vector(o.Loaded) ?? Guard(o.Guard),
        StoreGlobal o => Expect(o.Address, U64) ?? Vector(o.Stored) ?? Guard(o.Guard),
        StoreGlobalHalf o => Expect(o.Address, U64) ?? Expect(o.Stored, U32) ?? Guard(o.Guard),
        AddGlobal o => Expect(o.Address, U64) ?? All(F32, o.Added) ?? (o.Added.Count is 1 or 2 ? null : $"adds {o.Added.Count} numbers, expected 1 or 2") ?? Guard(o.Guard),
        AtomicAdd o => Expect(o.Address, U64) ?? Expect(o.Added, U32) ?? Expect(o.Result, U32),
        LoadShared o => Expect(o.Address, U32) ?? Vector(o.Loaded),
        StoreShared o => Expect(o.Address, U32) ?? Vector(o.Stored),
        StoreMatrix o => Expect(o.Address, U32) ?? Count(o.Stored, 4) ?? All(U32, o.Stored),
        LoadMatrix o => Expect(o.Address, U32) ?? (o.Loaded.Count is 1 or 2 or 4 ? null : $"loads {o.Loaded.Count} matrices, expected 1, 2 or 4") ?? All(U32, o.Loaded),
        MultiplySync o => Count(o.A, 4) ?? Count(o.B, 2) ?? Count(o.Addends, 4) ?? Count(o.Sums, 4) ?? All(U32, [.. o.A, .. o.B]) ?? All(F32, [.. o.Addends, .. o.Sums]),
        FillFragment o => Expect(o.Value, F32),
        ScaleFragment o => Count(o.Scales, 4) ?? All(F32, o.Scales) ?? Groups(o),
        ReadFragment o => Expect(o.Result, F32) ?? Range(o.Element, 0, o.Fragment.RegistersPerThread - 1, "element"),
        PackFragment o => Expect(o.Result, U32) ?? Range(o.Element, 0, o.Fragment.RegistersPerThread - 2, "element"),
        Wgmma o => Expect(o.ADescriptor, U32) ?? Expect(o.BDescriptor, U32) ?? Columns(o.Fragment),
        WgmmaWait o => Range(o.Pending, 0, 7, "number of groups left pending"),
        BarrierInitialize o => Expect(o.Address, U32) ?? Range(o.Count, 1, (1 << 20) - 1, "count of arrivals"),
        BarrierArrive o => Expect(o.Address, U32) ?? Guard(o.Guard),
        BarrierExpect o => Expect(o.Address, U32) ?? Range(o.Bytes, 0, (1 << 20) - 1, "count of bytes"),
        BarrierWait o => Expect(o.Address, U32) ?? Expect(o.Parity, U32),
        TensorLoad o => Map(kernel, o.Map) ?? Expect(o.MapAddress, U64) ?? Expect(o.Destination, U32) ?? Count(o.Coordinates, 2) ?? All(U32, o.Coordinates) ?? Expect(o.Barrier, U32)
            ?? Range(o.MulticastMask, 0, (1 << kernel.ClusterSize) - 1, "multicast mask"),
        TensorStore o => Map(kernel, o.Map) ?? (o.Add && ((TensorMapParameter)kernel.Parameters[o.Map]).Element != ElementType.F32 ? "adds to a tensor that is not of F32" : null) ?? Expect(o.MapAddress, U64) ?? Expect(o.Taken, U32) ?? Count(o.Coordinates, 2) ?? All(U32, o.Coordinates),
        PrefetchTensorMap o => Map(kernel, o.Map) ?? Expect(o.MapAddress, U64),
        BulkWait o => Range(o.Pending, 0, 7, "number of groups left pending"),
        MapToPeer o => All(U32, [o.Address, o.Rank, o.Result]) ?? (kernel.ClusterSize > 1 ? null : "asks for a peer's address in a kernel without clusters"),
        NamedBarrier o => Range(o.Index, 0, 15, "index") ?? Range(o.Threads, 32, kernel.ThreadsPerBlock, "number of threads") ?? (o.Threads % 32 == 0 ? null : $"counts {o.Threads} threads, expected whole warps"),
        Refuse o => Expect(o.Condition, Predicate),
        If o => Expect(o.Condition, Predicate),
        Loop o => Expect(o.Condition, Predicate),
        RoleSwitch o => Expect(o.Warpgroup, U32),
        WgmmaFence or WgmmaCommit or FenceBarrierInitialize or FenceProxyAsync or BulkCommit or WarpSync or ClusterSync or GridDependencyWait or GridDependencyLaunch => null,
        _ => throw new InvalidOperationException($"The verifier has no rule for '{operation.Mnemonic}' ({operation.Source}): add one beside its record."),
    };

    static string? BinaryTypes(Binary o)
    {
        ScalarType type = o.Result.Type;
        bool shift = o.Kind is BinaryKind.ShiftLeft or BinaryKind.ShiftRight, logic = o.Kind is BinaryKind.And or BinaryKind.Or or BinaryKind.Xor;
        bool allowed = type switch
        {
            Predicate => logic,
            F32 => o.Kind is BinaryKind.Add or BinaryKind.Subtract or BinaryKind.Multiply or BinaryKind.Divide or BinaryKind.Minimum or BinaryKind.Maximum or BinaryKind.MaximumOrNaN,
            _ => o.Kind != BinaryKind.MaximumOrNaN,
        };
        return Expect(o.Left, type) ?? Expect(o.Right, shift ? U32 : type) ?? (allowed ? null : $"does not work on {Names.Of(type)}");
    }

    static string? Groups(ScaleFragment o)
    {
        int columns = Math.Min(o.Destination.Columns, o.Taken.Columns) / 8;
        return o.FirstGroup >= 0 && o.Groups > 0 && o.FirstGroup + o.Groups <= columns ? null : $"works on column groups {o.FirstGroup} to {o.FirstGroup + o.Groups - 1} of {columns}";
    }

    static string? Columns(FragmentRegisters fragment) =>
        fragment.Columns is >= 8 and <= 256 && fragment.Columns % 8 == 0 ? null : $"accumulates {fragment.Columns} columns, expected a multiple of 8 up to 256";

    static string? Expect(Value value, ScalarType type) => value.Type == type ? null : $"is given {value}, expected {Names.Of(type)}";

    static string? All(ScalarType type, IEnumerable<Value> values) => values.Select(v => Expect(v, type)).FirstOrDefault(w => w is not null);

    static string? Count(Sequence<Value> values, int count) => values.Count == count ? null : $"has {values.Count} values where it takes {count}";

    static string? Guard(Value? guard) => guard is null ? null : Expect(guard, Predicate);

    static string? Range(int value, int low, int high, string what) => value >= low && value <= high ? null : $"has {what} {value}, expected {low} to {high}";

    static string? Map(Kernel kernel, int parameter) =>
        parameter >= 0 && parameter < kernel.Parameters.Count && kernel.Parameters[parameter] is TensorMapParameter ? null : $"names parameter {parameter}, which is no tensor map";

    static string? Vector(Sequence<Value> values) => values.Count is not (1 or 2 or 4) ? $"moves {values.Count} values, expected 1, 2 or 4"
        : values[0].Type is not (U32 or F32) ? $"moves {values[0]}, expected u32 or f32" : All(values[0].Type, values);
}
