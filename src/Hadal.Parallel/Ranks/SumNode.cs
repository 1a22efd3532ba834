using System.Numerics;

namespace Hadal.Parallel.Ranks;

/// <summary>
/// An aligned subtree of the fixed binary tree over micro-batches: leaves Index·2^Level to (Index + 1)·2^Level. A subtree without leaves adds nothing, so the
/// value of a node is its left child's, or left plus right. Ranks finish the subtrees whose leaves are all theirs and hand on their sums.
/// </summary>
/// <param name="Level">Height.</param>
/// <param name="Index">Place among the nodes of its level.</param>
public readonly record struct SumNode(int Level, int Index)
{
    /// <summary>First leaf.</summary>
    public long First => (long)Index << Level;

    /// <summary>The other child of the parent.</summary>
    public SumNode Sibling => new(Level, Index ^ 1);

    /// <summary>The parent.</summary>
    public SumNode Parent => new(Level + 1, Index >> 1);

    /// <summary>True when there is no leaf below it.</summary>
    public bool IsEmpty(int leaves) => First >= leaves;

    /// <summary>The node of all leaves.</summary>
    public static SumNode Root(int leaves) => new(leaves <= 1 ? 0 : 32 - BitOperations.LeadingZeroCount((uint)leaves - 1), 0);

    /// <summary>The largest subtrees that hold no leaf but given ones, ascending.</summary>
    /// <param name="leaves">Leaves of the tree.</param>
    /// <param name="has">Whether a leaf is given.</param>
    public static IReadOnlyList<SumNode> Finished(int leaves, Func<int, bool> has)
    {
        var found = new List<SumNode>();
        if (leaves > 0) Visit(Root(leaves));
        return found;

        // True when all leaves below are given; then nothing below was added to the list.
        bool Visit(SumNode node)
        {
            if (node.IsEmpty(leaves)) return true;
            if (node.Level == 0)
            {
                if (!has(node.Index)) return false;
                if (node == Root(leaves)) found.Add(node);
                return true;
            }

            var left = new SumNode(node.Level - 1, 2 * node.Index);
            int before = found.Count;
            bool lefts = Visit(left), rights = Visit(left.Sibling);
            if (lefts && rights)
            {
                if (node == Root(leaves)) found.Add(node);
                return true;
            }

            if (lefts) found.Insert(before, left);
            if (rights && !left.Sibling.IsEmpty(leaves)) found.Add(left.Sibling);
            return false;
        }
    }

    /// <summary>The additions that make the sum of everything from the sums of subtrees.</summary>
    /// <param name="leaves">Leaves of the tree.</param>
    /// <param name="nodes">Subtrees that together have every leaf once.</param>
    /// <param name="add">Is told to add the second to the first, by their places in <paramref name="nodes"/>.</param>
    /// <returns>Which of the nodes holds the sum in the end.</returns>
    /// <exception cref="ArgumentException">A leaf is missing or there twice.</exception>
    public static int Join(int leaves, IReadOnlyList<SumNode> nodes, Action<int, int> add)
    {
        var places = new Dictionary<SumNode, int>();
        for (int i = 0; i < nodes.Count; i++)
            if (!places.TryAdd(nodes[i], i)) throw new ArgumentException($"The subtree {nodes[i]} was given twice.", nameof(nodes));
        int used = 0, result = Visit(Root(leaves));
        if (used != nodes.Count) throw new ArgumentException($"{nodes.Count} subtrees were given and {used} are needed: leaves are there twice.", nameof(nodes));
        return result;

        int Visit(SumNode node)
        {
            if (places.TryGetValue(node, out int place))
            {
                used++;
                return place;
            }

            if (node.Level == 0) throw new ArgumentException($"No subtree has leaf {node.Index}.", nameof(nodes));
            var left = new SumNode(node.Level - 1, 2 * node.Index);
            int first = Visit(left);
            if (!left.Sibling.IsEmpty(leaves)) add(first, Visit(left.Sibling));
            return first;
        }
    }
}
