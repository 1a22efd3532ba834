using Hadal.Inference.Serving;
using Hadal.Server.Hosting;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Workers;

/// <summary>Which phase of a request a worker computes.</summary>
public enum WorkerRole
{
    /// <summary>Reads prompts and hands their pages on.</summary>
    Prefill,
    /// <summary>Takes pages and writes texts.</summary>
    Decode,
}

/// <summary>What a worker process serves, and where.</summary>
public sealed record WorkerOptions
{
    /// <summary>Variable with the secret that a router and its workers share.</summary>
    public const string KeyVariable = "HADAL_WORKER_KEY";

    /// <summary>Where a worker listens when nothing is said: a free port of this machine alone.</summary>
    public const string DefaultUrl = "http://127.0.0.1:0";

    /// <summary>What computes. The worker owns it: it is disposed with the server.</summary>
    public required InferenceEngine Engine { get; init; }

    /// <summary>Which phase.</summary>
    public required WorkerRole Role { get; init; }

    /// <summary>Addresses to listen on: HTTP/2 without TLS. Port 0 takes a free one.</summary>
    public IReadOnlyList<string> Urls { get; init; } = [DefaultUrl];

    /// <summary>The secret that a router must send; null: everybody who reaches the address may ask, which is allowed on loopback only.</summary>
    public string? Key { get; init; }

    /// <summary>Time that a shutdown gives the requests being computed.</summary>
    public TimeSpan ShutdownGrace { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>Adds receivers of the log; null for warnings and errors on standard error.</summary>
    public Action<ILoggingBuilder>? Logging { get; init; }

    /// <summary>Refuses what cannot be served.</summary>
    /// <exception cref="ArgumentException">The message says what was given and what is expected.</exception>
    public WorkerOptions Validate()
    {
        if (Urls.Count == 0) throw new ArgumentException($"No address to listen on was given; expected at least one such as {DefaultUrl}.", nameof(Urls));
        if (Key is { Length: < 16 }) throw new ArgumentException($"{KeyVariable} has {Key.Length} characters; expected at least 16, for example from: openssl rand -hex 24.", nameof(Key));
        foreach (string url in Urls)
        {
            if (Key is null && !BindingAddress.Parse(url).IsLoopback)
                throw new ArgumentException($"The worker would listen on {url}, which other machines reach, and {KeyVariable} is not set; expected a secret of at least 16 characters in it, the same for the router and all workers.", nameof(Urls));
        }

        return this;
    }
}
