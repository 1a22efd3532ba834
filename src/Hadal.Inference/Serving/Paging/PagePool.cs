using Hadal.Formats;
using Hadal.Model;
using Hadal.Tensors;

namespace Hadal.Inference.Serving.Paging;

/// <summary>
/// The paged latent cache: pages of 64 positions, each holding the normalised latent and the rotated key of every layer (and of the MTP module). A page is free, held by
/// running requests (counted), or only remembered: full, named by its <see cref="BlockKey"/> and checksummed, to be taken by a request that begins alike, or to be
/// reclaimed, least recently used first. A full page is never written again. Not thread safe; allocates nothing after it was made, except for new names.
/// </summary>
sealed unsafe class PagePool : IDisposable
{
    const int None = -1;
    readonly TensorArena _memory;
    readonly Tensor[] _layers;
    readonly int _layerBytes;
    readonly int[] _references, _older, _newer, _free;
    readonly ulong[] _checksums;
    readonly BlockKey[] _keys;
    readonly bool[] _named;
    readonly Dictionary<BlockKey, int> _pages;
    readonly Checksum64 _checksum = new();
    int _freeCount, _oldest = None, _newest = None;

    /// <summary>Takes the memory.</summary>
    /// <param name="model">Whose layers.</param>
    /// <param name="count">Pages.</param>
    /// <param name="withMtp">Whether the first MTP module has its part of each page.</param>
    public PagePool(Transformer model, int count, bool withMtp)
    {
        Count = count;
        RowBytes = model.Shape.LatentDim * model.DType.Size();
        _layerBytes = GenerationSession.PageLength * RowBytes;
        _memory = new TensorArena(model.Backend);
        _layers = new Tensor[model.Blocks.Count + (withMtp ? 1 : 0)];
        for (int layer = 0; layer < _layers.Length; layer++) _layers[layer] = _memory.Allocate(model.DType, count, GenerationSession.PageLength, model.Shape.LatentDim);
        if (!_layers[0].IsHost) throw new ArgumentException($"The pages of backend {model.Backend.Name} are not in host memory; expected a backend on the CPU.", nameof(model));
        (_references, _older, _newer, _free) = (new int[count], new int[count], new int[count], new int[count]);
        _checksums = new ulong[count];
        _keys = new BlockKey[count];
        _named = new bool[count];
        _pages = new Dictionary<BlockKey, int>(count);
        for (int page = count - 1; page >= 0; page--) _free[_freeCount++] = page;
    }

    /// <summary>Pages there are.</summary>
    public int Count { get; }

    /// <summary>Pages that only hold a remembered prefix.</summary>
    public int Remembered { get; private set; }

    /// <summary>Pages that can be taken: free ones and remembered ones.</summary>
    public int Available => _freeCount + Remembered;

    /// <summary>Layers of a page.</summary>
    public int Layers => _layers.Length;

    /// <summary>Bytes of a position in a layer.</summary>
    public int RowBytes { get; }

    /// <summary>Bytes of a page over all layers.</summary>
    public int PageBytes => _layerBytes * _layers.Length;

    /// <summary>The cache of one layer: [pages, 64, latent + rope].</summary>
    public Tensor Layer(int layer) => _layers[layer];

    /// <summary>Bytes of a page of <paramref name="model"/>.</summary>
    public static long BytesOfPage(Transformer model, bool withMtp) =>
        (long)GenerationSession.PageLength * model.Shape.LatentDim * model.DType.Size() * (model.Blocks.Count + (withMtp ? 1 : 0));

    /// <summary>A page to write to, held once; −1 when all are held. May forget the least recently used prefix.</summary>
    public int Take()
    {
        if (_freeCount == 0)
        {
            if (_oldest == None) return None;
            int reclaimed = _oldest;
            Unlink(reclaimed);
            Forget(reclaimed);
            _free[_freeCount++] = reclaimed;
        }

        int page = _free[--_freeCount];
        _references[page] = 1;
        return page;
    }

    /// <summary>Holds a page once more.</summary>
    public void Hold(int page)
    {
        if (_references[page]++ == 0) Unlink(page);
    }

    /// <summary>Lets go of a page; the last one to do so frees it, or leaves it remembered.</summary>
    public void Release(int page)
    {
        if (--_references[page] > 0) return;
        if (_references[page] < 0) throw new InvalidOperationException($"Page {page} was released more often than held.");
        if (_named[page]) Link(page);
        else _free[_freeCount++] = page;
    }

    /// <summary>Whether a request may write to the page: nobody else holds it and nobody can find it.</summary>
    public bool IsPrivate(int page) => _references[page] == 1 && !_named[page];

    /// <summary>The page with this content; it is neither held nor checked.</summary>
    public bool Find(BlockKey key, out int page) => _pages.TryGetValue(key, out page);

    /// <summary>A page became full: it gets its checksum and its name, unless another page has that name already.</summary>
    public void Seal(int page, BlockKey key)
    {
        if (!_pages.TryAdd(key, page)) return;
        _checksums[page] = Checksum(page);
        _keys[page] = key;
        _named[page] = true;
    }

    /// <summary>Whether a named page still holds what was sealed.</summary>
    public bool IsIntact(int page) => _checksums[page] == Checksum(page);

    /// <summary>A named page can be found no more: it turned out damaged. Those who hold it keep it.</summary>
    public void Distrust(int page)
    {
        if (!_named[page]) return;
        if (_references[page] == 0)
        {
            Unlink(page);
            _free[_freeCount++] = page;
        }

        Forget(page);
    }

    /// <summary>XXH64 over all layers.</summary>
    public ulong Checksum(int page)
    {
        _checksum.Reset();
        for (int layer = 0; layer < _layers.Length; layer++) _checksum.Append(Rows(layer, page, GenerationSession.PageLength));
        return _checksum.Value;
    }

    /// <summary>The first rows of a page in one layer, as bytes.</summary>
    public Span<byte> Rows(int layer, int page, int rows) => new((byte*)_layers[layer].Address + ((long)page * _layerBytes), rows * RowBytes);

    /// <summary>Copies a page, all layers one after another.</summary>
    public void CopyOut(int page, Span<byte> destination)
    {
        for (int layer = 0; layer < _layers.Length; layer++) Rows(layer, page, GenerationSession.PageLength).CopyTo(destination[(layer * _layerBytes)..]);
    }

    /// <summary>Fills a page with what <see cref="CopyOut"/> gave.</summary>
    public void CopyIn(int page, ReadOnlySpan<byte> source)
    {
        for (int layer = 0; layer < _layers.Length; layer++) source.Slice(layer * _layerBytes, _layerBytes).CopyTo(Rows(layer, page, GenerationSession.PageLength));
    }

    /// <summary>Copies a page inside the pool.</summary>
    public void Copy(int from, int to)
    {
        for (int layer = 0; layer < _layers.Length; layer++) Rows(layer, from, GenerationSession.PageLength).CopyTo(Rows(layer, to, GenerationSession.PageLength));
    }

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();

    void Forget(int page)
    {
        _pages.Remove(_keys[page]);
        _named[page] = false;
    }

    void Link(int page)
    {
        _older[page] = _newest;
        _newer[page] = None;
        if (_newest != None) _newer[_newest] = page;
        else _oldest = page;
        _newest = page;
        Remembered++;
    }

    void Unlink(int page)
    {
        int older = _older[page], newer = _newer[page];
        if (older != None) _newer[older] = newer;
        else _oldest = newer;
        if (newer != None) _older[newer] = older;
        else _newest = older;
        Remembered--;
    }
}
