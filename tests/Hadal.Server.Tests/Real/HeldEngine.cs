using System.Runtime.CompilerServices;
using Hadal.Inference.Serving;

namespace Hadal.Server.Tests.Real;

/// <summary>An engine that computes, whose words wait at a gate: however fast the machine is, a test meets an answer in its middle.</summary>
sealed class HeldEngine(IInferenceEngine engine) : IInferenceEngine
{
    readonly SemaphoreSlim _gate = new(0);

    public IInferenceEngine Inner => engine;

    public bool IsHeld { get; set; }

    public ServedModel Model => engine.Model;

    public EngineStatistics Statistics => engine.Statistics;

    /// <summary>Lets a number of events with text pass.</summary>
    public void Allow(int events) => _gate.Release(events);

    /// <summary>Takes back what was allowed and not used.</summary>
    public void Drain()
    {
        while (_gate.Wait(0))
        {
        }
    }

    public async IAsyncEnumerable<GenerationEvent> GenerateAsync(GenerationRequest request, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        // The pages ask without a seed; with one a run of the test is as another.
        await foreach (GenerationEvent happened in engine.GenerateAsync(request with { Sampling = request.Sampling with { Seed = 1 } }, cancellationToken))
        {
            if (IsHeld && happened is TokensGenerated) await _gate.WaitAsync(cancellationToken);
            yield return happened;
        }
    }

    public Task DrainAsync(CancellationToken cancellationToken = default) => engine.DrainAsync(cancellationToken);

    public ValueTask DisposeAsync() => engine.DisposeAsync();
}
