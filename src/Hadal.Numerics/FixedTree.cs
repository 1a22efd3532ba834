using System.Numerics;

namespace Hadal.Numerics;

/// <summary>
/// Sums along one fixed binary tree: the sum of n terms is the sum of the first p and of the rest, p the largest power of two below n. Subtrees that begin at multiples
/// of their (power-of-two) length can be computed anywhere, by any thread or rank, and joined with the same bits.
/// </summary>
public static class FixedTree
{
    /// <summary>The sum of a span along the tree, every addition rounded to T. An empty span gives zero.</summary>
    public static T Sum<T>(ReadOnlySpan<T> terms) where T : struct, IFloatingPointIeee754<T>
    {
        if (terms.Length <= 1) return terms.IsEmpty ? T.Zero : terms[0];
        // Walk the leaves in order and join finished subtrees of equal size, as a binary counter carries: no recursion, 32 partial sums at most.
        Partials<T> partials = default;
        int depth = 0;
        for (int i = 0; i < terms.Length; i++)
        {
            T sum = terms[i];
            for (int joins = JoinsAfter(i); joins > 0; joins--) sum = partials[--depth] + sum;
            partials[depth++] = sum;
        }
        T total = partials[--depth];
        while (depth > 0) total = partials[--depth] + total;
        return total;
    }

    /// <summary>
    /// How many joins of two equal subtrees follow the leaf with this index (from 0) when leaves arrive in order: the number of trailing ones of the index. After leaf i,
    /// push it on a stack and that many times replace the top two entries (a, b) by a + b; after the last leaf join what is left from the top down.
    /// </summary>
    public static int JoinsAfter(long leaf) => BitOperations.TrailingZeroCount(~leaf);

    /// <summary>Length of the left part of a tree over <paramref name="count"/> ≥ 2 terms: the largest power of two below it.</summary>
    public static long LeftLength(long count)
    {
        if (count < 2) throw new ArgumentOutOfRangeException(nameof(count), count, "Only a tree of two or more terms has a left part.");
        return 1L << BitOperations.Log2((ulong)(count - 1));
    }

    [System.Runtime.CompilerServices.InlineArray(32)]
    struct Partials<T>
    {
        T _first;
    }
}
