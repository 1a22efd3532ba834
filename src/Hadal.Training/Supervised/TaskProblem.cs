namespace Hadal.Training.Supervised;

/// <summary>A question with an exact answer.</summary>
/// <param name="Task">Name of the task it belongs to.</param>
/// <param name="Key">What makes two problems the same problem, however they are asked; decides whether it is held out.</param>
/// <param name="Question">What the person says.</param>
/// <param name="Trace">The way to the answer, step by step.</param>
/// <param name="Answer">A right answer, in the form that is learned.</param>
public sealed record TaskProblem(string Task, string Key, string Question, string Trace, string Answer)
{
    /// <summary>The numbers that the answer must use, each once, and what it must come to; empty when only <see cref="Answer"/> itself is right.</summary>
    public IReadOnlyList<int> Numbers { get; init; } = [];

    /// <summary>What an expression over <see cref="Numbers"/> must come to.</summary>
    public int Target { get; init; }

    /// <summary>Whether a text answers the question.</summary>
    public bool IsRight(string answer)
    {
        ArgumentNullException.ThrowIfNull(answer);
        string text = answer.Trim();
        return Numbers.Count == 0 ? string.Equals(text, Answer, StringComparison.Ordinal) : Expression.Reaches(text, Numbers, Target);
    }
}
