namespace Hadal.Kernels.Ir;

/// <summary>One instruction of the IR, plain data. The set is closed: a new one is a record here, a rule in the verifier, the printer and the interpreter, and a test.</summary>
public abstract record Operation
{
    private protected Operation() { }

    /// <summary>The C# line that recorded it.</summary>
    public SourceLine Source { get; init; }

    /// <summary>Values read.</summary>
    public virtual Sequence<Value> Operands => [];

    /// <summary>Values defined.</summary>
    public virtual Sequence<Value> Results => [];

    /// <summary>Nested blocks.</summary>
    public virtual Sequence<Block> Blocks => [];

    /// <summary>What memory it touches, and how.</summary>
    public virtual MemoryEffect Effect => MemoryEffect.None;

    /// <summary>Its word in the text form.</summary>
    public abstract string Mnemonic { get; }

    /// <summary>What the text form says beside operands and results.</summary>
    public virtual string Attributes => "";
}
