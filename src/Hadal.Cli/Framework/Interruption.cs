using System.Runtime.InteropServices;

namespace Hadal.Cli.Framework;

/// <summary>Ctrl-C and SIGTERM: the first asks the work to save and stop, the second leaves at once; both leave with code 130.</summary>
sealed class Interruption : IDisposable
{
    readonly CancellationTokenSource _source = new();
    readonly PosixSignalRegistration[] _registrations;
    Func<bool>? _handler;

    /// <summary>Listens from now until disposed.</summary>
    public Interruption() =>
        _registrations = [PosixSignalRegistration.Create(PosixSignal.SIGINT, OnSignal), PosixSignalRegistration.Create(PosixSignal.SIGTERM, OnSignal)];

    /// <summary>Cancelled by the first signal.</summary>
    public CancellationToken Token => _source.Token;

    /// <summary>
    /// Lets <paramref name="handler"/> take Ctrl-C until the result is disposed: a conversation stops an answer instead of ending.
    /// The handler returns true when it took the signal.
    /// </summary>
    public IDisposable Take(Func<bool> handler)
    {
        _handler = handler;
        return new Release(this);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (PosixSignalRegistration registration in _registrations) registration.Dispose();
        _source.Dispose();
    }

    void OnSignal(PosixSignalContext context)
    {
        context.Cancel = true;
        if (context.Signal == PosixSignal.SIGINT && _handler is { } handler && handler()) return;
        if (_source.IsCancellationRequested) Environment.Exit(ExitCode.Interrupted);
        _source.Cancel();
    }

    sealed class Release(Interruption owner) : IDisposable
    {
        public void Dispose() => owner._handler = null;
    }
}
