using Hadal.Kernels.Driver;

namespace Hadal.Kernels.Measure;

/// <summary>Time of one launch, in microseconds.</summary>
/// <param name="Burst">Median over replays that each follow a pause.</param>
/// <param name="Sustained">Median over replays queued back to back for a while; zero when it was not asked for.</param>
/// <param name="Launches">Launches in one replay.</param>
public sealed record LaunchTime(double Burst, double Sustained, int Launches);

/// <summary>
/// Times launches inside replayed graphs: launches follow each other on the device as they do in a step, each on the next set of buffers. Ahead of every replay of
/// a burst stands a fill of memory, which keeps the device busy while the replay is queued and empties the cache.
/// </summary>
public sealed class GraphTimer : IDisposable
{
    const long FillBytes = 768L << 20;
    readonly CudaStream _stream;
    readonly DeviceMemory _fill;
    readonly CudaEvent _begin = new(), _end = new();

    /// <summary>A timer on a GPU.</summary>
    public GraphTimer(CudaContext context)
    {
        ArgumentNullException.ThrowIfNull(context);
        _stream = context.CreateStream();
        _fill = context.Allocate(FillBytes);
    }

    /// <summary>Replays of a burst.</summary>
    public int Bursts { get; init; } = 11;

    /// <summary>Milliseconds of rest ahead of each.</summary>
    public int PauseMilliseconds { get; init; } = 40;

    /// <summary>Milliseconds that a replay should take, about.</summary>
    public double ReplayMilliseconds { get; init; } = 2;

    /// <summary>Milliseconds of back-to-back work, of which the second half is counted; zero for none.</summary>
    public double SustainedMilliseconds { get; init; } = 600;

    /// <summary>Times <paramref name="launches"/>, which take turns.</summary>
    public LaunchTime Measure(IReadOnlyList<PreparedLaunch> launches)
    {
        ArgumentNullException.ThrowIfNull(launches);
        foreach (PreparedLaunch launch in launches) launch.Launch(_stream);
        _stream.Synchronize("Warming up");
        double first;
        using (CudaGraph trial = Capture(launches, launches.Count)) first = Replay(trial) / launches.Count;
        int rounds = Math.Clamp((int)Math.Ceiling(ReplayMilliseconds / first / launches.Count), 1, Math.Max(1, 600 / launches.Count));
        int count = rounds * launches.Count;
        using CudaGraph graph = Capture(launches, count);
        Replay(graph);
        var bursts = new double[Bursts];
        for (int i = 0; i < Bursts; i++)
        {
            Thread.Sleep(PauseMilliseconds);
            bursts[i] = Replay(graph) / count * 1000;
        }

        return new LaunchTime(Median(bursts), SustainedMilliseconds > 0 ? Sustain(graph, count) : 0, count);
    }

    /// <summary>
    /// Microseconds of rivals in turns: turn t replays each rival once after a rest, beginning with rival t modulo their number, so that what drifts (clock, heat) meets all alike. One row a turn.
    /// </summary>
    public double[][] MeasureInTurns(IReadOnlyList<IReadOnlyList<PreparedLaunch>> rivals, int turns)
    {
        ArgumentNullException.ThrowIfNull(rivals);
        var graphs = new CudaGraph[rivals.Count];
        var counts = new int[rivals.Count];
        for (int i = 0; i < graphs.Length; i++)
        {
            foreach (PreparedLaunch launch in rivals[i]) launch.Launch(_stream);
            _stream.Synchronize("Warming up");
            double one;
            using (CudaGraph trial = Capture(rivals[i], rivals[i].Count)) one = Replay(trial) / rivals[i].Count;
            counts[i] = rivals[i].Count * Math.Clamp((int)Math.Ceiling(ReplayMilliseconds / one / rivals[i].Count), 1, 300);
            graphs[i] = Capture(rivals[i], counts[i]);
            Replay(graphs[i]);
        }

        var times = new double[turns][];
        for (int turn = 0; turn < turns; turn++)
        {
            times[turn] = new double[graphs.Length];
            for (int i = 0; i < graphs.Length; i++)
            {
                int rival = (turn + i) % graphs.Length;
                Thread.Sleep(PauseMilliseconds);
                times[turn][rival] = Replay(graphs[rival]) / counts[rival] * 1000;
            }
        }

        foreach (CudaGraph graph in graphs) graph.Dispose();
        return times;
    }

    /// <summary>
    /// Median microseconds of single launches, each after 8 GB of memory were filled: the method of the logs that other libraries publish. Events stand around the
    /// launch, so about 3 µs of launching are counted.
    /// </summary>
    public double MeasureSingle(CudaContext context, IReadOnlyList<PreparedLaunch> launches, int repetitions = 30)
    {
        ArgumentNullException.ThrowIfNull(context);
        ArgumentNullException.ThrowIfNull(launches);
        const long bytes = 8_000_000_000;
        using DeviceMemory filled = context.Allocate(bytes);
        var marks = new CudaEvent[2 * repetitions];
        for (int i = 0; i < marks.Length; i++) marks[i] = new CudaEvent();
        for (int i = 0; i < repetitions; i++)
        {
            _stream.Fill(filled.Address, 0, bytes);
            _stream.Record(marks[2 * i]);
            launches[i % launches.Count].Launch(_stream);
            _stream.Record(marks[2 * i + 1]);
        }

        _stream.Synchronize("Timing single launches");
        double[] times = [.. Enumerable.Range(0, repetitions).Select(i => marks[2 * i + 1].MillisecondsSince(marks[2 * i]) * 1000)];
        foreach (CudaEvent mark in marks) mark.Dispose();
        return Median(times);
    }

    /// <summary>Bytes moved per second by large copies from device to device, read and written counted.</summary>
    public double CopyBandwidth(CudaContext context)
    {
        ArgumentNullException.ThrowIfNull(context);
        const long bytes = 2L << 30;
        using DeviceMemory from = context.Allocate(bytes), to = context.Allocate(bytes);
        _stream.Fill(from.Address, 1, bytes);
        var times = new double[9];
        for (int i = 0; i < times.Length; i++)
        {
            _stream.Record(_begin);
            _stream.Copy(to.Address, from.Address, bytes);
            _stream.Record(_end);
            _stream.Synchronize();
            times[i] = _end.MillisecondsSince(_begin);
        }

        return 2.0 * bytes / Median(times) * 1000;
    }

    /// <summary>Gives memory, stream and events back.</summary>
    public void Dispose()
    {
        _fill.Dispose();
        _begin.Dispose();
        _end.Dispose();
        _stream.Dispose();
    }

    CudaGraph Capture(IReadOnlyList<PreparedLaunch> launches, int count) => _stream.Capture(() =>
    {
        for (int i = 0; i < count; i++) launches[i % launches.Count].Launch(_stream);
    });

    double Replay(CudaGraph graph)
    {
        _stream.Fill(_fill.Address, 0, FillBytes);
        _stream.Record(_begin);
        _stream.Launch(graph);
        _stream.Record(_end);
        _stream.Synchronize("Replaying a graph of launches");
        return _end.MillisecondsSince(_begin);
    }

    double Sustain(CudaGraph graph, int count)
    {
        double one = Replay(graph);
        int replays = Math.Clamp((int)Math.Ceiling(SustainedMilliseconds / one), 4, 2000);
        var marks = new CudaEvent[replays + 1];
        for (int i = 0; i <= replays; i++) marks[i] = new CudaEvent();
        for (int i = 0; i < replays; i++)
        {
            _stream.Record(marks[i]);
            _stream.Launch(graph);
        }

        _stream.Record(marks[replays]);
        _stream.Synchronize("Replaying a graph of launches back to back");
        var times = new List<double>();
        for (int i = replays / 2; i < replays; i++) times.Add(marks[i + 1].MillisecondsSince(marks[i]) / count * 1000);
        foreach (CudaEvent mark in marks) mark.Dispose();
        return Median([.. times]);
    }

    static double Median(double[] values)
    {
        Array.Sort(values);
        return values[values.Length / 2];
    }
}
