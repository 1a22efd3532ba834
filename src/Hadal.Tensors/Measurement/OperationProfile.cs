using System.Diagnostics;

namespace Hadal.Tensors.Measurement;

/// <summary>One kind of operation in an <see cref="OperationProfile"/>.</summary>
/// <param name="Group">Concern, for example <c>matrix</c>.</param>
/// <param name="Name">Kind, for example <c>weight gradient</c>.</param>
/// <param name="Calls">Calls.</param>
/// <param name="Seconds">Wall-clock seconds of the calling thread.</param>
/// <param name="Flop">Floating-point operations of matrix products (a multiply-add counts two); 0 for other kinds.</param>
public sealed record OperationTime(string Group, string Name, long Calls, double Seconds, double Flop);

/// <summary>Where time goes, by kind of operation. Filled by a <see cref="TimedBackend"/>; adding an entry allocates nothing after its first call.</summary>
public sealed class OperationProfile
{
    readonly List<Entry> _entries = [];
    readonly Dictionary<(string Name, int Rows, int Columns, int Depth), Entry> _products = [];

    /// <summary>All kinds that were called, longest first.</summary>
    public IReadOnlyList<OperationTime> Times =>
        [.. _entries.Where(e => e.Calls > 0).OrderByDescending(e => e.Ticks)
            .Select(e => new OperationTime(e.Group, e.Name, e.Calls, (double)e.Ticks / Stopwatch.Frequency, e.Flop))];

    /// <summary>The same matrix products once more, by kind and shape [outputs' rows x outputs' columns x contraction], longest first. Rows of grouped products are those of all groups.</summary>
    public IReadOnlyList<OperationTime> Products =>
        [.. _products.Values.Where(e => e.Calls > 0).OrderByDescending(e => e.Ticks)
            .Select(e => new OperationTime(e.Group, e.Name, e.Calls, (double)e.Ticks / Stopwatch.Frequency, e.Flop))];

    /// <summary>Forgets what was measured.</summary>
    public void Clear()
    {
        foreach (Entry entry in _entries) (entry.Calls, entry.Ticks, entry.Flop) = (0, 0, 0);
        foreach (Entry entry in _products.Values) (entry.Calls, entry.Ticks, entry.Flop) = (0, 0, 0);
    }

    internal Entry Add(string group, string name)
    {
        var entry = new Entry(group, name);
        _entries.Add(entry);
        return entry;
    }

    /// <summary>The counters of one kind.</summary>
    internal sealed class Entry(string group, string name)
    {
        public string Group => group;

        public string Name => name;

        public long Calls { get; set; }

        public long Ticks { get; set; }

        public double Flop { get; set; }

        public void Stop(long start) => Add(Stopwatch.GetTimestamp() - start, 0);

        /// <summary>Ends the measurement of a product.</summary>
        public void Stop(long start, OperationProfile profile, int rows, int columns, int depth)
        {
            long ticks = Stopwatch.GetTimestamp() - start;
            double flop = 2.0 * rows * columns * depth;
            Add(ticks, flop);
            if (!profile._products.TryGetValue((Name, rows, columns, depth), out Entry? shape))
            {
                shape = new Entry(Group, $"{Name} {rows}x{columns}x{depth}");
                profile._products.Add((Name, rows, columns, depth), shape);
            }

            shape.Add(ticks, flop);
        }

        void Add(long ticks, double flop)
        {
            Ticks += ticks;
            Calls++;
            Flop += flop;
        }
    }
}
