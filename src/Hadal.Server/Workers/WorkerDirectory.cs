using Hadal.Inference.Serving;
using Hadal.Inference.Serving.Workers;
using Hadal.Text;

namespace Hadal.Server.Workers;

/// <summary>
/// The workers of one model, by address. Each is asked about once a second who it is; one that does not answer gets no work until it does, one with another model gets none at all.
/// The model's name, limits and tokenizer come from the first decode worker: a router needs no folder of its own.
/// </summary>
public sealed class WorkerDirectory : IAsyncDisposable
{
    const int MostTokenizerBytes = 256 << 20;
    static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);
    readonly string _name;
    readonly RouterOptions _options;
    readonly Action<string> _note;
    readonly RemoteWorker[] _workers;
    readonly CancellationTokenSource _stop = new();
    readonly SemaphoreSlim _gate = new(1);
    readonly TaskCompletionSource<Router> _ready = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly Task[] _watching;
    Wire.Description? _model;
    Router? _router;

    WorkerDirectory(string name, IReadOnlyList<Uri> addresses, RouterOptions options, string? key, Action<string> note)
    {
        _name = name;
        _options = options with { RetryAfter = TimeSpan.FromMilliseconds(200) }; // whether a worker is there is known from asking
        _note = note;
        _workers = [.. addresses.Select(address => new RemoteWorker(address, key))];
        _watching = [.. _workers.Select(Watch)];
    }

    /// <summary>Connects to workers and returns their router as soon as one decode worker is there; others may come, go and come back at any time.</summary>
    /// <param name="name">Public name of the model, such as <c>deepseek-chat</c>.</param>
    /// <param name="addresses">Of prefill and decode workers alike; each says which it is.</param>
    /// <param name="options">Goals and limits.</param>
    /// <param name="key">The secret of <see cref="WorkerOptions.KeyVariable"/>, or null.</param>
    /// <param name="note">Told who came, who went, and who was refused.</param>
    /// <param name="cancellationToken">Ends the waiting.</param>
    /// <returns>An engine that owns the connections.</returns>
    /// <exception cref="ArgumentException">No address, or one twice.</exception>
    public static async Task<Router> ConnectAsync(string name, IReadOnlyList<Uri> addresses, RouterOptions? options = null, string? key = null, Action<string>? note = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(addresses);
        if (addresses.Count == 0) throw new ArgumentException("No address of a worker was given; expected at least one of a decode worker.", nameof(addresses));
        if (addresses.GroupBy(address => address).FirstOrDefault(group => group.Count() > 1) is { } twice)
            throw new ArgumentException($"The worker {twice.Key} was given {twice.Count()} times; expected each once.", nameof(addresses));
        var directory = new WorkerDirectory(name, addresses, options ?? new RouterOptions(), key, note ?? (_ => { }));
        try
        {
            return await directory._ready.Task.WaitAsync(cancellationToken);
        }
        catch
        {
            await directory.DisposeAsync();
            throw;
        }
    }

    /// <summary>Leaves all workers alone.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_stop.IsCancellationRequested) return;
        await _stop.CancelAsync();
        await Task.WhenAll(_watching);
        foreach (RemoteWorker worker in _workers) worker.Dispose();
        _stop.Dispose();
        _gate.Dispose();
    }

    async Task Watch(RemoteWorker worker)
    {
        string? told = null;
        bool added = false;
        while (!_stop.IsCancellationRequested)
        {
            string state;
            try
            {
                Wire.Description description = await worker.DescribeAsync(_stop.Token);
                string? refusal = await RefusalAsync(worker, description);
                worker.Hear(refusal is null ? description : null);
                if (refusal is null && !added) Add(worker, description);
                added |= refusal is null;
                state = refusal ?? $"{worker.Name} is there: {description.Role}, {description.MostRequests} requests at once.";
            }
            catch (OperationCanceledException) when (_stop.IsCancellationRequested)
            {
                return;
            }
            catch (Exception failed) when (failed is WorkerFailedException or EngineBusyException or ArgumentException or InvalidDataException or TokenizerFormatException or OperationCanceledException)
            {
                worker.Hear(null);
                state = added ? $"{worker.Name} is gone; its requests go elsewhere. It is asked again each second." : $"Waiting for {worker.Name}: {failed.Message}";
            }

            if (!string.Equals(state, told, StringComparison.Ordinal)) _note(told = state);
            await Task.Delay(Pause, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary>Why a worker may not be used; null when it may. The first decode worker says what the model is.</summary>
    async Task<string?> RefusalAsync(RemoteWorker worker, Wire.Description description)
    {
        if (description.Role is not ("prefill" or "decode")) return $"{worker.Name} has the role \"{description.Role}\"; expected prefill or decode. It is not used.";
        if (_model is null && description.Role is "prefill") return $"{worker.Name} is there: prefill. Waiting for a decode worker.";
        await _gate.WaitAsync(_stop.Token);
        try
        {
            if (_model is not { } model)
            {
                Tokenizer tokenizer = Tokenizer.Parse(await worker.ReadTokenizerAsync(MostTokenizerBytes, _stop.Token));
                _router = new Router(new ServedModel(_name, description.Fingerprint, tokenizer, description.MaxPositions, [.. description.EndTokens]), _options, this);
                _model = description;
                return null;
            }

            if (!string.Equals(description.Fingerprint, model.Fingerprint, StringComparison.Ordinal))
                return $"{worker.Name} has another model ({description.Fingerprint}; expected {model.Fingerprint}). It is not used: start it with the same --model.";
            if (description.Layers != model.Layers || description.RowBytes != model.RowBytes)
                return $"{worker.Name} has pages of {description.Layers} layers of {description.RowBytes} bytes; expected {model.Layers} of {model.RowBytes}. It is not used: start it with the same --no-speculation.";
            if (description.MaxPositions < model.MaxPositions)
                return $"{worker.Name} holds {description.MaxPositions} positions; expected at least {model.MaxPositions}. It is not used: start it with a larger --cache.";
            return null;
        }
        finally
        {
            _gate.Release();
        }
    }

    void Add(RemoteWorker worker, Wire.Description description)
    {
        Router router = _router!;
        if (description.Role is "prefill") router.AddPrefill(worker);
        else router.AddDecode(worker);
        _ready.TrySetResult(router);
    }
}
