using System.Numerics;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Verify;

/// <summary>What is known of a value for every thread and launch.</summary>
/// <param name="Alignment">It is a multiple of two to this power. What only a launch knows (word parameters, loaded words) counts as aligned: 63.</param>
/// <param name="Varies">The lowest bit of the thread index that it depends on: 0 differs from lane to lane, 5 from warp to warp, 7 from warpgroup to warpgroup; 10 or more: the same in a block.</param>
/// <param name="Shift">It is exactly the thread index shifted right by this, or −1.</param>
/// <param name="Regions">Bit set of shared regions that it is an address or descriptor of.</param>
/// <param name="Number">Its number, when known: a constant, or an offset in shared memory.</param>
readonly record struct Fact(int Alignment, int Varies, int Shift, ulong Regions, ulong? Number)
{
    public const int Uniform = 10;

    public static Fact Trusted => new(63, Uniform, -1, 0, null);

    public Fact Join(Fact other) => new(
        Math.Min(Alignment, other.Alignment), Math.Min(Varies, other.Varies), Shift == other.Shift ? Shift : -1, Regions | other.Regions, Number == other.Number ? Number : null);
}

/// <summary>Facts of all values: a fixed point over the kernel, since loops carry variables.</summary>
sealed class ValueFacts
{
    readonly Kernel _kernel;
    readonly Dictionary<int, Fact> _values = [], _variables = [];
    readonly Dictionary<int, Operation> _definitions = [];

    // The conditions around all accesses of a variable: those that hold for the writer hold for the reader too.
    readonly Dictionary<int, Operation[]> _around = [];
    readonly List<(Operation Operation, int Varies)> _control = [];
    readonly HashSet<(int Variable, ulong Number)> _marks = [];
    bool _changed;

    public ValueFacts(Kernel kernel)
    {
        _kernel = kernel;
        FindHomes(kernel.Body, []);
        FindMarks(kernel);
        do
        {
            _changed = false;
            Walk(kernel.Body);
        }
        while (_changed);
    }

    public Fact Of(Value value) => _values[value.Id];

    public Operation Definition(Value value) => _definitions[value.Id];

    /// <summary>Index of the region that a byte lies in, or −1.</summary>
    public static int RegionAt(Kernel kernel, long offset)
    {
        for (int i = 0; i < kernel.SharedRegions.Count; i++)
            if (offset >= kernel.SharedRegions[i].ByteOffset && offset < kernel.SharedRegions[i].ByteOffset + kernel.SharedRegions[i].Bytes) return i;
        return -1;
    }

    void FindMarks(Kernel kernel)
    {
        var reads = new Dictionary<int, int>();
        var numbers = new Dictionary<int, ulong>();
        foreach (Operation operation in kernel.AllOperations())
        {
            if (operation is ReadVariable read) reads[read.Result.Id] = read.Variable.Id;
            else if (operation is Constant constant) numbers[constant.Result.Id] = constant.Bits;
            else if (operation is Compare { Kind: CompareKind.Equal or CompareKind.NotEqual } o && reads.TryGetValue(o.Left.Id, out int variable) && numbers.TryGetValue(o.Right.Id, out ulong number))
                _marks.Add((variable, number));
        }
    }

    void FindHomes(Block block, List<Operation> around)
    {
        foreach (Operation operation in block.Operations)
        {
            Variable? variable = operation switch { ReadVariable o => o.Variable, WriteVariable o => o.Variable, _ => null };
            if (variable is not null)
            {
                Operation[] home = _around.GetValueOrDefault(variable.Id, [.. around]);
                int common = 0;
                while (common < home.Length && common < around.Count && ReferenceEquals(home[common], around[common])) common++;
                _around[variable.Id] = home[..common];
            }

            around.Add(operation);
            foreach (Block nested in operation.Blocks) FindHomes(nested, around);
            around.RemoveAt(around.Count - 1);
        }
    }

    void Walk(Block block)
    {
        foreach (Operation operation in block.Operations)
        {
            switch (operation)
            {
                case WriteVariable write: Write(write); break;
                case If branch:
                    Inside(branch, Of(branch.Condition).Varies, branch.Then);
                    if (branch.Otherwise is { } otherwise) Inside(branch, Of(branch.Condition).Varies, otherwise);
                    break;
                case Loop loop:
                    Inside(loop, Fact.Uniform, loop.Test);
                    Inside(loop, Of(loop.Condition).Varies, loop.Body);
                    break;
                case RoleSwitch roles:
                    foreach (Role role in roles.Roles) Inside(roles, Fact.Uniform, role.Body);
                    break;
                default:
                    break;
            }

            foreach (Value result in operation.Results)
            {
                _values[result.Id] = Derive(operation);
                _definitions[result.Id] = operation;
            }
        }
    }

    void Inside(Operation operation, int varies, Block block)
    {
        _control.Add((operation, varies));
        Walk(block);
        _control.RemoveAt(_control.Count - 1);
    }

    /// <summary>A write that not all threads reach, who may reach a read, makes the variable differ between them.</summary>
    void Write(WriteVariable write)
    {
        int varies = Of(write.Value).Varies;
        for (int i = _around[write.Variable.Id].Length; i < _control.Count; i++) varies = Math.Min(varies, _control[i].Varies);
        Fact fact = Of(write.Value) with { Varies = varies };

        // A number that the variable is compared with marks "none": it is no address.
        if (fact.Number is { } number && _marks.Contains((write.Variable.Id, number))) fact = fact with { Alignment = 63 };
        bool known = _variables.TryGetValue(write.Variable.Id, out Fact before);
        Fact joined = known ? before.Join(fact) : fact;
        _changed |= !known || joined != before;
        _variables[write.Variable.Id] = joined;
    }

    Fact Derive(Operation operation) => operation switch
    {
        Constant o => new(o.Bits == 0 ? 63 : BitOperations.TrailingZeroCount(o.Bits), Fact.Uniform, -1, 0, o.Bits),
        ReadSpecial o => new(0, o.Register == SpecialRegister.ThreadIndex ? 0 : Fact.Uniform, o.Register == SpecialRegister.ThreadIndex ? 0 : -1, 0, null),
        ReadParameter o => Fact.Trusted with { Alignment = _kernel.Parameters[o.Parameter] switch { PointerParameter => 4, TensorMapParameter => 6, _ => 63 } },
        SharedAddress o => new(Math.Min(10, o.ByteOffset == 0 ? 63 : BitOperations.TrailingZeroCount(o.ByteOffset)), Fact.Uniform, -1, Region(o.ByteOffset), (ulong)o.ByteOffset),
        Binary o => Combine(o, Of(o.Left), Of(o.Right)),
        MultiplyWide o => Product(Of(o.Left), Of(o.Right)),
        Unary { Kind: UnaryKind.Widen } o => Of(o.Operand),
        Select o => Of(o.WhenTrue).Join(Of(o.WhenFalse)) with { Varies = Math.Min(Of(o.Condition).Varies, Math.Min(Of(o.WhenTrue).Varies, Of(o.WhenFalse).Varies)) },
        Shuffle { Kind: ShuffleKind.Index } o => Of(o.Taken) with { Varies = Math.Max(5, Of(o.Taken).Varies), Shift = Of(o.Taken).Shift >= 5 ? Of(o.Taken).Shift : -1 },
        MapToPeer o => Of(o.Address) with { Varies = Math.Min(Of(o.Address).Varies, Of(o.Rank).Varies), Number = null },
        ReadVariable o => _variables.TryGetValue(o.Variable.Id, out Fact fact) ? fact : Fact.Trusted,
        AtomicAdd or ReadFragment or PackFragment or MultiplySync or LoadMatrix => Fact.Trusted with { Varies = 0 },
        _ => Fact.Trusted with { Varies = operation.Operands.Count == 0 ? Fact.Uniform : operation.Operands.Min(v => Of(v).Varies) },
    };

    ulong Region(int offset)
    {
        int region = RegionAt(_kernel, offset);
        return region is >= 0 and < 64 ? 1UL << region : 0;
    }

    static Fact Product(Fact left, Fact right) => new(Math.Min(63, left.Alignment + right.Alignment), Math.Min(left.Varies, right.Varies), -1, 0, left.Number * right.Number);

    static Fact Combine(Binary o, Fact left, Fact right)
    {
        int varies = Math.Min(left.Varies, right.Varies);
        ulong regions = left.Regions | right.Regions;
        int count = (int)Math.Min(63, right.Number ?? 0);
        ulong? number = o.Result.Type == ScalarType.U32 ? o.Kind switch
        {
            BinaryKind.Add => (uint?)(left.Number + right.Number),
            BinaryKind.Subtract => (uint?)(left.Number - right.Number),
            BinaryKind.Multiply => (uint?)(left.Number * right.Number),
            BinaryKind.ShiftLeft => (uint?)(left.Number << count),
            BinaryKind.ShiftRight => left.Number >> count,
            _ => null,
        } : null;
        switch (o.Kind)
        {
            case BinaryKind.Multiply:
                return Product(left, right) with { Number = number };
            case BinaryKind.And:
                return new(Math.Max(left.Alignment, right.Alignment), varies, -1, regions, null);
            case BinaryKind.ShiftLeft:
                return new(Math.Min(63, left.Alignment + count), varies, -1, regions, number);
            case BinaryKind.ShiftRight:
                bool exact = left.Shift >= 0 && right.Number is not null;
                return new(left.Alignment == 63 ? 63 : Math.Max(0, left.Alignment - count), exact ? left.Shift + count : varies, exact ? left.Shift + count : -1, regions, number);
            case BinaryKind.Divide or BinaryKind.Remainder:
                return new(left.Alignment == 63 ? 63 : 0, varies, -1, 0, null);
            default:
                return new(Math.Min(left.Alignment, right.Alignment), varies, -1, regions, number);
        }
    }
}
