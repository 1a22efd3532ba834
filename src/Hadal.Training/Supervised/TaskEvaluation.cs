using Hadal.Inference;
using Hadal.Inference.Serving;
using Hadal.Model;
using Hadal.Text;

namespace Hadal.Training.Supervised;

/// <summary>
/// Asks a model held-out problems, in both modes, through the engine that serves it, greedily: the likeliest token each time. An answer counts when it is exactly right and, in
/// the thinking mode, when its chain of thought ends.
/// </summary>
public static class TaskEvaluation
{
    /// <summary>Most tokens of an answer; every right answer is much shorter.</summary>
    public const int LongestAnswer = 64, LongestThought = 320;

    const int Together = 32;

    /// <summary>The held-out problems of tasks: the same for every seed.</summary>
    /// <param name="tasks">Names.</param>
    /// <param name="count">Of each task.</param>
    public static IReadOnlyList<TaskProblem> Problems(IEnumerable<string> tasks, int count) => [.. tasks.SelectMany(name => SupervisedTask.Find(name).HeldOut(Data.PreparedRun.SplitSeed, count))];

    /// <summary>Asks everything and counts.</summary>
    /// <param name="model">The weights; they are not changed, their packed copies are renewed, and no one else may run them meanwhile.</param>
    /// <param name="tokenizer">The model's.</param>
    /// <param name="problems">What is asked.</param>
    /// <param name="answered">Told each answer, from any thread; null for nobody.</param>
    /// <param name="cancel">Ends with an <see cref="OperationCanceledException"/>.</param>
    /// <returns>Both modes of each task, in the order of the problems.</returns>
    /// <exception cref="InvalidOperationException">The tokenizer lacks a control token of the chat template.</exception>
    public static IReadOnlyList<TaskScore> Score(Transformer model, Tokenizer tokenizer, IReadOnlyList<TaskProblem> problems, Action<TaskAnswer>? answered, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(problems);

        // An optimizer renews the packed weights of training; what an engine absorbed at an earlier evaluation is renewed here.
        model.Refresh();
        (TaskProblem Problem, bool Thinks)[] questions = [.. problems.SelectMany(p => new[] { (p, false), (p, true) })];
        (bool Right, int Tokens)[] results = Ask(model, tokenizer, questions, answered, cancel).GetAwaiter().GetResult();
        return [.. questions.Select((q, i) => (q.Problem.Task, q.Thinks, results[i].Right, results[i].Tokens)).GroupBy(r => (r.Task, r.Thinks))
            .Select(g => new TaskScore(g.Key.Task, g.Key.Thinks, g.Count(), g.Count(r => r.Right), g.Average(r => r.Tokens)))];
    }

    static async Task<(bool Right, int Tokens)[]> Ask(
        Transformer model, Tokenizer tokenizer, (TaskProblem Problem, bool Thinks)[] questions, Action<TaskAnswer>? answered, CancellationToken cancel)
    {
        if (questions.Length == 0) return [];
        int[][] prompts = [.. questions.Select(q => ChatSample.Prompt(tokenizer, [q.Problem], q.Thinks).ToArray())];
        int longest = Math.Min(model.Shape.MaxPositions, prompts.Max(p => p.Length) + LongestThought);
        var options = new EngineOptions
        {
            QueueLength = 2 * questions.Length, // all are one owner's, to whom a line never gives its last places
            MaxRunning = Together, PrefixCache = false, Speculate = false,
            Pages = 2 + (Together * ((longest / GenerationSession.PageLength) + 1)),
        };
        ServedModel served = EngineFactory.Describe("evaluated", model, tokenizer, [tokenizer.RequireId(SpecialTokens.EndOfSentence)]);
        var engine = new InferenceEngine(served, model, options);
        await using (engine.ConfigureAwait(false))
        {
            return await Task.WhenAll(questions.Select(async (question, i) =>
            {
                var request = new GenerationRequest
                {
                    Prompt = prompts[i], MaxNewTokens = question.Thinks ? LongestThought : LongestAnswer, Sampling = new SamplingParameters(0, 1, 0),
                };
                var said = new List<int>();
                await foreach (GenerationEvent happened in engine.GenerateAsync(request, cancel).ConfigureAwait(false))
                    if (happened is TokensGenerated generated) said.AddRange(generated.Tokens);
                bool right = ChatSample.AnswerOf(tokenizer, System.Runtime.InteropServices.CollectionsMarshal.AsSpan(said), question.Thinks) is string answer && question.Problem.IsRight(answer);
                answered?.Invoke(new TaskAnswer(question.Problem, question.Thinks, tokenizer.Decode([.. said], skipSpecial: false), right));
                return (right, said.Count);
            })).ConfigureAwait(false);
        }
    }
}
