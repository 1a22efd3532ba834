using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Verify;

/// <summary>What a kernel breaks.</summary>
public enum VerifierRule
{
    /// <summary>Threads, cluster, names.</summary>
    Launch,

    /// <summary>A value or variable used where it has none.</summary>
    Definition,

    /// <summary>An operand or result of a type that the operation does not take.</summary>
    Type,

    /// <summary>An address that is not a multiple of what the access needs.</summary>
    Alignment,

    /// <summary>A tensor map's box or swizzle that the hardware does not take.</summary>
    TensorMap,

    /// <summary>More shared memory than a block has, or an access outside its region.</summary>
    SharedMemory,

    /// <summary>Register budgets of roles.</summary>
    Registers,

    /// <summary>A barrier used before it is set up for all who use it.</summary>
    BarrierSetup,

    /// <summary>A barrier that expects other arrivals than come.</summary>
    Arrivals,

    /// <summary>A stage that announces other bytes than its copies bring.</summary>
    ByteCount,

    /// <summary>Producer and consumers of a ring make different numbers of turns.</summary>
    Turns,

    /// <summary>Stores not made visible to the asynchronous proxy that reads them.</summary>
    ProxyFence,

    /// <summary>A product into registers that were accessed without a wgmma fence since.</summary>
    WgmmaFence,

    /// <summary>A product used, or left behind, without waiting for it.</summary>
    UnwaitedProduct,

    /// <summary>A ring slot given back while a product still reads it.</summary>
    SlotReleased,

    /// <summary>A collective operation where its lanes or warps may not all be.</summary>
    Divergence,
}

/// <summary>One thing wrong with a kernel.</summary>
/// <param name="Rule">The rule it breaks.</param>
/// <param name="Source">The line of C# at fault.</param>
/// <param name="What">What is given and what is expected.</param>
/// <param name="Mend">How to mend it.</param>
public sealed record VerifierFinding(VerifierRule Rule, SourceLine Source, string What, string Mend)
{
    /// <summary><c>File.cs:line: what; mend.</c></summary>
    public override string ToString() => $"{Source}: {What}; {Mend}.";
}

/// <summary>Thrown when a kernel that is to be printed, interpreted or launched does not verify.</summary>
public sealed class KernelVerificationException : Exception
{
    internal KernelVerificationException(string kernel, IReadOnlyList<VerifierFinding> findings)
        : base($"Kernel {kernel} does not verify:\n  {string.Join("\n  ", findings)}") => Findings = findings;

    /// <summary>Everything found.</summary>
    public IReadOnlyList<VerifierFinding> Findings { get; }
}
