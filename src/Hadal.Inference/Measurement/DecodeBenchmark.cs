using System.Diagnostics;
using Hadal.Model;
using Hadal.Numerics;
using Hadal.Tensors.Measurement;

namespace Hadal.Inference.Measurement;

/// <summary>What <see cref="DecodeBenchmark"/> found.</summary>
/// <param name="PromptTokens">Tokens of the prompt.</param>
/// <param name="PromptSeconds">Seconds to read the prompt, warm.</param>
/// <param name="TokenSeconds">Seconds of each decoded token, in order.</param>
/// <param name="AllocatedBytes">Managed bytes the calling thread allocated for all decoded tokens together.</param>
/// <param name="Operations">Where the time of the decoded tokens goes; empty without a profile.</param>
public sealed record DecodeMeasurement(
    int PromptTokens, double PromptSeconds, IReadOnlyList<double> TokenSeconds, long AllocatedBytes, IReadOnlyList<OperationTime> Operations)
{
    /// <summary>Median seconds of a token.</summary>
    public double MedianSeconds => TokenSeconds.Order().ElementAt(TokenSeconds.Count / 2);

    /// <summary>Decoded tokens per second, by the median token.</summary>
    public double TokensPerSecond => 1 / MedianSeconds;

    /// <summary>Prompt tokens per second.</summary>
    public double PromptTokensPerSecond => PromptTokens / PromptSeconds;
}

/// <summary>Times one conversation token by token: a random prompt, then decoding with the most likely token.</summary>
public static class DecodeBenchmark
{
    /// <summary>Measures. The prompt and the first tokens run once before, to warm up.</summary>
    /// <param name="model">The model.</param>
    /// <param name="promptTokens">Tokens of the prompt; at least 1.</param>
    /// <param name="tokens">Tokens to decode; at least 1.</param>
    /// <param name="profile">The profile of the model's backend, when that is a <see cref="TimedBackend"/>.</param>
    /// <param name="cancel">Ends with an <see cref="OperationCanceledException"/> between two tokens.</param>
    public static DecodeMeasurement Measure(Transformer model, int promptTokens, int tokens, OperationProfile? profile = null, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentOutOfRangeException.ThrowIfLessThan(promptTokens, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(tokens, 1);
        using var session = new GenerationSession(model, promptTokens + tokens);
        var prompt = new int[promptTokens];
        var random = new CounterRandom(1, RandomPurpose.TestData);
        for (int i = 0; i < prompt.Length; i++) prompt[i] = random.Below((ulong)i, model.Shape.Vocabulary);
        session.Append(prompt);
        for (int i = 0; i < Math.Min(tokens, 64); i++) Next(session);
        session.Truncate(0);

        long start = Stopwatch.GetTimestamp();
        session.Append(prompt);
        double promptSeconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        profile?.Clear();
        var seconds = new double[tokens];
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < tokens; i++)
        {
            cancel.ThrowIfCancellationRequested();
            start = Stopwatch.GetTimestamp();
            Next(session);
            seconds[i] = Stopwatch.GetElapsedTime(start).TotalSeconds;
        }

        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        return new DecodeMeasurement(promptTokens, promptSeconds, seconds, allocated, profile?.Times ?? []);
    }

    static void Next(GenerationSession session)
    {
        int best = 0;
        ReadOnlySpan<float> logits = session.Logits;
        for (int v = 1; v < logits.Length; v++)
            if (logits[v] > logits[best]) best = v;
        session.Append([best]);
    }
}
