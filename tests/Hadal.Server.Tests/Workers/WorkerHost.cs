using Hadal.Inference.Serving;
using Hadal.Inference.Tests.Serving;
using Hadal.Server.Workers;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Tests.Workers;

/// <summary>A worker that listens on loopback, with a small random model of its own.</summary>
sealed class WorkerHost : IAsyncDisposable
{
    readonly TestModel _model;
    WebApplication _app;

    WorkerHost(TestModel model, WebApplication app, WorkerOptions options)
    {
        _model = model;
        _app = app;
        Options = options;
    }

    public WorkerOptions Options { get; private set; }

    public Uri Address => new(_app.Urls.First());

    public ServedModel Served => _model.Served;

    public static async Task<WorkerHost> StartAsync(WorkerRole role, string? key = null, ulong seed = 1, EngineOptions? engine = null)
    {
        var model = new TestModel(seed: seed);
        var options = new WorkerOptions { Engine = new InferenceEngine(model.Served, model.Transformer, engine), Role = role, Key = key, ShutdownGrace = TimeSpan.Zero, Urls = [$"http://127.0.0.1:{Ports.Free()}"], Logging = logging => logging.SetMinimumLevel(LogLevel.None) };
        WebApplication app = WorkerServer.Build(options);
        await app.StartAsync();
        return new WorkerHost(model, app, options);
    }

    /// <summary>Ends all calls at once and listens no more; then listens again at the same address, as a process that was started anew does.</summary>
    public async Task RestartAsync(Func<Task> meanwhile)
    {
        Uri address = Address;
        await StopAsync();
        await meanwhile();
        Options = Options with { Engine = new InferenceEngine(_model.Served, _model.Transformer, Options.Engine.Options), Urls = [address.ToString()] };
        _app = WorkerServer.Build(Options);
        await _app.StartAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        _model.Dispose();
    }

    async Task StopAsync()
    {
        using var atOnce = new CancellationTokenSource(TimeSpan.Zero);
        try
        {
            await _app.StopAsync(atOnce.Token);
        }
        catch (OperationCanceledException)
        {
            // what was running was broken off, as it should be
        }

        await _app.DisposeAsync();
    }
}
