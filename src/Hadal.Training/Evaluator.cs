using Hadal.Model;
using Hadal.Tensors;
using Hadal.Training.Running;

namespace Hadal.Training;

/// <summary>Tokens of a held-out document: BOS first, then the document; EOS is not part of it.</summary>
/// <param name="Tokens">Ids.</param>
/// <param name="Bytes">UTF-8 bytes of the document.</param>
public sealed record HeldOutDocument(int[] Tokens, int Bytes);

/// <summary>Held-out documents of one corpus.</summary>
/// <param name="Corpus">Its name.</param>
/// <param name="Documents">Whole documents.</param>
public sealed record HeldOutText(string Corpus, IReadOnlyList<HeldOutDocument> Documents)
{
    /// <summary>UTF-8 bytes of all documents.</summary>
    public long Bytes => Documents.Sum(d => (long)d.Bytes);

    /// <summary>The first documents until <paramref name="bytes"/> are reached; at least one. 0 means all.</summary>
    public HeldOutText Take(long bytes)
    {
        if (bytes <= 0 || bytes >= Bytes) return this;
        var taken = new List<HeldOutDocument>();
        long sum = 0;
        foreach (HeldOutDocument document in Documents)
        {
            if (sum >= bytes) break;
            taken.Add(document);
            sum += document.Bytes;
        }

        return this with { Documents = taken };
    }
}

/// <summary>
/// Bits per byte = total negative log-likelihood / (ln 2 · bytes) over whole documents. BOS is given and not counted; nothing else is given.
/// The rule for long documents: windows of T tokens that begin every <see cref="Stride"/> tokens; a token is scored in the first window that
/// predicts it, so all but a document's first T see at least T − stride tokens before them.
/// </summary>
public sealed class Evaluator : IDisposable
{
    readonly SequenceChunk _chunk;
    readonly int[] _rows;
    readonly int[] _first;
    readonly Tensor _total;
    readonly TensorMemory _totalMemory;

    /// <summary>Takes memory for windows.</summary>
    /// <param name="model">The model; its weights are read at every call.</param>
    /// <param name="length">T, tokens of a window.</param>
    /// <param name="windows">Windows that run together; does not change any bit.</param>
    /// <param name="stride">Tokens from one window to the next; 0 means half a window.</param>
    public Evaluator(Transformer model, int length, int windows, int stride = 0)
    {
        if (stride < 0 || stride > length) throw new ArgumentOutOfRangeException(nameof(stride), stride, $"A stride is 1 to {length} (the window), or 0 for half of it.");
        _chunk = new SequenceChunk(model, windows, length, training: false);
        _rows = new int[windows * (length + 1)];
        _first = new int[windows];
        _totalMemory = model.Backend.Allocate(64);
        _total = Tensor.View(_totalMemory, 0, DType.F64, 1);
        Length = length;
        Stride = stride == 0 ? Math.Max(1, length / 2) : stride;
    }

    /// <summary>Tokens of a window.</summary>
    public int Length { get; }

    /// <summary>Tokens from one window to the next.</summary>
    public int Stride { get; }

    /// <summary>Scores a text.</summary>
    /// <param name="cancel">Ends early with an <see cref="OperationCanceledException"/>.</param>
    public TextScore Score(HeldOutText text, CancellationToken cancel = default)
    {
        double nats = 0;
        int pending = 0;
        long tokens = 0;
        foreach (HeldOutDocument document in text.Documents)
        {
            tokens += document.Tokens.Length - 1;
            foreach ((int start, int firstScored) in Windows(document.Tokens.Length))
            {
                Span<int> row = _rows.AsSpan(pending * (Length + 1), Length + 1);
                ReadOnlySpan<int> part = document.Tokens.AsSpan(start, Math.Min(Length + 1, document.Tokens.Length - start));
                part.CopyTo(row);
                row[part.Length..].Fill(-1);
                _first[pending] = firstScored;
                if (++pending < _first.Length) continue;
                cancel.ThrowIfCancellationRequested();
                nats += Run(pending);
                pending = 0;
            }
        }

        if (pending > 0) nats += Run(pending);
        long bytes = text.Bytes;
        return new TextScore(text.Corpus, bytes == 0 ? double.NaN : nats / (Math.Log(2) * bytes), bytes, text.Documents.Count, tokens);
    }

    /// <summary>Start of each window, and the first target inside it that no earlier window scored.</summary>
    internal IEnumerable<(int Start, int FirstScored)> Windows(int tokens)
    {
        int scored = 0; // targets 1..scored are done
        for (int start = 0; scored < tokens - 1; start += Stride)
        {
            yield return (start, scored - start);
            scored = Math.Min(start + Length, tokens - 1);
        }
    }

    /// <summary>Runs the pending windows and adds the losses of what each scores.</summary>
    double Run(int pending)
    {
        _rows.AsSpan(pending * (Length + 1)).Fill(-1);
        ModelRows.Set(_chunk, _rows, Length + 1);
        Span<int> targets = _chunk.Targets[0].AsSpan<int>();
        for (int r = 0; r < pending; r++) targets.Slice(r * Length, _first[r]).Fill(-1);
        _chunk.Forward();
        _chunk.Context.Operations.Embedding.Sum(_chunk.Losses[0], 1, _total, accumulate: false);
        return _total.AsSpan<double>()[0];
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _chunk.Dispose();
        _totalMemory.Dispose();
    }
}

/// <summary>Gives rows with unfilled places to a chunk.</summary>
static class ModelRows
{
    /// <summary>Targets of the main model in a row as it is read.</summary>
    internal static int CountTargets(ReadOnlySpan<int> row, int length)
    {
        if (Supervised.SampleRows.IsMarked(row[0])) return Supervised.SampleRows.CountTargets(row, length);
        int used = row.IndexOf(-1);
        return Math.Clamp((used < 0 ? row.Length : used) - 1, 0, length);
    }

    /// <summary>Sets tokens; where a row holds −1 the input is token 0 and there is no target, neither for the model nor for MTP.</summary>
    /// <param name="rows">[sequences, width]; changed: −1 becomes 0.</param>
    /// <returns>Targets of the main model that are tokens.</returns>
    internal static int Set(SequenceChunk chunk, Span<int> rows, int width)
    {
        if (rows.Length > 0 && Supervised.SampleRows.IsMarked(rows[0])) return Supervised.SampleRows.Set(chunk, rows, width);

        // Unfilled places are only ever at the end of a row.
        int sequences = rows.Length / width;
        int[]? rented = null;
        Span<int> filled = sequences <= 256 ? stackalloc int[sequences] : (rented = System.Buffers.ArrayPool<int>.Shared.Rent(sequences)).AsSpan(0, sequences);
        for (int s = 0; s < sequences; s++)
        {
            Span<int> row = rows.Slice(s * width, width);
            int used = row.IndexOf(-1);
            filled[s] = used < 0 ? width : used;
            row[filled[s]..].Clear();
        }

        chunk.SetTokens(rows, width);
        int count = 0, length = chunk.Length;
        for (int k = 0; k < chunk.Targets.Count; k++)
        {
            Span<int> targets = chunk.Targets[k].AsSpan<int>();
            for (int s = 0; s < sequences; s++)
            {
                int valid = Math.Clamp(filled[s] - k - 1, 0, length);
                targets.Slice((s * length) + valid, length - valid).Fill(-1);
                if (k == 0) count += valid;
            }
        }

        if (rented is not null) System.Buffers.ArrayPool<int>.Shared.Return(rented);
        return count;
    }
}
