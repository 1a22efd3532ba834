using System.Collections.Concurrent;
using Hadal.Formats;
using Hadal.Inference.Serving.Paging;

namespace Hadal.Inference.Serving.Workers;

/// <summary>
/// Pages of finished texts on their way from the worker that wrote them back to the one that reads prompts, so that the next turn of a conversation finds them. Bounded: what does
/// not fit is left out, and computed again if it is wanted. One thread gives, one takes.
/// </summary>
/// <param name="pageBytes">Bytes of a page.</param>
sealed class PageReturns(int pageBytes)
{
    readonly int _most = Math.Clamp((64 << 20) / pageBytes, 4, 256);
    readonly ConcurrentQueue<(BlockKey Key, byte[] Page, ulong Checksum)> _pages = new();
    readonly ConcurrentStack<byte[]> _spare = new();

    /// <summary>Sends a full page.</summary>
    public void Give(BlockKey key, PagePool pool, int page)
    {
        if (_pages.Count >= _most) return;
        byte[] copy = _spare.TryPop(out byte[]? spare) ? spare : new byte[pageBytes];
        pool.CopyOut(page, copy);
        _pages.Enqueue((key, copy, Checksum64.Compute(copy)));
    }

    /// <summary>Puts what arrived into a pool, to be remembered there, and into a store, if there is one.</summary>
    public void TakeAll(PagePool pool, PageStore? store)
    {
        while (_pages.TryDequeue(out (BlockKey Key, byte[] Page, ulong Checksum) sent))
        {
            if (Checksum64.Compute(sent.Page) == sent.Checksum && !pool.Find(sent.Key, out _) && pool.Take() is >= 0 and int page)
            {
                pool.CopyIn(page, sent.Page);
                pool.Seal(page, sent.Key);
                pool.Release(page);
                store?.Write(sent.Key, sent.Page, static (from, buffer) => from.AsSpan().CopyTo(buffer.Span));
            }

            _spare.Push(sent.Page);
        }
    }
}
