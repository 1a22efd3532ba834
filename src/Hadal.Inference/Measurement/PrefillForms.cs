using System.Diagnostics;
using Hadal.Model;
using Hadal.Numerics;

namespace Hadal.Inference.Measurement;

/// <summary>
/// What one form of attention for both phases costs: a prompt read in the absorbed form, which decoding uses and so serving too, against the expanded form of training. The expanded form needs fewer
/// multiplications for long prompts, but its logits differ in their last bits, and then a text would depend on how its prompt was cut.
/// </summary>
public static class PrefillForms
{
    /// <summary>Median seconds to read a random prompt in both forms, warm, the head left out of the expanded one.</summary>
    /// <param name="model">The model.</param>
    /// <param name="promptTokens">At least 1, at most its positions.</param>
    /// <param name="rounds">At least 1.</param>
    public static (double Absorbed, double Expanded) Measure(Transformer model, int promptTokens, int rounds)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentOutOfRangeException.ThrowIfLessThan(promptTokens, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(rounds, 1);
        var prompt = new int[promptTokens];
        var random = new CounterRandom(2, RandomPurpose.TestData);
        for (int i = 0; i < prompt.Length; i++) prompt[i] = random.Below((ulong)i, model.Shape.Vocabulary);
        using var session = new GenerationSession(model, promptTokens);
        using var chunk = new SequenceChunk(model, 1, promptTokens, training: false);
        chunk.SetTokens(prompt, promptTokens);
        var absorbed = new List<double>();
        var expanded = new List<double>();
        for (int round = -1; round < rounds; round++)
        {
            long start = Stopwatch.GetTimestamp();
            session.Truncate(0);
            session.Append(prompt);
            double first = Stopwatch.GetElapsedTime(start).TotalSeconds;
            start = Stopwatch.GetTimestamp();
            chunk.ForwardHidden();
            model.Backend.Synchronize();
            double second = Stopwatch.GetElapsedTime(start).TotalSeconds;
            if (round < 0) continue;
            absorbed.Add(first);
            expanded.Add(second);
        }

        return (Median(absorbed), Median(expanded));
    }

    static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);
}
