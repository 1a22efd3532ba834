using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace Hadal.Tensors.Cpu;

/// <summary>The vector instructions the CPU operations run on. Every one gives the same bits; only the speed differs.</summary>
public enum InstructionSet
{
    /// <summary>One value at a time. Runs everywhere.</summary>
    Scalar,
    /// <summary>128-bit vectors with fused multiply-add (x86 FMA3, Arm AdvSimd).</summary>
    Vector128,
    /// <summary>256-bit vectors with fused multiply-add (x86 AVX2 and FMA3).</summary>
    Vector256,
    /// <summary>512-bit vectors (x86 AVX-512).</summary>
    Vector512,
}

/// <summary>Which <see cref="InstructionSet"/> values this machine runs, and how they are named in <c>HADAL_ISA</c>.</summary>
public static class InstructionSets
{
    /// <summary>The widest set this machine runs at full speed.</summary>
    public static InstructionSet Best =>
        IsAvailable(InstructionSet.Vector512) ? InstructionSet.Vector512
        : IsAvailable(InstructionSet.Vector256) ? InstructionSet.Vector256
        : IsAvailable(InstructionSet.Vector128) ? InstructionSet.Vector128
        : InstructionSet.Scalar;

    /// <summary>The sets this machine has, narrowest first.</summary>
    public static IReadOnlyList<InstructionSet> Available { get; } = Array.FindAll(Enum.GetValues<InstructionSet>(), IsAvailable);

    /// <summary>True when this machine has the instructions, fused multiply-add included.</summary>
    public static bool IsAvailable(InstructionSet set) => set switch
    {
        InstructionSet.Scalar => true,
        InstructionSet.Vector128 => Vector128.IsHardwareAccelerated && (Fma.IsSupported || AdvSimd.IsSupported),
        InstructionSet.Vector256 => Vector256.IsHardwareAccelerated && Fma.IsSupported,
        InstructionSet.Vector512 => Vector512.IsHardwareAccelerated && Avx512F.IsSupported && Avx512DQ.IsSupported,
        _ => false,
    };

    /// <summary>The short name: <c>scalar</c>, <c>128</c>, <c>256</c>, <c>512</c>.</summary>
    public static string Name(InstructionSet set) => set switch
    {
        InstructionSet.Scalar => "scalar",
        InstructionSet.Vector128 => "128",
        InstructionSet.Vector256 => "256",
        InstructionSet.Vector512 => "512",
        _ => throw new ArgumentOutOfRangeException(nameof(set), set, "Unknown instruction set."),
    };

    /// <summary>The set called <paramref name="name"/>.</summary>
    /// <exception cref="ArgumentException">No set has this name.</exception>
    /// <exception cref="NotSupportedException">The machine lacks it.</exception>
    public static InstructionSet Parse(string name)
    {
        foreach (InstructionSet set in Enum.GetValues<InstructionSet>())
        {
            if (!string.Equals(Name(set), name, StringComparison.OrdinalIgnoreCase)) continue;
            return Require(set);
        }

        throw new ArgumentException($"'{name}' is no instruction set; write one of scalar, 128, 256, 512 (this machine has {AvailableNames()}).", nameof(name));
    }

    /// <summary>Returns <paramref name="set"/> when the machine has it.</summary>
    /// <exception cref="NotSupportedException">The machine lacks it.</exception>
    public static InstructionSet Require(InstructionSet set) => IsAvailable(set)
        ? set
        : throw new NotSupportedException(
            $"The instruction set '{Name(set)}' was asked for, but this machine has only {AvailableNames()}. Choose one of these, or leave HADAL_ISA unset.");

    static string AvailableNames() => string.Join(", ", Available.Select(Name));
}
