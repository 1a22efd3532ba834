namespace Hadal.Inference.Serving.Paging;

/// <summary>Buffers for pages of requests that were put aside. Bounded; buffers are used again. Not thread safe.</summary>
/// <param name="pageBytes">Bytes of a buffer.</param>
/// <param name="mostBytes">Most bytes of all.</param>
sealed class SwapStore(int pageBytes, long mostBytes)
{
    readonly Stack<byte[]> _spare = new();
    long _given;

    /// <summary>Buffers in use.</summary>
    public long InUse => _given;

    /// <summary>Whether so many buffers can be had.</summary>
    public bool Has(int count) => (_given + count) * pageBytes <= mostBytes;

    /// <summary>A buffer of a page.</summary>
    public byte[] Take()
    {
        _given++;
        return _spare.TryPop(out byte[]? buffer) ? buffer : new byte[pageBytes];
    }

    /// <summary>Takes a buffer back.</summary>
    public void Return(byte[] buffer)
    {
        _given--;
        _spare.Push(buffer);
    }
}
