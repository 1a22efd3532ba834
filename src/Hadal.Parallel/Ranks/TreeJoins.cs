using System.Numerics;

namespace Hadal.Parallel.Ranks;

/// <summary>
/// The order in which runs of leaves are added along the fixed binary tree (docs/architecture.md §8): two neighbours join in the smallest subtree that holds
/// both, deeper subtrees first; a subtree without leaves adds nothing. Whoever has only some of the leaves joins those whose subtree lies inside the range
/// that is his alone, and hands on the sums that remain: whoever has the rest arrives at the same additions.
/// </summary>
static class TreeJoins
{
    /// <summary>A boundary that is not joined.</summary>
    public const int Never = int.MaxValue;

    /// <summary>Height of the smallest subtree that holds two leaves, when it lies inside the range; otherwise a number above all heights.</summary>
    public static int Height(int last, int next, long low, long high)
    {
        int height = 32 - BitOperations.LeadingZeroCount((uint)(last ^ next));
        long start = ((long)last >> height) << height;
        return start >= low && start + (1L << height) <= high ? height : Never;
    }

    /// <summary>
    /// Plans the additions of runs in ascending order. After run k is put on a stack, the two topmost sums are added joins[k] times.
    /// </summary>
    /// <param name="first">First leaf of each run.</param>
    /// <param name="last">Last leaf of each run.</param>
    /// <param name="low">First leaf of the range in which subtrees may be joined.</param>
    /// <param name="high">Leaf after it.</param>
    /// <param name="joins">Receives the number of additions after each run.</param>
    /// <returns>Sums that remain, from the earliest to the latest.</returns>
    public static int Plan(ReadOnlySpan<int> first, ReadOnlySpan<int> last, long low, long high, Span<int> joins)
    {
        int depth = 0;
        Span<int> heights = stackalloc int[first.Length];
        for (int k = 0; k < first.Length; k++)
        {
            int height = k + 1 < first.Length ? Height(last[k], first[k + 1], low, high) : Never;
            joins[k] = 0;
            for (depth++; depth > 1 && heights[depth - 2] < height; depth--) joins[k]++;
            heights[depth - 1] = height;
        }

        return depth;
    }

    /// <summary>
    /// Parts a run of leaves into the subtrees that a rank which owns exactly this run can finish: the fewest aligned ones, ascending.
    /// </summary>
    public static IEnumerable<(int First, int Count)> Subtrees(int first, int end)
    {
        while (first < end)
        {
            int size = first == 0 ? 1 << 30 : first & -first;
            while (size > end - first) size /= 2;
            yield return (first, size);
            first += size;
        }
    }
}
