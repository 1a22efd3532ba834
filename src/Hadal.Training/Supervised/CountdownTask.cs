using Hadal.Numerics;

namespace Hadal.Training.Supervised;

/// <summary>
/// Three numbers from 1 to 9, each to be used once with + − × and parentheses, and a target from 1 to 99. The trace joins two of them in a fixed order of pairs and operations, looks
/// what the third makes of each result, and stops where the target appears. Any answer that holds is right.
/// </summary>
sealed class CountdownTask : SupervisedTask
{
    const int Limit = 9, LargestTarget = 99;

    static readonly (int First, int Second, int Third)[] Pairs = [(0, 1, 2), (0, 2, 1), (1, 2, 0)];

    static readonly char[] Operations = ['+', '*', '-'];

    public override string Name => "countdown";

    public override string Description => "an expression that uses three numbers from 1 to 9 once each and comes to a target from 1 to 99";

    private protected override TaskProblem Draw(CounterRandom random, ulong at)
    {
        int[] n = [1 + random.Below(at, Limit), 1 + random.Below(at + 1, Limit), 1 + random.Below(at + 2, Limit)];

        // A target that can be reached: the first of a few random ways that ends in range; three sums always do.
        int target = n[0] + n[1] + n[2];
        for (ulong draw = at + 4; draw < at + Draws; draw += 3)
        {
            (int first, int second, int third) = Pairs[random.Below(draw, Pairs.Length)];
            int joined = Apply(Operations[random.Below(draw + 1, 3)], n[first], n[second]), reached = Apply(Operations[random.Below(draw + 2, 3)], joined, n[third]);
            if (reached is < 1 or > LargestTarget) continue;
            target = reached;
            break;
        }

        (string trace, string answer) = Search(n, target);
        string question = random.Below(at + 3, 2) == 0 ? Text($"Make {target} from {n[0]}, {n[1]} and {n[2]}.") : Text($"Use {n[0]}, {n[1]} and {n[2]} to make {target}.");
        int[] sorted = [.. n.Order()];
        return new TaskProblem(Name, Text($"countdown {sorted[0]} {sorted[1]} {sorted[2]} {target}"), question, trace, answer) { Numbers = n, Target = target };
    }

    static (string Trace, string Answer) Search(int[] n, int target)
    {
        string trace = "";
        foreach ((int first, int second, int third) in Pairs)
        {
            foreach (char operation in Operations)
            {
                int joined = Apply(operation, n[first], n[second]), other = n[third];
                string way = operation == '-' && n[second] > n[first] ? Text($"{n[second]}-{n[first]}") : Text($"{n[first]}{operation}{n[second]}");
                int sum = joined + other, product = joined * other, difference = Math.Abs(joined - other);
                trace += Text($"{way}={joined}, with {other}: {sum} {product} {difference}\n");
                if (sum == target) return (trace + Text($"{joined}+{other}={target}"), Text($"({way})+{other}={target}"));
                if (product == target) return (trace + Text($"{joined}*{other}={target}"), Text($"({way})*{other}={target}"));
                if (difference != target) continue;
                return joined >= other ? (trace + Text($"{joined}-{other}={target}"), Text($"({way})-{other}={target}")) : (trace + Text($"{other}-{joined}={target}"), Text($"{other}-({way})={target}"));
            }
        }

        throw new InvalidOperationException(Text($"{target} cannot be made of {n[0]}, {n[1]}, {n[2]}."));
    }

    static int Apply(char operation, int a, int b) => operation switch { '+' => a + b, '*' => a * b, _ => Math.Abs(a - b) };
}
