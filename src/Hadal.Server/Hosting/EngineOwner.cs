using Hadal.Inference.Serving;

namespace Hadal.Server.Hosting;

/// <summary>Ends the engines with the server: first those still at work are finished or given up, then their memory is released.</summary>
sealed class EngineOwner(params IReadOnlyList<IInferenceEngine> engines) : IAsyncDisposable
{
    /// <summary>Each engine once.</summary>
    public IReadOnlyList<IInferenceEngine> Engines { get; } = [.. engines.Distinct()];

    public async ValueTask DisposeAsync()
    {
        foreach (IInferenceEngine engine in Engines) await engine.DisposeAsync();
    }
}
