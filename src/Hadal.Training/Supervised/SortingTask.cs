using Hadal.Numerics;

namespace Hadal.Training.Supervised;

/// <summary>Three to five different numbers below 100 in ascending order; the trace takes the smallest again and again. Any order of the same numbers is one problem.</summary>
sealed class SortingTask : SupervisedTask
{
    const int Limit = 100, Least = 3, Most = 5;

    public override string Name => "sorting";

    public override string Description => "three to five numbers from 0 to 99 in ascending order";

    private protected override TaskProblem Draw(CounterRandom random, ulong at)
    {
        int count = Least + random.Below(at, Most - Least + 1);
        var numbers = new List<int>(count);
        for (ulong draw = at + 2; numbers.Count < count; draw++)
        {
            int number = random.Below(draw, Limit);
            if (!numbers.Contains(number)) numbers.Add(number);
        }

        int[] sorted = [.. numbers.Order()];
        var left = new List<int>(numbers);
        string trace = "";
        foreach (int smallest in sorted[..^1])
        {
            trace += Text($"Of {Join(left, " ")} take {smallest}. ");
            left.Remove(smallest);
        }

        trace += Text($"{sorted[^1]} is left.");
        string question = random.Below(at + 1, 2) == 0 ? Text($"Sort {Join(numbers, ", ")}.") : Text($"Put these in order: {Join(numbers, ", ")}");
        return new TaskProblem(Name, "sorting " + Join(sorted, " "), question, trace, Join(sorted, ", "));
    }

    static string Join(IEnumerable<int> numbers, string between) => string.Join(between, numbers.Select(n => Text($"{n}")));
}
