using Hadal.Inference.Serving.Paging;
using Hadal.Inference.Serving.Workers;

namespace Hadal.Inference.Serving;

/// <summary>Taking requests, and their pages: found, written, copied, put aside, remembered.</summary>
public sealed partial class InferenceEngine
{
    const int Page = GenerationSession.PageLength;

    /// <summary>Takes up what was put aside, then what waits, as long as there are pages.</summary>
    void Admit()
    {
        while (_running.Count < Options.MaxRunning && _aside.Count > 0)
        {
            Sequence sequence = _aside[0];
            if (!HasRoom(Sequence.PagesFor(Math.Max(sequence.State.Length, sequence.Computed)) + 1)) return;
            _aside.RemoveAt(0);
            Resume(sequence);
            AddRunning(sequence);
        }

        while (_running.Count < Options.MaxRunning && Queue.Next() is RequestState next)
        {
            // Who waits for pages is looked at in every step: his chain of names is kept.
            Sequence sequence = ReferenceEquals(_candidate?.State, next) ? _candidate! : _candidate = new Sequence(next, Root(next.Request.Owner));
            Find(sequence);
            if (!HasRoom(Sequence.PagesFor(next.Length) + 1 - sequence.PageCount))
            {
                ReleasePages(sequence);
                return;
            }

            _candidate = null;
            Start(next);
            next.CachedTokens = Math.Min(sequence.Computed, next.PromptLength);
            if (next.Attachment is PageImport import) Import(sequence, import);
            _promptTokens += next.PromptLength;
            _cachedTokens += next.CachedTokens;
            sequence.Order = _orders++;
            next.Start();
            AddRunning(sequence);
        }
    }

    void AddRunning(Sequence sequence)
    {
        int place = _running.Count;
        while (place > 0 && _running[place - 1].Order > sequence.Order) place--;
        _running.Insert(place, sequence);
        Volatile.Write(ref _runningCount, _running.Count);
        if (sequence.Export is PageExport export && sequence.Computed >= sequence.Target)
        {
            // All of it was remembered (or there is but one token): nothing is left to compute.
            export.Pages.TrySetResult(PageTransfer.Write(_pool, Model.Fingerprint, sequence.Pages.AsSpan(0, sequence.PageCount), sequence.Target));
            Leave(sequence, null);
        }
    }

    /// <summary>Whether so many pages can be had beside those that running requests still need for tokens they have. The first request always has room.</summary>
    bool HasRoom(int pages)
    {
        if (_running.Count == 0) return true;
        int promised = 0;
        foreach (Sequence sequence in _running) promised += Math.Max(0, Sequence.PagesFor(sequence.State.Length) - sequence.PageCount);
        return _pool.Available - promised >= pages;
    }

    BlockKey Root(string owner)
    {
        if (Options.SharedPrefixes) owner = "";
        if (_roots.TryGetValue(owner, out BlockKey root)) return root;
        if (_roots.Count >= 1024) _roots.Clear();
        root = BlockKey.Root(Model.Fingerprint, owner);
        _roots.Add(owner, root);
        return root;
    }

    /// <summary>Holds the remembered pages that the tokens begin with. The last token is always computed: its logits are wanted.</summary>
    void Find(Sequence sequence)
    {
        if (!Options.PrefixCache) return;
        int blocks = sequence.State.Length / Page;
        for (int block = 0; block < blocks; block++)
        {
            BlockKey key = sequence.Key(block);
            if (_pool.Find(key, out int page))
            {
                if (!_pool.IsIntact(page))
                {
                    _pool.Distrust(page);
                    break;
                }

                _pool.Hold(page);
            }
            else if (_store is not null && _store.Knows(key) && (page = _pool.Take()) >= 0)
            {
                byte[] buffer = _swap.Take();
                bool found = _store.TryRead(key, buffer);
                if (found)
                {
                    _pool.CopyIn(page, buffer);
                    _pool.Seal(page, key);
                }

                _swap.Return(buffer);
                if (!found)
                {
                    _pool.Release(page);
                    break;
                }
            }
            else
            {
                break;
            }

            sequence.Pages[sequence.PageCount++] = page;
        }

        sequence.Computed = Math.Min(sequence.PageCount * Page, sequence.State.Length - 1);
    }

    /// <summary>Takes pages that were computed elsewhere, beyond what was found here.</summary>
    void Import(Sequence sequence, PageImport import)
    {
        int positions = Math.Min(PageTransfer.Positions(import.Pages), sequence.State.Length - 1);
        if (positions <= sequence.Computed) return;
        for (int page = sequence.PageCount; page < Sequence.PagesFor(positions); page++)
        {
            int taken = _pool.Take();
            if (taken < 0) break; // the rest is computed
            PageTransfer.Read(import.Pages, page, _pool, taken);
            sequence.Pages[sequence.PageCount++] = taken;
            sequence.Computed = Math.Min((page + 1) * Page, positions);
        }

        Seal(sequence);
    }

    /// <summary>Makes the pages of the next <paramref name="count"/> positions there and writable.</summary>
    /// <param name="mayPutAside">Whether younger requests, or this one, may be put aside for it.</param>
    bool Reserve(Sequence sequence, int count, bool mayPutAside)
    {
        int first = sequence.Computed / Page, last = (sequence.Computed + count - 1) / Page;
        for (int index = first; index <= last; index++)
        {
            if (index < sequence.PageCount && _pool.IsPrivate(sequence.Pages[index])) continue;
            int page = _pool.Take();
            while (page < 0)
            {
                if (!mayPutAside) return false;
                Sequence victim = _running[^1];
                PutAside(victim);
                if (ReferenceEquals(victim, sequence)) return false;
                page = _pool.Take();
            }

            if (index < sequence.PageCount)
            {
                // Shared or remembered: copy on write.
                _pool.Copy(sequence.Pages[index], page);
                _pool.Release(sequence.Pages[index]);
                sequence.Pages[index] = page;
            }
            else
            {
                sequence.Pages[sequence.PageCount++] = page;
            }
        }

        return true;
    }

    /// <summary>Copies the pages of a request out and frees them. Where there is no memory for copies, its tokens are computed again later: the same bits.</summary>
    void PutAside(Sequence sequence)
    {
        _running.Remove(sequence);
        Volatile.Write(ref _runningCount, _running.Count);
        _preempted++;
        sequence.StepTokens = 0;
        int used = Sequence.PagesFor(sequence.Computed);
        if (_swap.Has(used))
        {
            sequence.Swapped = new byte[used][];
            sequence.SwappedChecksums = new ulong[used];
            for (int i = 0; i < used; i++)
            {
                byte[] buffer = _swap.Take();
                _pool.CopyOut(sequence.Pages[i], buffer);
                sequence.Swapped[i] = buffer;
                sequence.SwappedChecksums[i] = Formats.Checksum64.Compute(buffer);
            }
        }
        else
        {
            sequence.Computed = 0;
            sequence.Draft = -1;
            _runner.DropDeferred(sequence);
        }

        ReleasePages(sequence);
        int place = 0;
        while (place < _aside.Count && _aside[place].Order < sequence.Order) place++;
        _aside.Insert(place, sequence);
    }

    /// <summary>Gives a request its pages back: those still remembered, then the copies.</summary>
    void Resume(Sequence sequence)
    {
        if (sequence.Swapped is not { } swapped)
        {
            Find(sequence);
            return;
        }

        int computed = sequence.Computed;
        for (int i = 0; i < swapped.Length; i++)
        {
            if (Options.PrefixCache && (i + 1) * Page <= computed && _pool.Find(sequence.Key(i), out int page) && _pool.IsIntact(page))
            {
                _pool.Hold(page);
            }
            else if (Formats.Checksum64.Compute(swapped[i]) != sequence.SwappedChecksums![i] || (page = _pool.Take()) < 0)
            {
                // A damaged copy: compute from here on.
                sequence.Computed = Math.Min(computed, i * Page);
                sequence.Draft = -1;
                _runner.DropDeferred(sequence);
                break;
            }
            else
            {
                _pool.CopyIn(page, swapped[i]);
            }

            sequence.Pages[sequence.PageCount++] = page;
        }

        DropSwapped(sequence);
        Seal(sequence);
    }

    void DropSwapped(Sequence sequence)
    {
        if (sequence.Swapped is null) return;
        foreach (byte[] buffer in sequence.Swapped) _swap.Return(buffer);
        sequence.Swapped = null;
        sequence.SwappedChecksums = null;
    }

    /// <summary>Names the pages that became full.</summary>
    void Seal(Sequence sequence)
    {
        if (!Options.PrefixCache) return;
        for (; (sequence.Sealed + 1) * Page <= sequence.Computed; sequence.Sealed++)
        {
            if (sequence.Sealed < sequence.PageCount && _pool.IsPrivate(sequence.Pages[sequence.Sealed])) _pool.Seal(sequence.Pages[sequence.Sealed], sequence.Key(sequence.Sealed));
        }
    }

    /// <summary>Sends the full pages of a request to the disk, and those that its text added to the worker that reads prompts.</summary>
    void Remember(Sequence sequence)
    {
        if (sequence.Failure is not null) return;
        if (Options.Returns is { } returns)
        {
            for (int block = (sequence.State.PromptLength - 1) / Page; (block + 1) * Page <= sequence.Computed && block < sequence.PageCount; block++)
                returns.Give(sequence.Key(block), _pool, sequence.Pages[block]);
        }

        if (_store is null) return;
        for (int block = 0; (block + 1) * Page <= sequence.Computed && block < sequence.PageCount; block++)
            _store.Write(sequence.Key(block), (Pool: _pool, Page: sequence.Pages[block]), static (from, buffer) => from.Pool.CopyOut(from.Page, buffer.Span));
    }

    // The last pages first: of a prefix that is forgotten, the end goes before the beginning.
    void ReleasePages(Sequence sequence)
    {
        for (int i = sequence.PageCount - 1; i >= 0; i--) _pool.Release(sequence.Pages[i]);
        sequence.PageCount = 0;
        sequence.Sealed = 0;
    }
}
