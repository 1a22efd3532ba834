namespace Hadal.Inference.Serving.Workers;

/// <summary>What a router keeps to.</summary>
public sealed record RouterOptions
{
    /// <summary>Goal from the moment a request is taken to its first token; null for none. Requests wait in line rather than miss it.</summary>
    public TimeSpan? TimeToFirstToken { get; init; }

    /// <summary>Goal for each further token of a text; null for none. Fewer texts are written at once rather than miss it.</summary>
    public TimeSpan? TimePerOutputToken { get; init; }

    /// <summary>Most requests that wait; one more is refused with <see cref="EngineBusyException"/>, and an owner's who has three for each place that is free.</summary>
    public int QueueLength { get; init; } = 256;

    /// <summary>How long a worker that failed is left alone.</summary>
    public TimeSpan RetryAfter { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>How long a request that was begun waits for a decode worker when none is there, before it ends with <see cref="FinishReason.InsufficientResources"/>.</summary>
    public TimeSpan WorkerWait { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Most times one request is begun again before it ends with <see cref="FinishReason.InsufficientResources"/>.</summary>
    public int MostAttempts { get; init; } = 8;
}

/// <summary>How often a router's goals held. A request counts once its text is over.</summary>
/// <param name="Requests">Requests that were finished, given up ones not counted.</param>
/// <param name="FirstTokenHeld">Whose first token came within its goal; all of them without a goal.</param>
/// <param name="PerTokenHeld">Whose further tokens came, on average, within their goal; all of them without a goal.</param>
/// <param name="BothHeld">Who kept both goals.</param>
/// <param name="Redone">Times a request was begun again because a worker failed or pages were damaged.</param>
/// <param name="MeanFirstToken">Mean time from being taken to the first token.</param>
/// <param name="MeanPerToken">Mean time per further token.</param>
/// <param name="MeanWait">Mean time in line before being taken.</param>
public sealed record RouterReport(
    long Requests, long FirstTokenHeld, long PerTokenHeld, long BothHeld, long Redone, TimeSpan MeanFirstToken, TimeSpan MeanPerToken, TimeSpan MeanWait);
