using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Quantize;

/// <summary>Where a quantising kernel finds its number of rows.</summary>
public enum RowCount
{
    /// <summary>In its word <c>rows</c>.</summary>
    Argument,

    /// <summary>
    /// In device memory, at its pointer <c>rows</c>: routed tokens, whose number the host does not know. The launch covers the worst case; blocks beyond the rows do
    /// nothing.
    /// </summary>
    Device,
}

/// <summary>What the quantising kernels share.</summary>
static class QuantizeShape
{
    /// <summary>Declares the number of rows and reads it.</summary>
    public static U32 Rows(KernelScope kernel, RowCount count) =>
        count == RowCount.Argument ? kernel.Word("rows") : kernel.Load<U32>(kernel.Pointer("rows", ElementType.F32), 0, CacheHint.ReadOnly);

    /// <summary>What the kernel's name says of it.</summary>
    public static string Suffix(RowCount count) => count == RowCount.Argument ? "" : "_counted";

    public static void CheckColumns(int columns)
    {
        if (columns < 16 || columns % 16 != 0)
            throw new ArgumentException($"{columns} columns: rows are read in 16-byte pieces and multiplied along them, so a positive multiple of 16; pad with zeros.", nameof(columns));
        if (columns > 1 << 28) throw new ArgumentException($"{columns} columns: at most 2^28.", nameof(columns));
    }

    public static int CheckBlocks(long blocks) => blocks is >= 1 and <= int.MaxValue
        ? (int)blocks
        : throw new ArgumentException($"The matrix needs {blocks} blocks; a launch has 1 to 2^31 − 1: launch nothing for an empty matrix, quantise a larger one in parts.");

    /// <summary>Sets words to zero in lanes outside.</summary>
    public static void ZeroUnless(ThreadScope scope, Predicate? inside, U32[] words)
    {
        if (inside is not { } p) return;
        for (int i = 0; i < words.Length; i++) words[i] = p.Select(words[i], scope.Constant(0));
    }

    /// <summary>The bits of the largest magnitude of pairs of BF16.</summary>
    public static U32 LargestBF16(ReadOnlySpan<U32> words)
    {
        U32 low = words[0] << 16, high = words[0] & 0x7FFF0000;
        low &= 0x7FFFFFFF;
        foreach (U32 word in words[1..])
        {
            low = low.Maximum((word << 16) & 0x7FFFFFFF);
            high = high.Maximum(word & 0x7FFF0000);
        }

        return low.Maximum(high);
    }

    /// <summary>Pairs of BF16 as E4M3 codes: two words become one.</summary>
    public static U32[] CodesOfBF16(ThreadScope scope, TileDivider divider, ReadOnlySpan<U32> words)
    {
        var codes = new U32[words.Length / 2];
        for (int i = 0; i < codes.Length; i++)
        {
            U32 first = words[2 * i], second = words[2 * i + 1];
            codes[i] = divider.Codes(scope.LowBF16(first), scope.HighBF16(first), scope.LowBF16(second), scope.HighBF16(second));
        }

        return codes;
    }
}
