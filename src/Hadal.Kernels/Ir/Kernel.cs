namespace Hadal.Kernels.Ir;

/// <summary>A parameter of a kernel.</summary>
public abstract record KernelParameter(string Name)
{
    /// <summary>The C# line that declared it.</summary>
    public SourceLine Source { get; init; }
}

/// <summary>A u32 or f32 scalar.</summary>
public sealed record ScalarParameter(string Name, ScalarType Type) : KernelParameter(Name);

/// <summary>A global address.</summary>
public sealed record PointerParameter(string Name, ElementType Element) : KernelParameter(Name);

/// <summary>A tensor map of two dimensions: box sizes in elements, innermost first.</summary>
public sealed record TensorMapParameter(string Name, ElementType Element, int BoxColumns, int BoxRows, Swizzle Swizzle) : KernelParameter(Name)
{
    /// <summary>Bytes one box occupies in shared memory.</summary>
    public int BoxBytes => BoxColumns * BoxRows * Names.BytesOf(Element);
}

/// <summary>
/// A ring of shared-memory stages filled by TMA. full[s] at FullOffset + 8s counts one arrival and BytesPerStage bytes; empty[s] at EmptyOffset + 8s counts
/// ConsumerArrivals. A block's consumers and, with a cluster, its peers' consumers arrive on it.
/// </summary>
public sealed record PipelineDeclaration(string Name, int Stages, int BytesPerStage, int ConsumerArrivals, int FullOffset, int EmptyOffset, Sequence<int> ProducerSlots, Sequence<int> ConsumerSlots)
{
    /// <summary>The C# line that declared it.</summary>
    public SourceLine Source { get; init; }

    /// <summary>Readers that take turns at the stages: each waits for and gives back every Shares-th one.</summary>
    public int Shares { get; init; } = 1;
}

/// <summary>A named stretch of dynamic shared memory.</summary>
public sealed record SharedRegion(string Name, int ByteOffset, int Bytes, int Alignment)
{
    /// <summary>The C# line that reserved it.</summary>
    public SourceLine Source { get; init; }
}

/// <summary>A kernel: what is printed, verified and interpreted.</summary>
/// <param name="Name">Specification of what it computes; the entry's name in PTX.</param>
/// <param name="ThreadsPerBlock">Threads of a block, a multiple of 32.</param>
/// <param name="ClusterSize">Blocks of a cluster: 1 or 2.</param>
/// <param name="SharedBytes">Dynamic shared memory of a block.</param>
public sealed record Kernel(
    string Name,
    int ThreadsPerBlock,
    int ClusterSize,
    int SharedBytes,
    Sequence<KernelParameter> Parameters,
    Sequence<SharedRegion> SharedRegions,
    Sequence<PipelineDeclaration> Pipelines,
    Block Body)
{
    /// <summary>Blocks that must fit a multiprocessor at once: how many threads share its registers.</summary>
    public int BlocksPerMultiprocessor { get; init; } = 1;

    /// <summary>Dynamic shared memory a block may have on sm_90: 227 KB.</summary>
    public const int MaximumSharedBytes = 232448;

    /// <summary>The C# line that defined it.</summary>
    public SourceLine Source { get; init; }

    /// <summary>The readable text form: one operation a line, blocks indented.</summary>
    public override string ToString() => IrText.Write(this);

    /// <summary>All operations, in order, nested blocks included.</summary>
    public IEnumerable<Operation> AllOperations() => Walk(Body);

    /// <summary>All operations of a block, in order, nested blocks included.</summary>
    internal static IEnumerable<Operation> Walk(Block block)
    {
        foreach (Operation operation in block.Operations)
        {
            yield return operation;
            foreach (Block nested in operation.Blocks)
                foreach (Operation inner in Walk(nested)) yield return inner;
        }
    }
}
