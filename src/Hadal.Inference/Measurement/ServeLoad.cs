using System.Diagnostics;
using Hadal.Inference.Serving;
using Hadal.Numerics;

namespace Hadal.Inference.Measurement;

/// <summary>One request of a load.</summary>
/// <param name="Request">What to generate.</param>
/// <param name="At">When it is sent, from the beginning.</param>
public sealed record TimedRequest(GenerationRequest Request, TimeSpan At);

/// <summary>When the tokens of one request came, in seconds from the beginning of the load.</summary>
/// <param name="Sent">When it was sent.</param>
/// <param name="PromptTokens">Tokens of its prompt.</param>
/// <param name="Arrivals">Time of each event that brought tokens, and how many it brought.</param>
public sealed record StreamTimes(double Sent, int PromptTokens, IReadOnlyList<(double Seconds, int Tokens)> Arrivals)
{
    /// <summary>Generated tokens.</summary>
    public int Tokens => Arrivals.Sum(arrival => arrival.Tokens);

    /// <summary>Seconds from being sent to the first token; infinite when none came.</summary>
    public double FirstToken => Arrivals.Count == 0 ? double.PositiveInfinity : Arrivals[0].Seconds - Sent;

    /// <summary>Mean seconds of each further token; 0 when there was none.</summary>
    public double PerToken => Tokens > Arrivals[0].Tokens ? (Arrivals[^1].Seconds - Arrivals[0].Seconds) / (Tokens - Arrivals[0].Tokens) : 0;
}

/// <summary>What a load of requests met.</summary>
/// <param name="Streams">Every request, in the order of sending.</param>
public sealed record LoadMeasurement(IReadOnlyList<StreamTimes> Streams)
{
    /// <summary>All prompt tokens over the time until the last first token: of a load whose requests are all sent at once.</summary>
    public double PromptTokensPerSecond => Streams.Sum(s => s.PromptTokens) / Streams.Max(s => s.Sent + s.FirstToken);

    /// <summary>
    /// Tokens of all streams together a second, from the last first token to the first end of a text: while all of them are written. Where texts end before that, over the whole time.
    /// </summary>
    public double DecodeTokensPerSecond
    {
        get
        {
            double from = Streams.Max(s => s.Sent + s.FirstToken), to = Streams.Min(s => s.Arrivals[^1].Seconds);
            if (to <= from) (from, to) = (Streams.Min(s => s.Sent + s.FirstToken), Streams.Max(s => s.Arrivals[^1].Seconds));
            return Streams.Sum(s => s.Arrivals.Where(a => a.Seconds > from && a.Seconds <= to).Sum(a => a.Tokens)) / (to - from);
        }
    }

    /// <summary>Median seconds to the first token.</summary>
    public double FirstToken => Median(s => s.FirstToken);

    /// <summary>Median seconds of each further token.</summary>
    public double PerToken => Median(s => s.PerToken);

    /// <summary>Share of requests whose first token came within one goal and whose further tokens came, on average, within the other.</summary>
    public double Within(TimeSpan firstToken, TimeSpan perToken) =>
        Streams.Count(s => s.FirstToken <= firstToken.TotalSeconds && s.PerToken <= perToken.TotalSeconds) / (double)Streams.Count;

    double Median(Func<StreamTimes, double> of) => Streams.Select(of).Order().ElementAt(Streams.Count / 2);
}

/// <summary>Sends requests to an engine and notes when tokens come.</summary>
public static class ServeLoad
{
    /// <summary>Requests with random prompts that differ in every block, so that no cache helps while each seed is used once: greedy, of one length, going on over end tokens.</summary>
    /// <param name="count">Requests.</param>
    /// <param name="promptTokens">Tokens of each prompt.</param>
    /// <param name="tokens">Tokens to generate for each.</param>
    /// <param name="vocabulary">Ids are drawn below it.</param>
    /// <param name="seed">Of the draws.</param>
    public static IReadOnlyList<GenerationRequest> Requests(int count, int promptTokens, int tokens, int vocabulary, ulong seed)
    {
        var requests = new GenerationRequest[count];
        for (int n = 0; n < count; n++)
        {
            var random = new CounterRandom(seed, RandomPurpose.TestData, (uint)n);
            var prompt = new int[promptTokens];
            for (int i = 0; i < prompt.Length; i++) prompt[i] = random.Below((ulong)i, vocabulary);
            requests[n] = new GenerationRequest { Prompt = prompt, MaxNewTokens = tokens, Sampling = SamplingParameters.Greedy, IgnoreEndTokens = true, Owner = $"bench{n}" };
        }

        return requests;
    }

    /// <summary>
    /// Two kinds of people: readers, with long prompts and short answers, and writers, with short prompts and long answers, coming at random moments with a given mean pause.
    /// Prompts are drawn from the seeds after <paramref name="seed"/>, one each: loads whose seeds are more than <paramref name="count"/> apart share none.
    /// </summary>
    /// <param name="count">Requests; every third is a reader's.</param>
    /// <param name="meanPause">Mean time between two of them (exponential).</param>
    /// <param name="reader">Prompt and answer of readers.</param>
    /// <param name="writer">Prompt and answer of writers.</param>
    /// <param name="vocabulary">Ids are drawn below it.</param>
    /// <param name="seed">Of the draws.</param>
    public static IReadOnlyList<TimedRequest> Mixed(int count, TimeSpan meanPause, (int Prompt, int Answer) reader, (int Prompt, int Answer) writer, int vocabulary, ulong seed)
    {
        var random = new CounterRandom(seed, RandomPurpose.Simulation);
        double at = 0;
        var requests = new TimedRequest[count];
        for (int n = 0; n < count; n++)
        {
            (int prompt, int answer) = n % 3 == 0 ? reader : writer;
            GenerationRequest request = Requests(1, prompt, answer, vocabulary, seed + 1 + (ulong)n)[0] with { Owner = $"bench{n}" };
            requests[n] = new TimedRequest(request, TimeSpan.FromSeconds(at));
            at -= meanPause.TotalSeconds * Math.Log(1 - random.Uniform((ulong)n));
        }

        return requests;
    }

    /// <summary>Runs a load whose requests are all sent at once.</summary>
    public static Task<LoadMeasurement> RunAsync(IInferenceEngine engine, IReadOnlyList<GenerationRequest> requests, CancellationToken cancellationToken = default) =>
        RunAsync(engine, [.. requests.Select(request => new TimedRequest(request, TimeSpan.Zero))], cancellationToken);

    /// <summary>Runs a load.</summary>
    /// <exception cref="InvalidOperationException">A request ended without its tokens.</exception>
    public static async Task<LoadMeasurement> RunAsync(IInferenceEngine engine, IReadOnlyList<TimedRequest> requests, CancellationToken cancellationToken = default)
    {
        long begun = Stopwatch.GetTimestamp();
        return new LoadMeasurement(await Task.WhenAll(requests.Select(request => Task.Run(() => OneAsync(engine, request, begun, cancellationToken), cancellationToken))).ConfigureAwait(false));
    }

    static async Task<StreamTimes> OneAsync(IInferenceEngine engine, TimedRequest timed, long begun, CancellationToken cancellationToken)
    {
        TimeSpan pause = timed.At - Stopwatch.GetElapsedTime(begun);
        if (pause > TimeSpan.Zero) await Task.Delay(pause, cancellationToken).ConfigureAwait(false);
        double sent = Stopwatch.GetElapsedTime(begun).TotalSeconds;
        var arrivals = new List<(double, int)>();
        FinishReason? reason = null;
        await foreach (GenerationEvent happened in engine.GenerateAsync(timed.Request, cancellationToken).ConfigureAwait(false))
        {
            if (happened is TokensGenerated { Tokens.Count: > 0 } generated) arrivals.Add((Stopwatch.GetElapsedTime(begun).TotalSeconds, generated.Tokens.Count));
            if (happened is RequestFinished finished) reason = finished.Reason;
        }

        if (arrivals.Count == 0 || reason is not (FinishReason.Length or FinishReason.Stop)) throw new InvalidOperationException($"A request of the load ended with {reason} after {arrivals.Count} events.");
        return new StreamTimes(sent, timed.Request.Prompt.Length, arrivals);
    }
}
