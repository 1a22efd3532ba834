using Hadal.Kernels.Driver;
using Hadal.Kernels.Launch;
using Hadal.Kernels.Library.Cases;

namespace Hadal.Kernels.Measure;

/// <summary>Runs cases of the library on a GPU: checks them, repeats them, times them.</summary>
public sealed class CaseRunner : IDisposable
{
    readonly CudaContext _context;
    readonly CudaStream _stream;
    IReadOnlyList<CaseBuffer>? _held;
    List<DeviceMemory[]> _sets = [];

    /// <summary>A runner on a GPU.</summary>
    public CaseRunner(CudaContext context)
    {
        ArgumentNullException.ThrowIfNull(context);
        (_context, _stream) = (context, context.CreateStream());
    }

    /// <summary>The kernel of a case, compiled and loaded.</summary>
    public LoadedKernel Load(KernelCase one)
    {
        ArgumentNullException.ThrowIfNull(one);
        return _context.Load(one.Build());
    }

    /// <summary>Runs a case once from its initial contents and compares with its definition.</summary>
    public CaseResult Check(KernelCase one)
    {
        ArgumentNullException.ThrowIfNull(one);
        Hold(one, 1);
        Restore(one, 0);
        using PreparedLaunch launch = Prepare(one, 0);
        launch.Launch(_stream);
        _stream.Synchronize($"Running {one.Name}");
        return one.Check(name => Download(one, name));
    }

    /// <summary>Runs a case many times from its initial contents: the number of runs whose outputs differ in any bit from the first one's.</summary>
    public int Repeat(KernelCase one, int times)
    {
        ArgumentNullException.ThrowIfNull(one);
        Hold(one, 1);
        using PreparedLaunch launch = Prepare(one, 0);
        byte[][]? first = null;
        int different = 0;
        for (int i = 0; i < times; i++)
        {
            Restore(one, 0, outputsOnly: !one.Accumulates || i > 0);
            if (one.Accumulates) Restore(one, 0);
            launch.Launch(_stream);
            _stream.Synchronize($"Running {one.Name}, time {i + 1}");
            byte[][] outputs = [.. one.Buffers.Where(b => one.Accumulates || b.Content is null).Select(b => Download(one, b.Name))];
            first ??= outputs;
            for (int o = 0; o < outputs.Length; o++)
            {
                if (outputs[o].AsSpan().SequenceEqual(first[o])) continue;
                different++;
                break;
            }
        }

        return different;
    }

    /// <summary>
    /// Captures the launch of the first of several cases once and replays the graph on the contents of each, so many rounds of all of them; the others share its kernel, grid, arguments and
    /// sizes. Returns the first that was not as defined, or the last.
    /// </summary>
    public (KernelCase Case, CaseResult Result) Replay(IReadOnlyList<KernelCase> cases, int rounds)
    {
        ArgumentNullException.ThrowIfNull(cases);
        KernelCase first = cases[0];
        Hold(first, 1);
        using PreparedLaunch launch = Prepare(first, 0);
        using CudaGraph graph = _stream.Capture(() => launch.Launch(_stream));
        (KernelCase Case, CaseResult Result) found = default;
        double largest = 0;
        for (int round = 0; round < rounds; round++)
        {
            foreach (KernelCase one in cases)
            {
                Restore(one, 0);
                _stream.Launch(graph);
                _stream.Synchronize($"Replaying {one.Name}");
                CaseResult result = one.Check(name => Download(first, name));
                largest = Math.Max(largest, result.Error);
                found = (one, result with { Error = largest });
                if (!result.Passed) return found;
            }
        }

        return found;
    }

    /// <summary>Launches a case so many times on what it leaves, for a profiler.</summary>
    public void Launch(KernelCase one, int times)
    {
        ArgumentNullException.ThrowIfNull(one);
        Hold(one, 1);
        using PreparedLaunch launch = Prepare(one, 0);
        for (int i = 0; i < times; i++) launch.Launch(_stream);
        _stream.Synchronize($"Launching {one.Name}");
    }

    /// <summary>Times a case on sets of buffers that together are several times the cache.</summary>
    /// <param name="one">The case.</param>
    /// <param name="timer">How.</param>
    /// <param name="dependent">Launch programmatically dependent on each other.</param>
    public LaunchTime Time(KernelCase one, GraphTimer timer, bool dependent = false)
    {
        ArgumentNullException.ThrowIfNull(timer);
        return WithLaunches(one, dependent, timer.Measure);
    }

    /// <summary>Median microseconds of single launches (<see cref="GraphTimer.MeasureSingle"/>).</summary>
    public double TimeSingle(KernelCase one, GraphTimer timer)
    {
        ArgumentNullException.ThrowIfNull(timer);
        return WithLaunches(one, dependent: false, launches => timer.MeasureSingle(_context, launches));
    }

    T WithLaunches<T>(KernelCase one, bool dependent, Func<IReadOnlyList<PreparedLaunch>, T> measure)
    {
        ArgumentNullException.ThrowIfNull(one);
        long bytes = one.Buffers.Sum(b => b.Bytes);
        int sets = (int)Math.Clamp((4L * _context.Info.L2Bytes + bytes - 1) / bytes, 2, 64);
        Hold(one, sets);
        PreparedLaunch[] launches = [.. Enumerable.Range(0, sets).Select(set => Prepare(one, set, dependent))];
        try
        {
            return measure(launches);
        }
        finally
        {
            foreach (PreparedLaunch launch in launches) launch.Dispose();
        }
    }

    /// <summary>Frees the buffers.</summary>
    public void Dispose()
    {
        Release();
        _stream.Dispose();
    }

    PreparedLaunch Prepare(KernelCase one, int set, bool dependent = false)
    {
        LoadedKernel kernel = Load(one);
        LaunchArgument[] arguments = one.Resolve([.. _sets[set].Select(m => m.Address)]);
        return kernel.Prepare(one.Blocks(_context.Info.Multiprocessors), arguments, dependent);
    }

    // Cases that share their list of buffers share the memory: the second finds it filled.
    void Hold(KernelCase one, int sets)
    {
        if (!ReferenceEquals(_held, one.Buffers)) Release();
        _held = one.Buffers;
        while (_sets.Count < sets)
        {
            _sets.Add([.. one.Buffers.Select(b => _context.Allocate(Math.Max(16, b.Bytes)))]);
            int set = _sets.Count - 1;
            if (set == 0) Restore(one, 0);
            else
            {
                for (int i = 0; i < one.Buffers.Count; i++) _stream.Copy(_sets[set][i].Address, _sets[0][i].Address, _sets[0][i].Bytes);
                _stream.Synchronize("Copying the buffers of a case");
            }
        }
    }

    void Restore(KernelCase one, int set, bool outputsOnly = false)
    {
        for (int i = 0; i < one.Buffers.Count; i++)
        {
            CaseBuffer buffer = one.Buffers[i];
            if (buffer.Content is null) _stream.Fill(_sets[set][i].Address, 0xFF, buffer.Bytes);
            else if (!outputsOnly) _sets[set][i].Upload<byte>(buffer.Content());
        }

        _stream.Synchronize("Filling the buffers of a case");
    }

    byte[] Download(KernelCase one, string name)
    {
        for (int i = 0; i < one.Buffers.Count; i++)
        {
            if (!string.Equals(one.Buffers[i].Name, name, StringComparison.Ordinal)) continue;
            var bytes = new byte[one.Buffers[i].Bytes];
            _sets[0][i].Download<byte>(bytes);
            return bytes;
        }

        throw new ArgumentException($"Case {one.Name} has no buffer '{name}'.");
    }

    void Release()
    {
        foreach (DeviceMemory[] set in _sets)
            foreach (DeviceMemory memory in set) memory.Dispose();
        _sets = [];
        _held = null;
    }
}
