using Hadal.Numerics;

namespace Hadal.Training.Supervised;

/// <summary>Sums of two numbers below 100, digit by digit in the trace. a + b and b + a are one problem.</summary>
sealed class AdditionTask : SupervisedTask
{
    const int Limit = 100;

    public override string Name => "addition";

    public override string Description => "the sum of two numbers from 0 to 99";

    private protected override TaskProblem Draw(CounterRandom random, ulong at)
    {
        int a = random.Below(at, Limit), b = random.Below(at + 1, Limit), sum = a + b;
        string question = random.Below(at + 2, 3) switch { 0 => Text($"What is {a} + {b}?"), 1 => Text($"{a} + {b} ="), _ => Text($"Add {a} and {b}.") };
        int ones = (a % 10) + (b % 10), carry = ones / 10, tens = (a / 10) + (b / 10) + carry;
        string trace = Text($"Ones: {a % 10}+{b % 10}={ones}. Tens: {a / 10}+{b / 10}+{carry}={tens}. So {sum}.");
        return new TaskProblem(Name, Text($"addition {Math.Min(a, b)} {Math.Max(a, b)}"), question, trace, Text($"{sum}"));
    }
}
