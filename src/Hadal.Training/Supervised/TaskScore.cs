namespace Hadal.Training.Supervised;

/// <summary>How often a model was right on held-out problems of a task, in one mode.</summary>
/// <param name="Task">Name of the task.</param>
/// <param name="Thinks">With a chain of thought, or directly.</param>
/// <param name="Problems">Problems asked.</param>
/// <param name="Right">Answers that were right.</param>
/// <param name="MeanTokens">Tokens of an answer on average, chain of thought and end included.</param>
public sealed record TaskScore(string Task, bool Thinks, int Problems, int Right, double MeanTokens)
{
    /// <summary>Share of right answers, 0 to 1.</summary>
    public double Accuracy => Problems == 0 ? double.NaN : (double)Right / Problems;
}

/// <summary>What a model said to one problem.</summary>
/// <param name="Problem">The problem.</param>
/// <param name="Thinks">The mode.</param>
/// <param name="Said">Its whole text, chain of thought included.</param>
/// <param name="IsRight">Whether its answer was right.</param>
public sealed record TaskAnswer(TaskProblem Problem, bool Thinks, string Said, bool IsRight);
