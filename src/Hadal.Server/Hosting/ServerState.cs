using Microsoft.Extensions.Hosting;

namespace Hadal.Server.Hosting;

/// <summary>Whether the server takes work. It stops taking any when the shutdown begins, while answers begun before are finished.</summary>
public sealed class ServerState
{
    readonly IHostApplicationLifetime _lifetime;

    /// <summary>Follows the host's life.</summary>
    public ServerState(IHostApplicationLifetime lifetime) => _lifetime = lifetime;

    /// <summary>True from the start of the shutdown on.</summary>
    public bool IsStopping => _lifetime.ApplicationStopping.IsCancellationRequested;

    /// <summary>True between the end of the start and the beginning of the shutdown.</summary>
    public bool IsReady => _lifetime.ApplicationStarted.IsCancellationRequested && !IsStopping;
}
