using Hadal.Kernels.Ir;
using Hadal.Kernels.Launch;
using Hadal.Numerics;

namespace Hadal.Kernels.Interpreter;

/// <summary>How a run is interpreted.</summary>
public sealed record InterpreterOptions
{
    /// <summary>Decides the order in which warps advance and asynchronous work finishes.</summary>
    public ulong Seed { get; init; }

    /// <summary>Arithmetic of matrix instructions.</summary>
    public IAccumulationModel Accumulation { get; init; } = new ExactAccumulation();

    /// <summary>Verify the kernel before it runs. Off only where a hazard is to be seen at run time.</summary>
    public bool Verify { get; init; } = true;

    /// <summary>Run the clusters in an order that the seed decides, instead of ascending. Off by default: kernels whose blocks wait for lower ones rely on these having started.</summary>
    public bool ShuffleBlocks { get; init; }

    /// <summary>Operations of all warps of one cluster together, after which it is taken to spin for something that never comes.</summary>
    public long MaximumOperations { get; init; } = 200_000_000;
}

/// <summary>
/// Runs the IR of a kernel on the CPU, warp by warp, in an adversarial order: copies and products finish late, in pieces and out of order; shared memory starts
/// poisoned; barriers are real phase machines. It stops at the first hazard. It is the definition of what the IR means, and slow.
/// </summary>
/// <remarks>
/// A warp is one agent whose lanes advance together; shared memory that one lane wrote and another touches without a meeting of the warp in between is a race all
/// the same. Global memory is not watched for races; clusters run one after the other.
/// </remarks>
public sealed partial class KernelInterpreter
{
    readonly Kernel _kernel;
    readonly KernelLayout _layout;
    readonly SimulatedMemory _memory;
    readonly IReadOnlyList<LaunchArgument> _arguments;
    readonly IAccumulationModel _accumulation;
    readonly CounterRandom _random;
    readonly int _blocks;
    readonly long _maximumOperations;
    readonly List<BlockState> _cluster = [];
    readonly List<WarpState> _warps = [];
    readonly List<Action> _copies = [];
    readonly List<(int Id, TensorLoad Load)> _started = [];
    CountingBarrier _clusterBarrier = new(1);
    ulong _draws;
    long _operations;
    int _asynchronous;

    KernelInterpreter(Kernel kernel, int blocks, SimulatedMemory memory, IReadOnlyList<LaunchArgument> arguments, InterpreterOptions options)
    {
        (_kernel, _blocks, _memory, _arguments) = (kernel, blocks, memory, arguments);
        _layout = new KernelLayout(kernel);
        _accumulation = options.Accumulation;
        _maximumOperations = options.MaximumOperations;
        _random = new CounterRandom(options.Seed, RandomPurpose.Simulation);
    }

    /// <summary>Runs a kernel over <paramref name="blocks"/> blocks. Clusters run one after the other, the blocks of one together.</summary>
    /// <exception cref="KernelHazardException">The run has a hazard.</exception>
    /// <exception cref="Verify.KernelVerificationException">The kernel does not verify.</exception>
    public static void Run(Kernel kernel, int blocks, SimulatedMemory memory, IReadOnlyList<LaunchArgument> arguments, InterpreterOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(kernel);
        ArgumentNullException.ThrowIfNull(memory);
        if (options?.Verify != false) Hadal.Kernels.Verify.KernelVerifier.Require(kernel);
        LaunchCheck.Arguments(kernel, arguments);
        if (blocks < 1 || blocks % kernel.ClusterSize != 0)
            throw new ArgumentException($"Kernel {kernel.Name} was launched on {blocks} blocks; its clusters have {kernel.ClusterSize}: launch a positive multiple.");
        var interpreter = new KernelInterpreter(kernel, blocks, memory, arguments, options ?? new InterpreterOptions());

        int clusters = blocks / kernel.ClusterSize;
        foreach (int cluster in options?.ShuffleBlocks == true ? interpreter._random.Permutation(clusters) : Enumerable.Range(0, clusters)) interpreter.RunCluster(cluster * kernel.ClusterSize);
    }

    void RunCluster(int firstBlock)
    {
        int warpsPerBlock = _kernel.ThreadsPerBlock / WarpState.Lanes, agents = warpsPerBlock * _kernel.ClusterSize;
        _cluster.Clear();
        _warps.Clear();
        _clusterBarrier = new CountingBarrier(agents);
        _asynchronous = 0;
        _operations = 0;
        _started.Clear();
        for (int rank = 0; rank < _kernel.ClusterSize; rank++)
        {
            var block = new BlockState(firstBlock + rank, rank, _kernel.SharedBytes, agents);
            for (int warp = 0; warp < warpsPerBlock; warp++) block.Warps.Add(new WarpState(block, warp, _warps.Count + warp, _layout, agents));
            _warps.AddRange(block.Warps);
            _cluster.Add(block);
        }

        while (true)
        {
            // Asynchronous work and warps are drawn from one urn, so that either may be late.
            int work = CountFinishable(), pick = Draw(_warps.Count + work);
            if (pick >= _warps.Count)
            {
                FinishOne(pick - _warps.Count);
                continue;
            }

            bool advanced = false;
            for (int i = 0; i < _warps.Count && !advanced; i++) advanced = Advance(_warps[(pick + i) % _warps.Count]);
            if (advanced) continue;
            if (work > 0) FinishOne(Draw(work));
            else if (!_warps.TrueForAll(w => w.Finished)) ReportDeadlock();
            else break;
        }

        ReportLeftBehind();
    }

    /// <summary>What was started must have been waited for by someone: a block's shared memory is another's once it has ended.</summary>
    void ReportLeftBehind()
    {
        foreach ((int id, TensorLoad load) in _started)
            if (!_warps.Exists(w => w.Clock.HasFinished(id))) Report(HazardKind.LeftBehind, _warps[0], load, "the block ends, and nobody has waited for this copy");
        foreach (WarpState warp in _warps)
        {
            if (warp.Groups.Count > 0) Report(HazardKind.LeftBehind, warp, warp.Groups[0].Operations[0].Operation, "the warp ends without having waited for this product");
            foreach (StoreGroup store in warp.Stores)
                if (store.Ids.Exists(id => !warp.Clock.HasFinished(id))) Report(HazardKind.LeftBehind, warp, store.Source, "the thread ends without having waited for this store to read shared memory");
        }
    }

    /// <summary>Runs a warp for a random number of operations. False when it could not run any.</summary>
    bool Advance(WarpState warp)
    {
        int budget = 1 + Draw(24), done = 0;
        while (done < budget && !warp.Finished)
        {
            Frame frame = warp.Frames.Peek();
            if (frame.Next == frame.Block.Operations.Count)
            {
                EndFrame(warp, frame);
                done++;
                continue;
            }

            Operation operation = frame.Block.Operations[frame.Next];
            if (!Execute(warp, operation, frame.Mask)) break;
            warp.Waiting = null;
            frame.Next++;
            done++;
            if (++_operations > _maximumOperations)
                Report(HazardKind.Deadlock, warp, operation, $"after {_maximumOperations} operations the cluster has not ended; this warp is here, perhaps waiting in a loop for what never comes");
        }

        return done > 0;
    }

    static WgmmaGroup? FinishableProducts(WarpState warp)
    {
        foreach (WgmmaGroup group in warp.Groups)
            if (!group.Done) return group.Committed ? group : null;
        return null;
    }

    static StoreGroup? FinishableStores(WarpState warp)
    {
        foreach (StoreGroup group in warp.Stores)
            if (!group.Done) return group.Committed ? group : null;
        return null;
    }

    /// <summary>Asynchronous work that may finish now: any copy; of each warp the oldest unfinished products and stores.</summary>
    int CountFinishable()
    {
        int count = _copies.Count;
        foreach (WarpState warp in _warps)
        {
            if (FinishableProducts(warp) is not null) count++;
            if (FinishableStores(warp) is not null) count++;
        }

        return count;
    }

    void FinishOne(int index)
    {
        if (index < _copies.Count)
        {
            Action copy = _copies[index];
            _copies.RemoveAt(index);
            copy();
            return;
        }

        index -= _copies.Count;
        foreach (WarpState warp in _warps)
        {
            if (FinishableProducts(warp) is { } group && index-- == 0)
            {
                Finish(warp, group);
                return;
            }

            if (FinishableStores(warp) is { } store && index-- == 0)
            {
                store.Done = true;
                foreach (Action operation in store.Operations) operation();
                return;
            }
        }
    }

    void EndFrame(WarpState warp, Frame frame)
    {
        warp.Frames.Pop();
        switch (frame.Kind)
        {
            case FrameKind.LoopTest:
            {
                uint goOn = frame.Mask & MaskOf(warp, frame.Loop!.Condition);
                if (frame.Loop.Uniform && goOn != 0 && goOn != frame.Mask) Report(HazardKind.Divergence, warp, frame.Loop, "a loop declared uniform is left by some lanes of the warp and not by others");
                if (goOn != 0) warp.Frames.Push(new Frame(frame.Loop.Body, goOn, FrameKind.LoopBody, frame.Loop));
                break;
            }

            case FrameKind.LoopBody:
                warp.Frames.Push(new Frame(frame.Loop!.Test, frame.Mask, FrameKind.LoopTest, frame.Loop));
                break;
            default:
                break;
        }
    }

    void ReportDeadlock()
    {
        var text = new System.Text.StringBuilder($"kernel {_kernel.Name}: nothing can go on.");
        HazardKind kind = HazardKind.Deadlock;
        SourceLine line = default;
        foreach (WarpState warp in _warps)
        {
            if (warp.Finished) continue;
            Frame frame = warp.Frames.Peek();
            Operation operation = frame.Block.Operations[frame.Next];
            line = operation.Source;
            text.Append(System.Globalization.CultureInfo.InvariantCulture, $"\n  {warp} waits at {operation.Source} ({operation.Mnemonic}): {warp.Waiting}");
            if (operation is BarrierWait wait)
            {
                PhaseBarrier barrier = Barrier(warp, wait, (uint)FirstActive(warp.Of(wait.Address), frame.Mask), out _);
                if (barrier.Arrivals == 0 && barrier.PendingBytes != 0) kind = HazardKind.WrongByteCount;
            }
        }

        throw new KernelHazardException(kind, text.ToString(), line);
    }

    void Report(HazardKind kind, WarpState warp, Operation operation, string text) =>
        throw new KernelHazardException(kind, $"kernel {_kernel.Name}, {warp}, {operation.Source}: {text}.", operation.Source);

    int Draw(int bound) => _random.Below(_draws++, bound);

    static uint MaskOf(WarpState warp, Value predicate)
    {
        Span<ulong> values = warp.Of(predicate);
        uint mask = 0;
        for (int lane = 0; lane < WarpState.Lanes; lane++)
            if (values[lane] != 0) mask |= 1u << lane;
        return mask;
    }

    static ulong FirstActive(Span<ulong> values, uint mask) => values[System.Numerics.BitOperations.TrailingZeroCount(mask)];
}
