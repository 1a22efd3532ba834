using Hadal.Inference.Serving;
using Hadal.Server.Tests.Api;

namespace Hadal.Server.Tests.Real;

/// <summary>A whole server over a socket with the batching engine behind it, for a class of tests.</summary>
public sealed class RealServer : IAsyncLifetime
{
    internal IInferenceEngine Engine { get; private set; } = null!;

    internal ApiHost Host { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        Engine = LearnedModel.Open();
        Host = await ApiHost.StartAsync(Engine);
    }

    public ValueTask DisposeAsync() => Host.DisposeAsync();

    /// <summary>Waits, at most a minute, until no request runs or waits and no page is held.</summary>
    internal static async Task IdleAsync(IInferenceEngine engine)
    {
        for (int round = 0; round < 2400 && engine.Statistics is not { Running: 0, Queued: 0, PagesInUse: 0 }; round++) await Task.Delay(25);
        Assert.Equal((0, 0, 0), (engine.Statistics.Running, engine.Statistics.Queued, engine.Statistics.PagesInUse));
    }
}
