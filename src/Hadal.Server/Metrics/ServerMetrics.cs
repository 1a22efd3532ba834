using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Globalization;
using Hadal.Inference.Serving;
using Hadal.Server.Api;

namespace Hadal.Server.Metrics;

/// <summary>What the server measures, under the name <c>Hadal.Server</c>, for OpenTelemetry: the engines' own counts, and times as clients feel them.</summary>
sealed class ServerMetrics : IDisposable
{
    /// <summary>Name of the meter and of the source of traces.</summary>
    public const string Name = "Hadal.Server";

    static readonly double[] FirstTokenBounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
    static readonly double[] TokenBounds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];
    readonly Meter _meter = new(Name);
    readonly ActivitySource _source = new(Name);
    readonly Histogram<double> _firstToken, _perToken, _request;
    readonly Counter<long> _requests;
    readonly IReadOnlyList<ModelEntry> _entries;

    public ServerMetrics(ModelCatalogue catalogue)
    {
        _entries = [.. catalogue.Entries.DistinctBy(entry => entry.Engine)];
        _firstToken = Histogram("hadal.time_to_first_token", "From a request's arrival to its first token.", FirstTokenBounds);
        _perToken = Histogram("hadal.time_per_token", "Between tokens after the first, averaged over a request.", TokenBounds);
        _request = Histogram("hadal.request_duration", "From a request's arrival to its last token.", FirstTokenBounds);
        _requests = _meter.CreateCounter<long>("hadal.requests", description: "Requests by how they ended.");
        Gauge("hadal.queue.requests", "Requests that wait.", statistics => statistics.Queued);
        Gauge("hadal.batch.requests", "Requests being generated.", statistics => statistics.Running);
        Gauge("hadal.cache.pages", "Pages of the cache.", statistics => statistics.Pages);
        Gauge("hadal.cache.pages_in_use", "Pages of running requests.", statistics => statistics.PagesInUse);
        Gauge("hadal.cache.pages_cached", "Pages that hold only a cached prefix.", statistics => statistics.PagesCached);
        Gauge("hadal.cache.pages_on_disk", "Pages of cached prefixes in the cache folder.", statistics => statistics.PagesOnDisk);
        Count("hadal.prompt.tokens", "Prompt tokens, those from the cache included.", statistics => statistics.PromptTokens);
        Count("hadal.prompt.cached_tokens", "Prompt tokens found in the cache.", statistics => statistics.CachedTokens);
        Count("hadal.generated.tokens", "Generated tokens.", statistics => statistics.GeneratedTokens);
        Count("hadal.speculation.drafted_tokens", "Tokens proposed by speculation.", statistics => statistics.DraftedTokens);
        Count("hadal.speculation.accepted_tokens", "Drafted tokens that were right.", statistics => statistics.AcceptedTokens);
        Count("hadal.speculation.drafted_steps", "Steps that verified drafts.", statistics => statistics.DraftedSteps);
        Count("hadal.speculation.plain_steps", "Steps that wrote texts without drafts, where a draft was possible.", statistics => statistics.PlainSteps);
        Count("hadal.preempted.requests", "Requests put aside for want of pages.", statistics => statistics.Preempted);
        Count("hadal.cancelled.requests", "Requests given up by their caller.", statistics => statistics.Cancelled);
        Count("hadal.goal.requests", "Finished requests whose latency was watched by a router.", statistics => statistics.Goals?.Requests ?? 0);
        Count("hadal.goal.first_token_held", "Of these, whose first token came within its goal.", statistics => statistics.Goals?.FirstTokenHeld ?? 0);
        Count("hadal.goal.per_token_held", "Of these, whose further tokens came within their goal.", statistics => statistics.Goals?.PerTokenHeld ?? 0);
        Count("hadal.worker.redone", "Times a request was begun again because a worker failed or pages were damaged.", statistics => statistics.Goals?.Redone ?? 0);
        _meter.CreateObservableGauge("hadal.speculation.gain", () => Measure(statistics => statistics.SpeculationGain), description: "Tokens a second with drafts over those without, as last estimated; 0 before both were measured.");
        _meter.CreateObservableGauge("hadal.step.decode_seconds", () => Measure(statistics => statistics.DecodeStepSeconds), "s", "A step of late that only decoded.");
        _meter.CreateObservableGauge("hadal.step.prompt_tokens_per_second", () => Measure(statistics => statistics.PromptTokensPerSecond), description: "Tokens a second of late in steps that read prompts.");
        _meter.CreateObservableCounter("hadal.expert.tokens", () => Experts(statistics => statistics.ExpertLoad), description: "Tokens routed to each expert.");
        _meter.CreateObservableGauge("hadal.expert.recent_tokens", () => Experts(statistics => statistics.RecentExpertLoad), description: "The same, old tokens counting less.");
    }

    /// <summary>Begins to measure a request.</summary>
    public GenerationMeasurement Begin(string model, int promptTokens)
    {
        Activity? activity = _source.StartActivity("generate");
        activity?.SetTag("gen_ai.request.model", model);
        activity?.SetTag("gen_ai.usage.input_tokens", promptTokens);
        return new GenerationMeasurement(model, activity, _firstToken, _perToken, _request, _requests);
    }

    public void Dispose()
    {
        _meter.Dispose();
        _source.Dispose();
    }

    Histogram<double> Histogram(string name, string description, double[] bounds) =>
        _meter.CreateHistogram(name, "s", description, advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = bounds });

    void Gauge(string name, string description, Func<EngineStatistics, long> value) => _meter.CreateObservableGauge(name, () => Observe(value), description: description);

    void Count(string name, string description, Func<EngineStatistics, long> value) => _meter.CreateObservableCounter(name, () => Observe(value), description: description);

    IEnumerable<Measurement<long>> Observe(Func<EngineStatistics, long> value)
    {
        foreach (ModelEntry entry in _entries) yield return new Measurement<long>(value(entry.Engine.Statistics), Tag("model", entry.Name));
    }

    IEnumerable<Measurement<double>> Measure(Func<EngineStatistics, double> value)
    {
        foreach (ModelEntry entry in _entries) yield return new Measurement<double>(value(entry.Engine.Statistics), Tag("model", entry.Name));
    }

    IEnumerable<Measurement<T>> Experts<T>(Func<EngineStatistics, IReadOnlyList<IReadOnlyList<T>>> loads)
        where T : struct
    {
        foreach (ModelEntry entry in _entries)
        {
            IReadOnlyList<IReadOnlyList<T>> load = loads(entry.Engine.Statistics);
            for (int layer = 0; layer < load.Count; layer++)
                for (int expert = 0; expert < load[layer].Count; expert++)
                    yield return new Measurement<T>(load[layer][expert], Tag("model", entry.Name), Tag("layer", Number(layer)), Tag("expert", Number(expert)));
        }
    }

    static string Number(int value) => value.ToString(CultureInfo.InvariantCulture);

    internal static KeyValuePair<string, object?> Tag(string name, string value) => new(name, value);
}

/// <summary>The times of one request.</summary>
sealed class GenerationMeasurement(string model, Activity? activity, Histogram<double> firstToken, Histogram<double> perToken, Histogram<double> request, Counter<long> requests) : IDisposable
{
    readonly long _begun = Stopwatch.GetTimestamp();
    long _first, _last;
    int _afterFirst;
    string _outcome = "abandoned";

    public void Started(int cached)
    {
        activity?.SetTag("hadal.cached_tokens", cached);
        activity?.AddEvent(new ActivityEvent("started"));
    }

    public void Generated(int tokens)
    {
        if (tokens == 0) return;
        _last = Stopwatch.GetTimestamp();
        if (_first != 0)
        {
            _afterFirst += tokens;
            return;
        }

        _first = _last;
        _afterFirst = tokens - 1;
        firstToken.Record(Stopwatch.GetElapsedTime(_begun, _first).TotalSeconds, ServerMetrics.Tag("model", model));
        activity?.AddEvent(new ActivityEvent("first token"));
    }

    public void Finished(string reason)
    {
        _outcome = reason;
        if (_afterFirst > 0 && _last > _first) perToken.Record(Stopwatch.GetElapsedTime(_first, _last).TotalSeconds / _afterFirst, ServerMetrics.Tag("model", model));
        request.Record(Stopwatch.GetElapsedTime(_begun).TotalSeconds, ServerMetrics.Tag("model", model));
    }

    public void Dispose()
    {
        requests.Add(1, ServerMetrics.Tag("model", model), ServerMetrics.Tag("outcome", _outcome));
        activity?.SetTag("hadal.outcome", _outcome);
        activity?.Dispose();
    }
}
