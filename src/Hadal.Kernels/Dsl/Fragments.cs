using System.Runtime.CompilerServices;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Dsl;

/// <summary>Registers that products are accumulated in. It has no reading: only waiting for a product yields its <see cref="Fragment"/>.</summary>
public sealed class Accumulator
{
    internal Accumulator(FragmentRegisters registers) => Registers = registers;

    internal FragmentRegisters Registers { get; }

    /// <summary>Columns of the tile.</summary>
    public int Columns => Registers.Columns;
}

/// <summary>A product in flight.</summary>
public sealed class PendingFragment
{
    readonly ConsumerScope _scope;
    readonly FragmentRegisters _registers;

    internal PendingFragment(ConsumerScope scope, FragmentRegisters registers) => (_scope, _registers) = (scope, registers);

    /// <summary>Waits until at most <paramref name="younger"/> products of this warpgroup, started after this one, are in flight; yields the product.</summary>
    public Fragment Wait(int younger = 0, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        _scope.Recorder.At(file, line);
        _scope.Recorder.Emit(new WgmmaWait(younger));
        return new Fragment(_scope, _registers);
    }
}

/// <summary>
/// A readable 64-row float32 tile of a warpgroup. Each thread holds rows r = <see cref="ConsumerScope.FragmentRow"/> and r + 8, columns 8j + 2(lane mod 4) and
/// the next for each column group j: element 4j + e is row half e / 2, column e mod 2.
/// </summary>
public sealed class Fragment
{
    readonly ConsumerScope _scope;

    internal Fragment(ConsumerScope scope, FragmentRegisters registers) => (_scope, Registers) = (scope, registers);

    internal FragmentRegisters Registers { get; }

    /// <summary>Columns of the tile.</summary>
    public int Columns => Registers.Columns;

    /// <summary>Sets every element.</summary>
    public void Fill(F32 value, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        _scope.Recorder.At(file, line);
        _scope.Recorder.Emit(new FillFragment(Registers, value.Value));
    }

    /// <summary>
    /// Promotion: this = product · scale, or this += product · scale (one rounding), in <paramref name="groups"/> column groups from
    /// <paramref name="firstGroup"/>. Scales: (row r, column 0), (r, 1), (r + 8, 0), (r + 8, 1).
    /// </summary>
    public void Promote(Fragment product, int firstGroup, int groups, ReadOnlySpan<F32> scales, bool accumulate, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        if (scales.Length != 4) throw new ArgumentException($"A promotion takes four scales of a thread's 2 rows by 2 columns, not {scales.Length}.");
        _scope.Recorder.At(file, line);
        _scope.Recorder.Emit(new ScaleFragment(Registers, product.Registers, firstGroup, groups, [scales[0].Value, scales[1].Value, scales[2].Value, scales[3].Value], accumulate));
    }

    /// <summary>Promotion of all columns by one scale a row.</summary>
    public void Promote(Fragment product, F32 row, F32 rowBelow, bool accumulate, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) =>
        Promote(product, 0, Columns / 8, [row, row, rowBelow, rowBelow], accumulate, file, line);

    /// <summary>One element of each thread.</summary>
    public F32 Element(int element)
    {
        FragmentRegisters registers = Registers;
        return new(_scope.Recorder, _scope.Recorder.Emit(ScalarType.F32, r => new ReadFragment(r, registers, element)));
    }

    /// <summary>Elements <paramref name="element"/> and the next as BF16, the first in the low half.</summary>
    public U32 Pack(int element)
    {
        FragmentRegisters registers = Registers;
        return new(_scope.Recorder, _scope.Recorder.Emit(ScalarType.U32, r => new PackFragment(r, registers, element)));
    }
}
