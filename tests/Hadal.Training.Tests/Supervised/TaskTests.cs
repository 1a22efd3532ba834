using System.Globalization;
using System.Text.RegularExpressions;
using Hadal.Training.Data;
using Hadal.Training.Supervised;

namespace Hadal.Training.Tests.Supervised;

/// <summary>Generated problems: their answers are right by another way of finding them, and the two sides of the split never meet.</summary>
public sealed partial class TaskTests
{
    const int Problems = 3000;

    public static TheoryData<string> Tasks() => [.. SupervisedTask.All.Select(t => t.Name)];

    static IEnumerable<TaskProblem> Draw(string task, ulong seed = 5) => Enumerable.Range(0, Problems).Select(i => SupervisedTask.Find(task).Draw(seed, i));

    static int[] Numbers(string text) => [.. Number().Matches(text).Select(m => int.Parse(m.Value, CultureInfo.InvariantCulture))];

    [GeneratedRegex("[0-9]+")]
    private static partial Regex Number();

    /// <summary>The answer by a way that shares nothing with the generator, or what makes it right.</summary>
    static bool Holds(string task, string question, string answer)
    {
        int[] given = Numbers(question);
        switch (task)
        {
            case "addition":
                return string.Equals(answer, (given[0] + given[1]).ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal);
            case "sorting":
                return Numbers(answer).SequenceEqual(given.Order());
            case "dates":
                string start = question[(question.IndexOf(" after ", StringComparison.Ordinal) + 7)..^1];
                DateTime date = DateTime.ParseExact(start + " 2023", "MMMM d yyyy", CultureInfo.InvariantCulture).AddDays(given[0]);
                return string.Equals(answer, date.ToString("MMMM d", CultureInfo.InvariantCulture), StringComparison.Ordinal);
            default:
                int target = Numbers(answer)[^1];
                using (var table = new System.Data.DataTable { Locale = CultureInfo.InvariantCulture })
                {
                    string left = answer[..answer.IndexOf('=', StringComparison.Ordinal)];
                    return given.Order().SequenceEqual(Numbers(left).Append(target).Order()) && Convert.ToInt32(table.Compute(left, ""), CultureInfo.InvariantCulture) == target && question.Contains($"ake {target}", StringComparison.Ordinal);
                }
        }
    }

    [Theory]
    [MemberData(nameof(Tasks))]
    public void Every_answer_holds_and_ends_its_trace(string task)
    {
        foreach (TaskProblem problem in Draw(task))
        {
            Assert.True(Holds(task, problem.Question, problem.Answer), $"{problem.Question} {problem.Answer}");
            Assert.True(problem.IsRight(problem.Answer), $"{problem.Question} {problem.Answer}");
            Assert.True(problem.IsRight($" {problem.Answer}\n"));
            Assert.False(problem.IsRight(problem.Answer + "0"), problem.Answer);
            Assert.False(problem.IsRight(""));
            int last = Numbers(problem.Answer)[^1];
            Assert.Equal(last, Numbers(problem.Trace)[^1]);
        }
    }

    [Theory]
    [MemberData(nameof(Tasks))]
    public void A_problem_is_a_function_of_seed_and_index(string task)
    {
        SupervisedTask kind = SupervisedTask.Find(task);
        Assert.Equal(kind.Draw(5, 17).Question, kind.Draw(5, 17).Question);
        Assert.Equal(Draw(task).Select(p => p.Question), Draw(task).Select(p => p.Question), StringComparer.Ordinal);
        Assert.NotEqual(Draw(task).Select(p => p.Question), Draw(task, 6).Select(p => p.Question), StringComparer.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Tasks))]
    public void What_is_held_out_is_in_no_training_of_any_seed(string task)
    {
        SupervisedTask kind = SupervisedTask.Find(task);
        HashSet<string> heldOut = [.. kind.HeldOut(PreparedRun.SplitSeed, 100).Select(p => p.Key)];
        Assert.Equal(100, heldOut.Count);
        int share = Draw(task).Count(SupervisedTask.IsHeldOut);
        Assert.InRange(share, Problems / SupervisedTask.HeldOutEvery / 2, Problems / SupervisedTask.HeldOutEvery * 2);
        foreach (ulong seed in (ulong[])[1, 2, PreparedRun.SplitSeed])
            for (int i = 0; i < Problems; i++)
                Assert.DoesNotContain(kind.Training(seed, i).Key, heldOut);
    }

    [Fact]
    public void The_same_problem_asked_otherwise_has_the_same_key()
    {
        foreach (string task in (string[])["addition", "sorting", "countdown"])
        {
            foreach (IGrouping<string, TaskProblem> same in Draw(task).GroupBy(p => p.Key, StringComparer.Ordinal))
            {
                Assert.Single(same.Select(p => string.Join(' ', Numbers(p.Question).Order())).Distinct(StringComparer.Ordinal));
                Assert.Single(same.Select(SupervisedTask.IsHeldOut).Distinct());
            }
        }
    }

    [Theory]
    [InlineData("(4+6)*2=20", true)]
    [InlineData("2 * (6 + 4)", true)]
    [InlineData("6*2+4*2=20", false)]
    [InlineData("4*6-2-2=20", false)]
    [InlineData("(4+6)*2=21", false)]
    [InlineData("(4+6)*2=20=20", false)]
    [InlineData("(4+6*2=20", false)]
    [InlineData("4+6)*2=20", false)]
    [InlineData("20", false)]
    [InlineData("4+6+10=20", false)]
    [InlineData("462=20", false)]
    [InlineData("99999999999999999999", false)]
    [InlineData("((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((", false)]
    public void An_expression_uses_each_number_once_and_comes_to_the_target(string answer, bool right)
    {
        var problem = new TaskProblem("countdown", "k", "Make 20 from 4, 6 and 2.", "", "(4+6)*2=20") { Numbers = [4, 6, 2], Target = 20 };
        Assert.Equal(right, problem.IsRight(answer));
    }
}
