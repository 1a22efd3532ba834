namespace Hadal.Inference.Serving.Workers;

/// <summary>A request on its way between workers.</summary>
/// <param name="Request">What to generate.</param>
/// <param name="Generated">Tokens that were generated and reported already, before a worker died: the next one goes on after them.</param>
public sealed record WorkerRequest(GenerationRequest Request, int[] Generated)
{
    /// <summary>Tokens whose pages a prefill computes: prompt and generated, but for the last.</summary>
    public int Tokens => Request.Prompt.Length + Generated.Length;
}

/// <summary>A prompt, computed.</summary>
/// <param name="Pages">In the form of <see cref="PageTransfer"/>.</param>
/// <param name="CachedTokens">Tokens whose pages the worker remembered.</param>
public sealed record PrefillResult(byte[] Pages, int CachedTokens);

/// <summary>What prefill and decode workers have in common.</summary>
public interface IWorker
{
    /// <summary>For messages: a number, or an address.</summary>
    string Name { get; }

    /// <summary>Most requests it takes at once.</summary>
    int MostRequests { get; }

    /// <summary>What it is doing, as last known; cheap.</summary>
    EngineStatistics Statistics { get; }

    /// <summary>Whether it can be reached, as last known; cheap.</summary>
    bool IsAvailable => true;
}

/// <summary>Computes prompts. Safe to call from many threads.</summary>
public interface IPrefillWorker : IWorker
{
    /// <summary>Computes the latent pages of all tokens but the last.</summary>
    /// <exception cref="WorkerFailedException">The worker is dead or cannot be reached: the request may be given to another.</exception>
    Task<PrefillResult> PrefillAsync(WorkerRequest request, CancellationToken cancellationToken = default);
}

/// <summary>Writes texts. Safe to call from many threads.</summary>
public interface IDecodeWorker : IWorker
{
    /// <summary>Goes on after the tokens of the request. Events are those of <see cref="IInferenceEngine.GenerateAsync"/>, new tokens only.</summary>
    /// <param name="request">What to generate.</param>
    /// <param name="pages">Of a prefill worker; verified before use. Null: the worker computes the prompt itself.</param>
    /// <param name="cancellationToken">Gives the request up.</param>
    /// <exception cref="WorkerFailedException">The worker is dead or cannot be reached: the request may be given to another, with what it has reported so far.</exception>
    /// <exception cref="PagesDamagedException">The pages did not arrive as they were sent: compute them again.</exception>
    IAsyncEnumerable<GenerationEvent> DecodeAsync(WorkerRequest request, byte[]? pages, CancellationToken cancellationToken = default);
}

/// <summary>A worker died, or cannot be reached.</summary>
public sealed class WorkerFailedException(string worker, string reason, Exception? cause = null) : Exception($"Worker {worker} failed: {reason}", cause)
{
    /// <summary>Its name.</summary>
    public string Worker { get; } = worker;
}

/// <summary>Pages that arrived are not those that were sent.</summary>
public sealed class PagesDamagedException(string message, Exception? cause = null) : Exception(message, cause);

/// <summary>Both roles in this process, over an engine that may have one or both. The engine is not owned.</summary>
/// <param name="name">For messages.</param>
/// <param name="engine">What computes.</param>
public sealed class LocalWorker(string name, InferenceEngine engine) : IPrefillWorker, IDecodeWorker
{
    /// <inheritdoc/>
    public string Name { get; } = name;

    /// <inheritdoc/>
    public int MostRequests => engine.Options.MaxRunning;

    /// <inheritdoc/>
    public EngineStatistics Statistics => engine.Statistics;

    /// <inheritdoc/>
    public async Task<PrefillResult> PrefillAsync(WorkerRequest request, CancellationToken cancellationToken = default)
    {
        try
        {
            return await engine.ComputePagesAsync(request.Request, request.Generated, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception stopped) when (stopped is InvalidOperationException or ObjectDisposedException)
        {
            throw new WorkerFailedException(Name, stopped.Message, stopped);
        }
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<GenerationEvent> DecodeAsync(
        WorkerRequest request, byte[]? pages, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        if (pages is not null)
        {
            try
            {
                (int layers, int rowBytes) = engine.PageForm;
                int positions = PageTransfer.Verify(pages, engine.Model.Fingerprint, layers, rowBytes);
                if (positions >= request.Tokens) throw new InvalidDataException($"The pages hold {positions} positions; expected at most {request.Tokens - 1}, all of the request but its last token.");
            }
            catch (InvalidDataException damaged)
            {
                throw new PagesDamagedException(damaged.Message, damaged);
            }
        }

        IAsyncEnumerator<GenerationEvent> events = engine.ContinueAsync(request.Request, request.Generated, pages, cancellationToken).GetAsyncEnumerator(cancellationToken);
        await using (events.ConfigureAwait(false))
        {
            while (true)
            {
                try
                {
                    if (!await events.MoveNextAsync().ConfigureAwait(false)) yield break;
                }
                catch (Exception stopped) when (stopped is InvalidOperationException or ObjectDisposedException)
                {
                    throw new WorkerFailedException(Name, stopped.Message, stopped);
                }

                yield return events.Current;
            }
        }
    }
}
