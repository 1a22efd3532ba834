using Hadal.Inference.Serving.Paging;
using Hadal.Model;

namespace Hadal.Inference.Serving.Workers;

/// <summary>
/// Prefill and decode as separate workers of one process [V3 §3.4]: each has its own thread, queue and pages; prompts are read by the one, their pages handed to the other and verified
/// there, and pages of finished texts handed back, where the next turn of a conversation looks for them. Both run the same weights on the same threads, in turns.
/// </summary>
public static class SeparateWorkers
{
    /// <summary>Starts both and the router before them.</summary>
    /// <param name="model">As its callers see it; its positions are cut to what half of the pages hold.</param>
    /// <param name="transformer">The weights; no one else may run them meanwhile.</param>
    /// <param name="options">How the workers use the machine; each has half of the memory for pages.</param>
    /// <param name="goals">What the router keeps to; null for nothing.</param>
    /// <param name="owned">Released after the workers, in this order.</param>
    /// <exception cref="ArgumentException">An option is out of range, or the memory holds fewer than two pages for each worker.</exception>
    public static Router Start(ServedModel model, Transformer transformer, EngineOptions? options = null, RouterOptions? goals = null, params IReadOnlyList<IDisposable> owned)
    {
        (InferenceEngine prefill, InferenceEngine decode) = StartWorkers(model, transformer, options);
        return new Router(decode.Model, [new LocalWorker("prefill", prefill)], [new LocalWorker("decode", decode)], goals, prefill, decode, new Owned(owned));
    }

    /// <summary>Starts both workers alone.</summary>
    internal static (InferenceEngine Prefill, InferenceEngine Decode) StartWorkers(ServedModel model, Transformer transformer, EngineOptions? options)
    {
        options = (options ?? new EngineOptions()).Validate();
        var turns = new ComputeTurns();
        EngineOptions half = options with
        {
            CacheBytes = Math.Max(1, options.CacheBytes / 2), SwapBytes = options.SwapBytes / 2, Turns = turns,
            QueueLength = Math.Max(options.QueueLength, 4 * options.MaxRunning), // the line is the router's: what it took has a place here, whoever sent it
        };
        long pageBytes = PagePool.BytesOfPage(transformer, options.Speculate && transformer.Mtp.Count > 0);
        PageReturns? returns = options.PrefixCache ? new PageReturns(checked((int)pageBytes)) : null;

        // Prefixes are looked for where prompts are read: the disk is that worker's.
        var prefill = new InferenceEngine(model, transformer, half with { Returned = returns });
        try
        {
            return (prefill, new InferenceEngine(model, transformer, half with { Returns = returns, CacheDirectory = null }));
        }
        catch
        {
            prefill.DisposeAsync().AsTask().GetAwaiter().GetResult();
            throw;
        }
    }

    sealed class Owned(IReadOnlyList<IDisposable> all) : IAsyncDisposable
    {
        public ValueTask DisposeAsync()
        {
            foreach (IDisposable owned in all) owned.Dispose();
            return default;
        }
    }
}
