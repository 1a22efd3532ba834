namespace Hadal.Tensors;

/// <summary>
/// Gives out tensors from blocks of one backend and frees them together. Used at set-up for weights and records, and as a stack for the
/// temporaries of a step (<see cref="Mark"/>, <see cref="Release"/>): after the first step has made the blocks, nothing is allocated any more.
/// Not thread safe.
/// </summary>
/// <param name="backend">Where the memory lives.</param>
/// <param name="blockBytes">Smallest block that is asked from the backend, bytes.</param>
public sealed class TensorArena(IBackend backend, long blockBytes = 1 << 20) : IDisposable
{
    const int Alignment = 64;
    readonly List<TensorMemory> _blocks = [];
    int _block;
    long _used;

    /// <summary>Bytes held, used or not.</summary>
    public long ReservedBytes { get; private set; }

    /// <summary>Bytes given out since the arena was made or released, alignment included.</summary>
    public long UsedBytes { get; private set; }

    /// <summary>Largest <see cref="UsedBytes"/> so far.</summary>
    public long PeakBytes { get; private set; }

    /// <summary>A tensor whose content is whatever the memory held last (zeros when fresh).</summary>
    public Tensor Allocate(DType type, params ReadOnlySpan<int> shape)
    {
        long bytes = type.Size();
        foreach (int extent in shape) bytes = checked(bytes * extent);
        bytes = (Math.Max(bytes, 1) + Alignment - 1) / Alignment * Alignment;
        while (_block < _blocks.Count && _used + bytes > _blocks[_block].Bytes)
        {
            _block++;
            _used = 0;
        }

        if (_block == _blocks.Count)
        {
            _blocks.Add(backend.Allocate(Math.Max(bytes, blockBytes)));
            ReservedBytes += _blocks[_block].Bytes;
            _used = 0;
        }

        Tensor tensor = Tensor.View(_blocks[_block], _used, type, shape);
        _used += bytes;
        UsedBytes += bytes;
        PeakBytes = Math.Max(PeakBytes, UsedBytes);
        return tensor;
    }

    /// <summary>A point to return to with <see cref="Release"/>.</summary>
    public ArenaMark Mark() => new(_block, _used, UsedBytes);

    /// <summary>Takes back everything given out since <paramref name="mark"/>.</summary>
    public void Release(ArenaMark mark)
    {
        _block = mark.Block;
        _used = mark.Used;
        UsedBytes = mark.UsedBytes;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (TensorMemory block in _blocks) block.Dispose();
        _blocks.Clear();
        _block = 0;
        _used = 0;
        ReservedBytes = UsedBytes = 0;
    }
}

/// <summary>A position inside a <see cref="TensorArena"/>.</summary>
public readonly record struct ArenaMark(int Block, long Used, long UsedBytes);
