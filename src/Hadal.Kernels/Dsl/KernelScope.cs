using System.Runtime.CompilerServices;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Dsl;

/// <summary>A tensor map parameter of the kernel being built.</summary>
public sealed class TensorMap
{
    internal TensorMap(int parameter, TensorMapParameter declaration) => (Parameter, Declaration) = (parameter, declaration);

    internal int Parameter { get; }

    /// <summary>Element type, box and swizzle that the launch's map must have.</summary>
    public TensorMapParameter Declaration { get; }
}

/// <summary>Builds kernels.</summary>
public static class KernelBuilder
{
    /// <summary>Runs <paramref name="body"/> once and returns what it recorded.</summary>
    /// <param name="name">Specification of what the kernel computes: letters, digits and underscores.</param>
    /// <param name="threads">Threads of a block: a multiple of 32, at most 1024.</param>
    /// <param name="body">What the kernel does.</param>
    /// <param name="cluster">Blocks of a cluster: 1 or 2.</param>
    /// <param name="blocksPerMultiprocessor">Blocks that must fit a multiprocessor at once.</param>
    public static Kernel Define(string name, int threads, Action<KernelScope> body, int cluster = 1, int blocksPerMultiprocessor = 1, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        ArgumentNullException.ThrowIfNull(body);
        if (name.Length == 0 || !name.All(c => char.IsAsciiLetterOrDigit(c) || c == '_'))
            throw new ArgumentException($"Kernel name '{name}' is not a PTX identifier: use letters, digits and underscores.", nameof(name));
        var recorder = new Recorder();
        recorder.At(file, line);
        SourceLine source = recorder.Line;
        var scope = new KernelScope(recorder, threads, cluster);
        body(scope);
        return scope.Finish(name) with { BlocksPerMultiprocessor = blocksPerMultiprocessor, Source = source };
    }
}

/// <summary>The whole kernel: parameters, shared memory, rings and roles, and code that all threads run.</summary>
public sealed class KernelScope : ThreadScope
{
    readonly List<KernelParameter> _parameters = [];
    readonly List<SharedRegion> _regions = [];
    readonly List<Pipeline> _pipelines = [];
    readonly List<Role> _roles = [];
    readonly int _threads;
    int _sharedBytes;
    Value? _warpgroup;

    internal KernelScope(Recorder recorder, int threads, int cluster)
        : base(recorder)
    {
        _threads = threads;
        Cluster = cluster;
        ThreadIndex = Special(SpecialRegister.ThreadIndex);
        Lane = ThreadIndex & 31;
        Warp = Uniform(ThreadIndex >> 5);
        ClusterRank = cluster > 1 ? Special(SpecialRegister.ClusterRank) : Constant(0);
    }

    /// <summary>Blocks of a cluster.</summary>
    public int Cluster { get; }

    /// <summary>Threads of a block.</summary>
    public int Threads => _threads;

    /// <summary>Index of the thread in its block.</summary>
    public U32 ThreadIndex { get; }

    /// <summary>Index of the thread in its warp.</summary>
    public U32 Lane { get; }

    /// <summary>Index of the warp in its block, known to be the same for its lanes.</summary>
    public U32 Warp { get; }

    /// <summary>Index of the block in its cluster.</summary>
    public U32 ClusterRank { get; }

    /// <summary>Index of the block in the grid.</summary>
    public U32 BlockIndex() => Special(SpecialRegister.BlockIndex);

    /// <summary>Number of blocks in the grid.</summary>
    public U32 BlockCount() => Special(SpecialRegister.BlockCount);

    /// <summary>Declares a global pointer parameter and reads it.</summary>
    public U64 Pointer(string name, ElementType element, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Recorder.At(file, line);
        int index = Add(new PointerParameter(name, element) { Source = Recorder.Line });
        return new U64(Recorder, Recorder.Emit(ScalarType.U64, r => new ReadParameter(r, index)));
    }

    /// <summary>Declares a word parameter and reads it.</summary>
    public U32 Word(string name, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Recorder.At(file, line);
        int index = Add(new ScalarParameter(name, ScalarType.U32) { Source = Recorder.Line });
        return new U32(Recorder, Recorder.Emit(ScalarType.U32, r => new ReadParameter(r, index)));
    }

    /// <summary>Declares a tensor map parameter of two dimensions; box sizes are in elements.</summary>
    public TensorMap TensorMap(string name, ElementType element, int boxRows, int boxColumns, Swizzle swizzle = Swizzle.None, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Recorder.At(file, line);
        var declaration = new TensorMapParameter(name, element, boxColumns, boxRows, swizzle) { Source = Recorder.Line };
        return new TensorMap(Add(declaration), declaration);
    }

    /// <summary>Reserves shared memory.</summary>
    public SharedRegion Shared(string name, int bytes, int alignment = 16, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Recorder.At(file, line);
        int at = (_sharedBytes + alignment - 1) / alignment * alignment;
        var region = new SharedRegion(name, at, bytes, alignment) { Source = Recorder.Line };
        _regions.Add(region);
        _sharedBytes = at + bytes;
        return region;
    }

    /// <summary>Waits for all threads of the block.</summary>
    public void Sync([CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Sync(0, _threads, file, line);

    /// <summary>Waits for all threads of the cluster.</summary>
    public void ClusterSync([CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Emit(new ClusterSync(), file, line);

    /// <summary>
    /// A ring of stages that TMA fills with one box (or one a cluster block) of each operand and <paramref name="consumerWarps"/> warps of this block read.
    /// Records the set-up of its barriers and waits for it.
    /// </summary>
    public Pipeline Pipeline(string name, int stages, int consumerWarps, ReadOnlySpan<RingOperand> operands, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Recorder.At(file, line);
        var pipeline = new Pipeline(this, name, stages, consumerWarps, operands);
        _pipelines.Add(pipeline);
        return pipeline;
    }

    /// <summary>Code for <paramref name="warpgroups"/> warpgroups that multiply. Roles follow each other in the order they are declared.</summary>
    public void Consumers(int warpgroups, int registers, Action<ConsumerScope> body, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        int first = NextWarpgroup(warpgroups, file, line);
        Block block = Recorder.Capture(() => body(new ConsumerScope(this, first)));
        _roles.Add(new Role("consumer", first, warpgroups, registers, block) { Source = Recorder.Line });
    }

    /// <summary>Code for the one thread of a warpgroup that issues copies.</summary>
    public void Producer(int registers, Action<ProducerScope> body, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        int first = NextWarpgroup(1, file, line);
        Block block = Recorder.Capture(() => If(ThreadIndex.Is(128 * first), () =>
        {
            var producer = new ProducerScope(this);
            body(producer);
            Recorder.At(file, line);
            producer.Finish();
        }, file: file, line: line));
        _roles.Add(new Role("producer", first, 1, registers, block) { Source = Recorder.Line });
    }

    /// <summary>The kernel without roles, as a scope that may multiply: all its threads are one or more warpgroups.</summary>
    public ConsumerScope AsConsumer() => new(this, 0);

    /// <summary>The kernel without roles, as a scope that may issue copies: call it only from code that one thread runs.</summary>
    public ProducerScope AsProducer() => new(this);

    internal U32 Special(SpecialRegister register) => new(Recorder, Recorder.Emit(ScalarType.U32, r => new ReadSpecial(r, register)));

    internal U64 MapAddress(TensorMap map) => new(Recorder, Recorder.Emit(ScalarType.U64, r => new ReadParameter(r, map.Parameter)));

    internal Kernel Finish(string name)
    {
        if (_roles.Count > 0) Recorder.Emit(new RoleSwitch(_warpgroup!, new Sequence<Role>([.. _roles])));

        // A block whose peers still signal its barriers must not leave. Where the producers see to that, the others need not meet: a barrier of the cluster at this place costs the loops of a product
        // 1 % (the compiler orders them otherwise).
        if (Cluster > 1 && !(_pipelines.Count > 0 && _pipelines.TrueForAll(p => p.Drained))) Recorder.Emit(new ClusterSync());
        return new Kernel(
            name,
            _threads,
            Cluster,
            _sharedBytes,
            new Sequence<KernelParameter>([.. _parameters]),
            new Sequence<SharedRegion>([.. _regions]),
            new Sequence<PipelineDeclaration>([.. _pipelines.Select(p => p.Declaration())]),
            Recorder.Finish());
    }

    int NextWarpgroup(int warpgroups, string file, int line)
    {
        Recorder.At(file, line);
        _warpgroup ??= (Warp >> 2).Value;
        int first = _roles.Sum(r => r.Warpgroups);
        if (128 * (first + warpgroups) > _threads)
            throw new ArgumentException($"Roles need {first + warpgroups} warpgroups, the block has {_threads} threads = {_threads / 128}: raise the thread count or drop a role.");
        return first;
    }

    int Add(KernelParameter parameter)
    {
        if (_parameters.Exists(p => string.Equals(p.Name, parameter.Name, StringComparison.Ordinal)))
            throw new ArgumentException($"Parameter '{parameter.Name}' is declared twice: give it another name.");
        _parameters.Add(parameter);
        return _parameters.Count - 1;
    }
}
