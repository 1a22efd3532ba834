namespace Hadal.Tensors.Measurement;

/// <summary>
/// A backend whose every operation is timed on the way to another backend. Made for measurements only: whoever does not ask for it calls the other
/// backend directly and pays nothing. Times are of the calling thread, so they say something on backends that run at once.
/// </summary>
public sealed class TimedBackend : IBackend
{
    readonly IBackend _inner;

    /// <summary>Wraps a backend; disposing this does not dispose <paramref name="inner"/>.</summary>
    public TimedBackend(IBackend inner)
    {
        _inner = inner;
        Operations = new TimedOperations(inner.Operations, Profile);
    }

    /// <summary>What was measured so far.</summary>
    public OperationProfile Profile { get; } = new();

    /// <inheritdoc/>
    public string Name => _inner.Name;

    /// <inheritdoc/>
    public string Description => _inner.Description;

    /// <inheritdoc/>
    public IOperations Operations { get; }

    /// <inheritdoc/>
    public TensorMemory Allocate(long bytes) => _inner.Allocate(bytes);

    /// <inheritdoc/>
    public void Synchronize() => _inner.Synchronize();

    /// <inheritdoc/>
    public void Dispose()
    {
        // The inner backend belongs to whoever made it.
    }
}
