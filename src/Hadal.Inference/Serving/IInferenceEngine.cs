using Hadal.Text;

namespace Hadal.Inference.Serving;

/// <summary>
/// Generates text for many requests at once. The text of a request depends on the model, the prompt, the parameters and the seed alone: not on what else runs,
/// on what was cached, on preemption, on speculation or on where its prefill ran.
/// </summary>
public interface IInferenceEngine : IAsyncDisposable
{
    /// <summary>The model that answers.</summary>
    ServedModel Model { get; }

    /// <summary>
    /// Runs one request. The first event is <see cref="RequestQueued"/> when it has to wait, then <see cref="RequestStarted"/>, any number of
    /// <see cref="TokensGenerated"/>, and last one <see cref="RequestFinished"/>. Cancelling, or leaving the enumeration, frees everything at once.
    /// </summary>
    /// <param name="request">What to generate.</param>
    /// <param name="cancellationToken">Gives the request up.</param>
    /// <exception cref="RequestRefusedException">The request cannot be served by this model: an empty prompt, one longer than its positions, a parameter out of range.</exception>
    /// <exception cref="EngineBusyException">The queue is full, or the owner has his share of it.</exception>
    /// <exception cref="EngineStoppingException">It is shutting down.</exception>
    /// <exception cref="InvalidDataException">The model computes no numbers: its weights are damaged.</exception>
    IAsyncEnumerable<GenerationEvent> GenerateAsync(GenerationRequest request, CancellationToken cancellationToken = default);

    /// <summary>What the engine is doing now and has done; cheap, from any thread.</summary>
    EngineStatistics Statistics { get; }

    /// <summary>Takes no new request, finishes those begun, and returns when all are done or the token is cancelled.</summary>
    Task DrainAsync(CancellationToken cancellationToken = default);
}

/// <summary>A model as its callers see it.</summary>
/// <param name="Name">Public name, such as <c>deepseek-chat</c>.</param>
/// <param name="Fingerprint">Hash of the weights and the configuration, hexadecimal; part of every cache key, and the <c>system_fingerprint</c> of answers.</param>
/// <param name="Tokenizer">Between text and ids.</param>
/// <param name="MaxPositions">Prompt and answer together.</param>
/// <param name="EndTokens">Ids that end an answer.</param>
public sealed record ServedModel(string Name, string Fingerprint, Tokenizer Tokenizer, int MaxPositions, IReadOnlyList<int> EndTokens);

/// <summary>The model cannot serve this request, whoever sends it and whenever: the caller's fault, not the engine's. The message says what was given and what is expected, and is for the caller.</summary>
public sealed class RequestRefusedException(string message, Exception? cause = null) : ArgumentException(message, cause);

/// <summary>The engine is shutting down and takes no new request.</summary>
public sealed class EngineStoppingException(string message) : InvalidOperationException(message);

/// <summary>The queue is full, or what is free in it is kept for others: nothing was taken, the caller may try again later.</summary>
public sealed class EngineBusyException : Exception
{
    /// <summary>Says where in line the request would have stood and how long it would have waited.</summary>
    public EngineBusyException(int placeInLine, TimeSpan expectedWait)
        : base($"The queue is full: {placeInLine - 1} requests wait already. The next place is expected to be free in {Math.Max(1, Math.Ceiling(expectedWait.TotalSeconds)):0} s.")
    {
        PlaceInLine = placeInLine;
        ExpectedWait = expectedWait;
    }

    /// <summary>Says that the owner has as many requests in line as one may have while so few places are free.</summary>
    public EngineBusyException(int placeInLine, TimeSpan expectedWait, int own, int length)
        : base($"{own} of your requests wait already, and the free places of the queue ({length - placeInLine + 1} of {length}) are kept for others. Try again in {Math.Max(1, Math.Ceiling(expectedWait.TotalSeconds)):0} s, or when one of yours is answered.")
    {
        PlaceInLine = placeInLine;
        ExpectedWait = expectedWait;
    }

    /// <summary>1 for the next to be served.</summary>
    public int PlaceInLine { get; }

    /// <summary>Until the request would have been taken.</summary>
    public TimeSpan ExpectedWait { get; }
}
