using Hadal.Numerics;

namespace Hadal.Training.Supervised;

/// <summary>The date 1 to 28 days after a day of a common year.</summary>
sealed class DatesTask : SupervisedTask
{
    const int MostDays = 28;

    static readonly string[] Months = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];

    static readonly int[] Days = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

    public override string Name => "dates";

    public override string Description => "the date 1 to 28 days after a day of a year of 365 days";

    private protected override TaskProblem Draw(CounterRandom random, ulong at)
    {
        int month = random.Below(at, 12), days = Days[month], day = 1 + random.Below(at + 1, days), after = 1 + random.Below(at + 2, MostDays), sum = day + after;
        bool next = sum > days;
        string start = Text($"{Months[month]} {day}"), plural = after == 1 ? "day" : "days", answer = Text($"{Months[(month + (next ? 1 : 0)) % 12]} {(next ? sum - days : sum)}");
        string question = random.Below(at + 3, 2) == 0 ? Text($"What date is {after} {plural} after {start}?") : Text($"Which day comes {after} {plural} after {start}?");
        string trace = Text($"{Months[month]} has {days} days. {day}+{after}={sum}. ") + (next ? Text($"{sum}-{days}={sum - days}. So {answer}.") : Text($"That is in {Months[month]}. So {answer}."));
        return new TaskProblem(Name, Text($"dates {month + 1} {day} {after}"), question, trace, answer);
    }
}
