using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.ExceptionServices;

namespace Hadal.Tensors.Cpu;

/// <summary>
/// Threads that share loops of independent items with the calling thread. Items are taken from one counter, so uneven items balance themselves;
/// which thread runs an item never matters to its result. A call allocates nothing. Between calls the workers spin for a short time, because
/// the next operation usually follows at once, and then sleep: an idle process burns no processor time.
/// A worker that wakes late finds the loop closed and is not waited for.
/// </summary>
public sealed unsafe class CpuThreads : IDisposable
{
    /// <summary>Most threads that can be asked for.</summary>
    public const int MaximumCount = 1024;

    // Long enough to bridge the managed code between two operations, short against a scheduler's time slice.
    static readonly long SpinTicks = Stopwatch.Frequency / 10_000;

    [ThreadStatic]
    static bool t_insideLoop;

    readonly Thread[] _workers;
    readonly object _parking = new();
    PaddedCounter _generation; // odd while a loop is open
    PaddedCounter _next;       // next item to hand out
    PaddedCounter _active;     // workers that may be looking at the loop
    PaddedCounter _parked;     // workers asleep or about to be
    int _occupied;             // 1 while some thread owns the workers
    volatile bool _stopping;
    delegate*<void*, int, void> _body;
    void* _context;
    int _items;
    Exception? _failure;

    /// <summary>Starts <paramref name="count"/> − 1 workers; the caller of <see cref="Run"/> is the remaining thread.</summary>
    public CpuThreads(int count)
    {
        if (count is < 1 or > MaximumCount)
            throw new ArgumentOutOfRangeException(nameof(count), count, $"The number of threads must lie between 1 and {MaximumCount}.");
        Count = count;
        _workers = new Thread[count - 1];
        for (int i = 0; i < _workers.Length; i++)
        {
            _workers[i] = new Thread(Work) { IsBackground = true, Name = $"hadal-cpu-{i + 1}" };
            _workers[i].Start();
        }
    }

    /// <summary>Threads that share a loop, the caller included.</summary>
    public int Count { get; }

    /// <summary>
    /// Calls <paramref name="body"/>(<paramref name="context"/>, i) once for every i in [0, <paramref name="items"/>), in any order and on any of the threads,
    /// and returns when all calls have returned. Called from inside a body, or while another thread owns the workers, it runs the items on the calling thread.
    /// </summary>
    /// <exception cref="Exception">The first exception a body threw; the items not yet begun are then left out.</exception>
    public void Run(int items, delegate*<void*, int, void> body, void* context)
    {
        if (items <= 0) return;
        if (items == 1 || _workers.Length == 0 || t_insideLoop || Interlocked.CompareExchange(ref _occupied, 1, 0) != 0)
        {
            for (int i = 0; i < items; i++) body(context, i);
            return;
        }

        ObjectDisposedException.ThrowIf(_stopping, this);
        _body = body;
        _context = context;
        _items = items;
        _failure = null;
        _next.Value = 0;
        Interlocked.Increment(ref _generation.Value); // opens the loop; a full fence, so the read of _parked below cannot move before it
        if (Volatile.Read(ref _parked.Value) != 0)
        {
            lock (_parking) Monitor.PulseAll(_parking);
        }

        t_insideLoop = true;
        TakeItems();
        t_insideLoop = false;
        Interlocked.Increment(ref _generation.Value); // closes it
        WaitForWorkers();
        Exception? failure = _failure;
        _failure = null;
        _context = null;
        Volatile.Write(ref _occupied, 0);
        if (failure != null) ExceptionDispatchInfo.Throw(failure);
    }

    /// <summary>Items [start, end) that part <paramref name="part"/> of <paramref name="parts"/> covers when <paramref name="length"/> elements are split
    /// evenly at multiples of <paramref name="granule"/>. Later parts may be empty.</summary>
    public static (int Start, int End) Part(int length, int part, int parts, int granule = 1)
    {
        long granules = ((long)length + granule - 1) / granule;
        long start = granules * part / parts * granule, end = granules * (part + 1) / parts * granule;
        return ((int)Math.Min(start, length), (int)Math.Min(end, length));
    }

    /// <summary>Ends the workers. Must not be called while a loop runs.</summary>
    public void Dispose()
    {
        if (_stopping) return;
        lock (_parking)
        {
            _stopping = true;
            Monitor.PulseAll(_parking);
        }

        foreach (Thread worker in _workers) worker.Join();
    }

    [SuppressMessage("Design", "CA1031", Justification = "The exception is carried to the caller of Run.")]
    void TakeItems()
    {
        try
        {
            while (true)
            {
                int item = Interlocked.Increment(ref _next.Value) - 1;
                if (item >= _items || item < 0) return;
                _body(_context, item);
            }
        }
        catch (Exception exception)
        {
            Interlocked.CompareExchange(ref _failure, exception, null);
            Volatile.Write(ref _next.Value, int.MaxValue - (2 * MaximumCount)); // no further items; room for every thread's last increment
        }
    }

    void WaitForWorkers()
    {
        long spinUntil = 0;
        while (Volatile.Read(ref _active.Value) != 0)
        {
            Thread.SpinWait(1);
            long now = Stopwatch.GetTimestamp();
            if (spinUntil == 0) spinUntil = now + SpinTicks;
            else if (now > spinUntil) Thread.Yield(); // a worker lost its processor in the middle of an item
        }
    }

    void Work()
    {
        t_insideLoop = true;
        int seen = 0;
        while (WaitForLoop(ref seen))
        {
            Interlocked.Increment(ref _active.Value); // from here on the caller waits for this worker, if the loop is still open
            if (Volatile.Read(ref _generation.Value) == seen) TakeItems();
            Interlocked.Decrement(ref _active.Value);
        }
    }

    /// <summary>Waits for an open loop other than the one last seen; false when the threads are being stopped.</summary>
    bool WaitForLoop(ref int seen)
    {
        long spinUntil = Stopwatch.GetTimestamp() + SpinTicks;
        while (!_stopping)
        {
            int generation = Volatile.Read(ref _generation.Value);
            if (generation != seen && (generation & 1) != 0)
            {
                seen = generation;
                return true;
            }

            Thread.SpinWait(1);
            if (Stopwatch.GetTimestamp() > spinUntil)
            {
                Park(seen);
                spinUntil = Stopwatch.GetTimestamp() + SpinTicks;
            }
        }

        return false;
    }

    void Park(int seen)
    {
        lock (_parking)
        {
            Interlocked.Increment(ref _parked.Value); // announced before the last look, so a loop opened after the look sees it
            while (!_stopping)
            {
                int generation = Volatile.Read(ref _generation.Value);
                if (generation != seen && (generation & 1) != 0) break;
                Monitor.Wait(_parking);
            }

            Interlocked.Decrement(ref _parked.Value);
        }
    }

    /// <summary>A counter alone on its cache lines, so that threads waiting on one do not slow the others.</summary>
    [System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Explicit, Size = 256)]
    struct PaddedCounter
    {
        [System.Runtime.InteropServices.FieldOffset(128)]
        public int Value;
    }
}
