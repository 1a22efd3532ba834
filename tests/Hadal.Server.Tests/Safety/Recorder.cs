using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Globalization;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Tests.Safety;

/// <summary>Hears all that a process tells of itself, at the finest level: lines of logs with their fields and scopes, spans with their tags and events, tags of measurements.</summary>
sealed class Recorder : ILoggerProvider, ILogger
{
    readonly ActivityListener _spans;
    readonly MeterListener _meters = new();

    public Recorder()
    {
        _spans = new ActivityListener { ShouldListenTo = _ => true, Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded, ActivityStopped = Hear };
        ActivitySource.AddActivityListener(_spans);
        _meters.InstrumentPublished = (instrument, listener) => listener.EnableMeasurementEvents(instrument);
        _meters.SetMeasurementEventCallback<long>((instrument, _, tags, _) => Hear(instrument, tags));
        _meters.SetMeasurementEventCallback<int>((instrument, _, tags, _) => Hear(instrument, tags));
        _meters.SetMeasurementEventCallback<double>((instrument, _, tags, _) => Hear(instrument, tags));
        _meters.Start();
    }

    public ConcurrentQueue<string> Logs { get; } = new();

    public ConcurrentQueue<string> Spans { get; } = new();

    public ConcurrentQueue<string> Measurements { get; } = new();

    /// <summary>Everything heard, and whatever a test adds: a page of metrics, the words of an exception.</summary>
    public IEnumerable<string> All => Logs.Concat(Spans).Concat(Measurements);

    public ILogger CreateLogger(string categoryName) => this;

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull
    {
        Logs.Enqueue(Spelled(state));
        return null;
    }

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
        Logs.Enqueue($"{formatter(state, exception)}\n{Spelled(state)}\n{exception}");

    public void Dispose()
    {
        _spans.Dispose();
        _meters.Dispose();
    }

    static string Spelled<TState>(TState state) => state is IEnumerable<KeyValuePair<string, object?>> fields
        ? string.Join('\n', fields.Select(field => $"{field.Key}={Convert.ToString(field.Value, CultureInfo.InvariantCulture)}")) : $"{state}";

    static string Spelled(IEnumerable<KeyValuePair<string, object?>> tags) => string.Join('\n', tags.Select(tag => $"{tag.Key}={tag.Value}"));

    void Hear(Activity span) => Spans.Enqueue($"{span.DisplayName}\n{Spelled(span.TagObjects)}\n{string.Join('\n', span.Events.Select(happened => happened.Name + " " + Spelled(happened.Tags)))}\n{string.Join('\n', span.Baggage)}\n{span.StatusDescription}");

    void Hear(Instrument instrument, ReadOnlySpan<KeyValuePair<string, object?>> tags) => Measurements.Enqueue($"{instrument.Name} {Spelled(tags.ToArray())}");
}
