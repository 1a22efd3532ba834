namespace Hadal.Kernels.Ir;

/// <summary>
/// Ends the kernel with an error where Condition holds: what it was given is not what it can work on. On a GPU the launch fails, and with it the context.
/// </summary>
/// <param name="Why">What is expected, for the reader of an interpreted run.</param>
public sealed record Refuse(Value Condition, string Why) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [Condition];

    /// <inheritdoc/>
    public override MemoryEffect Effect => MemoryEffect.Synchronizes;

    /// <inheritdoc/>
    public override string Mnemonic => "refuse";

    /// <inheritdoc/>
    public override string Attributes => Why;
}

/// <summary>Runs Then in lanes where Condition holds and Otherwise in the others. Uniform promises that all lanes of a warp agree.</summary>
public sealed record If(Value Condition, bool Uniform, Block Then, Block? Otherwise) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [Condition];

    /// <inheritdoc/>
    public override Sequence<Block> Blocks => Otherwise is null ? [Then] : [Then, Otherwise];

    /// <inheritdoc/>
    public override string Mnemonic => "if";

    /// <inheritdoc/>
    public override string Attributes => Uniform ? "uniform" : "";
}

/// <summary>Evaluates Test and, while its Condition holds, runs Body. All lanes of a warp that enter agree when Uniform.</summary>
public sealed record Loop(Block Test, Value Condition, Block Body, bool Uniform) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Block> Blocks => [Test, Body];

    /// <inheritdoc/>
    public override string Mnemonic => "loop";

    /// <inheritdoc/>
    public override string Attributes => $"while {Condition}{(Uniform ? " uniform" : "")}";
}

/// <summary>What a run of consecutive warpgroups does.</summary>
/// <param name="Registers">Registers per thread (multiple of 8, 24 … 240), or 0 to keep the launch's.</param>
public sealed record Role(string Name, int FirstWarpgroup, int Warpgroups, int Registers, Block Body)
{
    /// <summary>The C# line that declared it.</summary>
    public SourceLine Source { get; init; }
}

/// <summary>Splits the block: each warpgroup runs the body of its role. Warpgroup (u32) is the index of the thread's warpgroup, the same in a warp.</summary>
public sealed record RoleSwitch(Value Warpgroup, Sequence<Role> Roles) : Operation
{
    /// <inheritdoc/>
    public override Sequence<Value> Operands => [Warpgroup];

    /// <inheritdoc/>
    public override Sequence<Block> Blocks
    {
        get
        {
            var blocks = new Block[Roles.Count];
            for (int i = 0; i < blocks.Length; i++) blocks[i] = Roles[i].Body;
            return new Sequence<Block>(blocks);
        }
    }

    /// <inheritdoc/>
    public override string Mnemonic => "roles";
}
