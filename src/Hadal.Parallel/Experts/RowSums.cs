using System.Numerics;
using System.Runtime.InteropServices;
using Hadal.Parallel.Ranks;

namespace Hadal.Parallel.Experts;

/// <summary>
/// Adds the expert rows of one token as far as a rank may: leaf i of the tree is expert i. A row that was added to nothing is still what its expert's
/// product gave, which the recipe may have rounded to BF16: it travels in two bytes an element. A sum travels in four, so no bit is lost.
/// </summary>
/// <param name="columns">Elements of a row.</param>
/// <param name="most">Most rows of a token.</param>
sealed unsafe class RowSums(int columns, int most)
{
    readonly float[] _stack = new float[most * columns];
    readonly int[] _first = new int[most], _last = new int[most], _joins = new int[most], _count = new int[most];
    int _runs;

    /// <summary>Elements of a row.</summary>
    public int Columns => columns;

    /// <summary>Most rows of a token.</summary>
    public int Most => most;

    /// <summary>Begins with the next token.</summary>
    public void Clear() => _runs = 0;

    /// <summary>Runs that were announced.</summary>
    public int Runs => _runs;

    /// <summary>Announces a run: its experts, and how many rows were added in it.</summary>
    public void Announce(int first, int last, int count)
    {
        _first[_runs] = first;
        _last[_runs] = last;
        _count[_runs++] = count;
    }

    /// <summary>Plans the additions inside a range of experts.</summary>
    /// <param name="low">First expert that is this rank's, or this node's.</param>
    /// <param name="high">Expert after them.</param>
    /// <returns>Sums that remain.</returns>
    public int Plan(long low, long high) => TreeJoins.Plan(_first.AsSpan(0, _runs), _last.AsSpan(0, _runs), low, high, _joins);

    /// <summary>After <see cref="Plan"/>: replaces the runs by the sums that remain, without adding.</summary>
    public void Remaining()
    {
        int depth = 0;
        for (int k = 0; k < _runs; k++)
        {
            (_first[depth], _last[depth], _count[depth]) = (_first[k], _last[k], _count[k]);
            depth++;
            for (int j = 0; j < _joins[k]; j++, depth--)
            {
                _last[depth - 2] = _last[depth - 1];
                _count[depth - 2] += _count[depth - 1];
            }
        }

        _runs = depth;
    }

    /// <summary>Experts and rows of a run.</summary>
    public (int First, int Last, int Count) Run(int k) => (_first[k], _last[k], _count[k]);

    /// <summary>Bytes of a run's row.</summary>
    public long Bytes(int k, bool narrow) => BytesOf(_count[k], columns, narrow);

    /// <summary>Bytes of the row of so many added rows; whole words.</summary>
    public static long BytesOf(int count, int columns, bool narrow) => narrow && count == 1 ? ((columns * 2L) + 3) & ~3L : columns * 4L;

    /// <summary>After <see cref="Plan"/>: adds the rows of all runs; sums are read with <see cref="Sum"/>.</summary>
    /// <param name="rows">Address of each run's row: BF16 when narrow and of one row, else F32.</param>
    /// <param name="narrow">Rows that were added to nothing are BF16.</param>
    public void Add(ReadOnlySpan<nint> rows, bool narrow)
    {
        int depth = 0;
        for (int k = 0; k < _runs; k++)
        {
            Span<float> top = Row(depth++);
            if (narrow && _count[k] == 1) Widen(new ReadOnlySpan<ushort>((void*)rows[k], columns), top);
            else new ReadOnlySpan<float>((void*)rows[k], columns).CopyTo(top);
            for (int j = 0; j < _joins[k]; j++, depth--) AddInto(Row(depth - 2), Row(depth - 1));
        }

        Remaining();
    }

    /// <summary>[columns] of a sum, after <see cref="Add"/>.</summary>
    public ReadOnlySpan<float> Sum(int k) => Row(k);

    /// <summary>Writes a sum as it travels; returns its bytes.</summary>
    public long Write(int k, bool narrow, byte* to)
    {
        if (narrow && _count[k] == 1) Narrow(Row(k), new Span<ushort>(to, columns));
        else Row(k).CopyTo(new Span<float>(to, columns));
        return Bytes(k, narrow);
    }

    Span<float> Row(int k) => _stack.AsSpan(k * columns, columns);

    /// <summary>sum += x, each element rounded once.</summary>
    public static void AddInto(Span<float> sum, ReadOnlySpan<float> x)
    {
        Span<Vector<float>> sums = MemoryMarshal.Cast<float, Vector<float>>(sum);
        ReadOnlySpan<Vector<float>> values = MemoryMarshal.Cast<float, Vector<float>>(x);
        for (int i = 0; i < sums.Length; i++) sums[i] += values[i];
        for (int i = sums.Length * Vector<float>.Count; i < sum.Length; i++) sum[i] += x[i];
    }

    static void Widen(ReadOnlySpan<ushort> from, Span<float> to)
    {
        for (int i = 0; i < to.Length; i++) to[i] = BitConverter.UInt32BitsToSingle((uint)from[i] << 16);
    }

    // The values are BF16 already: what is cut off is zero.
    static void Narrow(ReadOnlySpan<float> from, Span<ushort> to)
    {
        for (int i = 0; i < to.Length; i++) to[i] = (ushort)(BitConverter.SingleToUInt32Bits(from[i]) >> 16);
    }
}
