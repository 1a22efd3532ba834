using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Interpreter;

enum FrameKind
{
    Plain,
    LoopTest,
    LoopBody,
}

/// <summary>A block being run by some lanes of a warp.</summary>
sealed class Frame(Block block, uint mask, FrameKind kind, Loop? loop)
{
    public Block Block { get; } = block;

    public uint Mask { get; } = mask;

    public FrameKind Kind { get; } = kind;

    public Loop? Loop { get; } = loop;

    public int Next { get; set; }
}

/// <summary>A wgmma that was issued: what it will read and where it will add.</summary>
sealed record IssuedWgmma(Wgmma Operation, int AAddress, int BAddress, int Id);

/// <summary>A group of wgmma of one warp's rows.</summary>
sealed class WgmmaGroup
{
    public List<IssuedWgmma> Operations { get; } = [];

    public bool Committed { get; set; }

    public bool Done { get; set; }
}

/// <summary>A tensor store of the one thread that issues them.</summary>
sealed class StoreGroup(TensorStore source)
{
    public TensorStore Source { get; } = source;

    public List<Action> Operations { get; } = [];

    public List<int> Ids { get; } = [];

    public bool Committed { get; set; }

    public bool Done { get; set; }
}

/// <summary>One warp: a coroutine with its registers, its place in the kernel and its asynchronous work.</summary>
sealed class WarpState
{
    public const int Lanes = 32;
    public const uint AllLanes = 0xFFFFFFFF;

    /// <summary>What registers hold before anything is written to them: a NaN as a number, far outside as an address.</summary>
    public const ulong Unset = 0xFFFFFFFF;

    public WarpState(BlockState block, int index, int agent, KernelLayout layout, int agents)
    {
        Block = block;
        Index = index;
        Agent = agent;
        Values = new ulong[layout.Values * Lanes];
        Values.AsSpan().Fill(Unset);
        Variables = new ulong[layout.Variables * Lanes];
        Variables.AsSpan().Fill(Unset);
        Fragments = new float[layout.Fragments.Length][];
        for (int i = 0; i < Fragments.Length; i++)
        {
            Fragments[i] = new float[layout.Fragments[i].RegistersPerThread * Lanes];
            Fragments[i].AsSpan().Fill(float.NaN);
        }

        FragmentPending = new int[Fragments.Length];
        FragmentTouched = new bool[Fragments.Length];
        FragmentTouched.AsSpan().Fill(true);
        Clock = new Clock(agents);
        Clock.Time[agent] = 1;
        Frames.Push(new Frame(layout.Kernel.Body, AllLanes, FrameKind.Plain, null));
    }

    public BlockState Block { get; }

    public int Index { get; }

    /// <summary>Index of the warp in its cluster.</summary>
    public int Agent { get; }

    public ulong[] Values { get; }

    public ulong[] Variables { get; }

    public float[][] Fragments { get; }

    /// <summary>Products issued into the fragment and not waited for.</summary>
    public int[] FragmentPending { get; }

    /// <summary>Registers accessed since the last wgmma fence.</summary>
    public bool[] FragmentTouched { get; }

    public Clock Clock { get; }

    public Stack<Frame> Frames { get; } = new();

    public List<WgmmaGroup> Groups { get; } = [];

    public List<StoreGroup> Stores { get; } = [];

    /// <summary>Generation of the counting barrier it has arrived at and waits for; −1 when none.</summary>
    public int WaitsForGeneration { get; set; } = -1;

    /// <summary>How often its lanes have met: what one lane stored before, the others may read after.</summary>
    public int Epoch { get; set; }

    /// <summary>What it waits for, when it cannot go on.</summary>
    public string? Waiting { get; set; }

    public bool Finished => Frames.Count == 0;

    public Span<ulong> Of(Value value) => Values.AsSpan(value.Id * Lanes, Lanes);

    public Span<ulong> Of(Variable variable) => Variables.AsSpan(variable.Id * Lanes, Lanes);

    /// <summary>Starts a new time, so that later accesses are not covered by what others learn now.</summary>
    public void Tick() => Clock.Time[Agent]++;

    public override string ToString() => $"block {Block.Index} warp {Index}";
}

/// <summary>One thread block: its shared memory, barriers and warps.</summary>
sealed class BlockState(int index, int rank, int sharedBytes, int agents)
{
    public int Index { get; } = index;

    public int Rank { get; } = rank;

    public byte[] Shared { get; } = Poisoned(sharedBytes);

    public SharedShadow Shadow { get; } = new(sharedBytes);

    public Dictionary<int, PhaseBarrier> Barriers { get; } = [];

    public Dictionary<int, CountingBarrier> Named { get; } = [];

    public List<WarpState> Warps { get; } = [];

    public CountingBarrier NamedBarrier(int number)
    {
        if (!Named.TryGetValue(number, out CountingBarrier? barrier)) Named[number] = barrier = new CountingBarrier(agents);
        return barrier;
    }

    static byte[] Poisoned(int bytes)
    {
        var data = new byte[bytes];
        data.AsSpan().Fill(0xFF);
        return data;
    }
}

/// <summary>How many registers a kernel's operations name.</summary>
sealed class KernelLayout
{
    public KernelLayout(Kernel kernel)
    {
        Kernel = kernel;
        var fragments = new SortedDictionary<int, FragmentRegisters>();
        foreach (Operation operation in kernel.AllOperations())
        {
            foreach (Value value in operation.Results) Values = Math.Max(Values, value.Id + 1);
            switch (operation)
            {
                case WriteVariable o: Variables = Math.Max(Variables, o.Variable.Id + 1); break;
                case ReadVariable o: Variables = Math.Max(Variables, o.Variable.Id + 1); break;
                case FillFragment o: fragments[o.Fragment.Id] = o.Fragment; break;
                case Wgmma o: fragments[o.Fragment.Id] = o.Fragment; break;
                case ScaleFragment o: fragments[o.Destination.Id] = o.Destination; break;
                default: break;
            }
        }

        int count = fragments.Count == 0 ? 0 : fragments.Keys.Max() + 1;
        Fragments = new FragmentRegisters[count];
        for (int i = 0; i < count; i++) Fragments[i] = fragments.TryGetValue(i, out FragmentRegisters? f) ? f : new FragmentRegisters(i, 8, "unused");
    }

    public Kernel Kernel { get; }

    public int Values { get; }

    public int Variables { get; }

    public FragmentRegisters[] Fragments { get; }
}
