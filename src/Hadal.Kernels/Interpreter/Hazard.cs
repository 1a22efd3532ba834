using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Interpreter;

/// <summary>What the interpreter found wrong with a kernel's run.</summary>
public enum HazardKind
{
    /// <summary>Two accesses of shared memory, one of them a write, without an order between them.</summary>
    Race,

    /// <summary>Data of an asynchronous copy or product used before it was waited for.</summary>
    UnfinishedRead,

    /// <summary>Memory read that nothing has written.</summary>
    UninitializedRead,

    /// <summary>A barrier expects other bytes than arrive.</summary>
    WrongByteCount,

    /// <summary>More arrivals in a phase than the barrier was set up for.</summary>
    TooManyArrivals,

    /// <summary>Nothing can go on.</summary>
    Deadlock,

    /// <summary>Stores not made visible to the asynchronous proxy before it reads them.</summary>
    MissingProxyFence,

    /// <summary>Accumulators used by a product without a wgmma fence after their last access.</summary>
    MissingWgmmaFence,

    /// <summary>A barrier used that is not set up, or not yet visibly.</summary>
    BarrierNotReady,

    /// <summary>A block ends while copies or products it started may be unfinished.</summary>
    LeftBehind,

    /// <summary>A barrier or copy that reaches the shared memory of a block of the cluster that has ended.</summary>
    PeerEnded,

    /// <summary>An access outside every allocation.</summary>
    OutOfBounds,

    /// <summary>An address that is not a multiple of what the access needs.</summary>
    Misaligned,

    /// <summary>The kernel refuses what it was given.</summary>
    Refused,

    /// <summary>A collective operation, or a promise of uniformity, reached by lanes that disagree.</summary>
    Divergence,
}

/// <summary>Thrown at the first hazard of a run; names kernel, block, warp and the line of C#.</summary>
public sealed class KernelHazardException : Exception
{
    internal KernelHazardException(HazardKind kind, string message, SourceLine line)
        : base(message)
    {
        Kind = kind;
        Line = line;
    }

    /// <summary>What was found.</summary>
    public HazardKind Kind { get; }

    /// <summary>The line that recorded the operation at fault.</summary>
    public SourceLine Line { get; }
}
