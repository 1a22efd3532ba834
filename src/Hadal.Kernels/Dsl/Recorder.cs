using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Dsl;

/// <summary>Collects the operations of one kernel while its C# runs. Everything in the language ends in its Emit.</summary>
sealed class Recorder
{
    readonly Stack<List<Operation>> _blocks = new([[]]);
    int _values, _variables, _fragments, _slots;
    SourceLine _line;

    /// <summary>The C# line noted last.</summary>
    public SourceLine Line => _line;

    /// <summary>Notes the C# line that following operations come from. Operators cannot know theirs and take the line noted last.</summary>
    public void At(string file, int line) => _line = new SourceLine(Path.GetFileName(file), line);

    public Value NewValue(ScalarType type) => new(_values++, type);

    public Variable NewVariable(ScalarType type, string name) => new(_variables++, type, name);

    public FragmentRegisters NewFragment(int columns, string name) => new(_fragments++, columns, name);

    public int NewSlot() => _slots++;

    public void Emit(Operation operation) => _blocks.Peek().Add(operation with { Source = _line });

    public Value Emit(ScalarType type, Func<Value, Operation> operation)
    {
        Value result = NewValue(type);
        Emit(operation(result));
        return result;
    }

    /// <summary>Records what <paramref name="body"/> emits into a block of its own.</summary>
    public Block Capture(Action body)
    {
        SourceLine line = _line;
        _blocks.Push([]);
        body();
        List<Operation> operations = _blocks.Pop();
        _line = line;
        return new Block(new Sequence<Operation>([.. operations]));
    }

    public Block Finish() => new(new Sequence<Operation>([.. _blocks.Pop()]));

    public Value Constant(ScalarType type, ulong bits) => Emit(type, r => new Constant(r, bits));

    public Value Binary(BinaryKind kind, Value left, Value right) => Emit(left.Type, r => new Binary(r, kind, left, right));

    public Value Compare(CompareKind kind, Value left, Value right) => Emit(ScalarType.Predicate, r => new Compare(r, kind, left, right));
}
