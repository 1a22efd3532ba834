using System.Runtime.InteropServices;
using Hadal.Model;
using Hadal.Tensors;

namespace Hadal.Inference.Serving;

/// <summary>
/// The MTP module's part of a step. A position that drafts needs the module's whole block and the head; every other one only its row of the module's cache, for later positions
/// to read. Rows of decoded tokens are put off while nothing is drafted, for one product over many rows costs little: at most <see cref="MostDeferred"/> of a text, never over
/// the end of a page, so that a full page is always whole.
/// </summary>
sealed partial class BatchRunner
{
    /// <summary>Most positions of a text whose rows are put off.</summary>
    public const int MostDeferred = GenerationSession.PageLength;

    readonly int _deferredBytes;
    readonly Stack<byte[]> _spareDeferred = new();

    /// <summary>
    /// Brings the module's rows of this step's positions up to date (<see cref="Sequence.StepKept"/> of each sequence, whose next tokens are known now), or puts them off where
    /// <paramref name="mayDefer"/> allows; then runs the module and the head on the last position of each sequence whose <see cref="Sequence.DraftRow"/> is not −1. Draft rows
    /// are numbered in the order of sequences.
    /// </summary>
    public void ForwardDraft(Sequence[] sequences, int count, int draftRows, bool mayDefer)
    {
        int tokens = 0, batch = 0, most = 1;
        for (int s = 0; s < count; s++)
        {
            Sequence sequence = sequences[s];
            most = Math.Max(most, sequence.PageCount);
            sequence.AppendRows = 0;
            int rows = sequence.StepKept - (sequence.DraftRow >= 0 ? 1 : 0);
            if (mayDefer && sequence.DraftRow < 0 && sequence.LogitRow >= 0 && sequence.StepKept <= 2 && Defer(sequence)) continue;
            sequence.AppendRows = sequence.DeferredCount + rows;
            tokens += sequence.AppendRows;
            if (sequence.AppendRows > 0) batch++;
        }

        if (tokens > 0) Append(sequences, count, Take(tokens, batch, most));
        if (draftRows > 0) DraftLast(sequences, count, Take(draftRows, draftRows, most));
        _model.Backend.Synchronize();
    }

    /// <summary>Drops what was put off.</summary>
    public void DropDeferred(Sequence sequence)
    {
        if (sequence.Deferred is not null) _spareDeferred.Push(sequence.Deferred);
        sequence.Deferred = null;
        sequence.DeferredCount = 0;
    }

    /// <summary>Keeps the module's input of this step's positions; false: the rows have to be written now.</summary>
    bool Defer(Sequence sequence)
    {
        int first = sequence.Computed - sequence.StepKept;
        if (sequence.DeferredCount + sequence.StepKept > MostDeferred || first / MostDeferred != sequence.Computed / MostDeferred) return false;
        if (sequence.StepKept == 0) return true;
        sequence.Deferred ??= _spareDeferred.TryPop(out byte[]? spare) ? spare : new byte[_deferredBytes];
        int rowBytes = _deferredBytes / MostDeferred;
        for (int i = 0; i < sequence.StepKept; i++) RowBytes(_normed, sequence.StepRow + i).CopyTo(sequence.Deferred.AsSpan((sequence.DeferredCount + i) * rowBytes));
        sequence.DeferredCount += sequence.StepKept;
        return true;
    }

    void Append(Sequence[] sequences, int count, MtpInput input)
    {
        int rowBytes = _deferredBytes / MostDeferred, at = 0, batch = 0;
        for (int s = 0; s < count; s++)
        {
            Sequence sequence = sequences[s];
            if (sequence.AppendRows == 0) continue;
            int own = sequence.AppendRows - sequence.DeferredCount, first = sequence.Computed - sequence.StepKept - sequence.DeferredCount;
            input.Begin(sequence, batch++, at, first + sequence.AppendRows);
            for (int i = 0; i < sequence.DeferredCount; i++) sequence.Deferred.AsSpan(i * rowBytes, rowBytes).CopyTo(RowBytes(input.Previous, at + i));
            for (int i = 0; i < own; i++) RowBytes(_normed, sequence.StepRow + i).CopyTo(RowBytes(input.Previous, at + sequence.DeferredCount + i));
            input.Tokens(sequence, at, first, sequence.AppendRows);
            at += sequence.AppendRows;
            DropDeferred(sequence);
        }

        LatentPages pages = input.End(batch, at);
        _chunk.Positions = input.Positions;
        _chunk.Sequences = pages.QueryOffsets;
        Mtp!.AppendLatent(_chunk, input.Ids, input.Previous, pages, _pool.Layer(_pool.Layers - 1));
    }

    void DraftLast(Sequence[] sequences, int count, MtpInput input)
    {
        int at = 0, draftRows = input.Previous.Rows;
        for (int s = 0; s < count; s++)
        {
            Sequence sequence = sequences[s];
            if (sequence.DraftRow < 0) continue;
            input.Begin(sequence, at, at, sequence.Computed);
            RowBytes(_normed, sequence.StepRow + sequence.StepKept - 1).CopyTo(RowBytes(input.Previous, at));
            input.Tokens(sequence, at++, sequence.Computed - 1, 1);
        }

        LatentPages pages = input.End(at, at);
        _chunk.Positions = input.Positions;
        _chunk.Sequences = pages.QueryOffsets;
        Tensor normed = _scratch.Allocate(_model.DType, draftRows, _model.Shape.Hidden);
        BlockSaved saved = Mtp!.Block.Routed is null ? _dense : _sparse;
        ArenaMark record = _scratch.Mark();
        saved.Allocate(_scratch, Mtp.Block, _model.Recipe, _model.DType, draftRows);
        Mtp.ForwardAbsorbed(_chunk, input.Ids, input.Previous, pages, _pool.Layer(_pool.Layers - 1), saved, normed);
        CountLoad(_model.Blocks.Count, saved);
        _scratch.Release(record);
        _draftLogits = _scratch.Allocate(_model.DType, draftRows, _model.Shape.Vocabulary);
        _model.Head.Logits(_chunk, normed, _draftLogits);
    }

    MtpInput Take(int tokens, int batch, int pages) => new(
        _scratch.Allocate(_model.DType, tokens, _model.Shape.Hidden), _scratch.Allocate(DType.I32, tokens), _scratch.Allocate(DType.I32, tokens), _scratch.Allocate(DType.I32, batch, pages),
        _scratch.Allocate(DType.I32, batch + 1), _scratch.Allocate(DType.I32, batch));

    static Span<byte> RowBytes(Tensor tensor, int row) =>
        tensor.DType == DType.F64 ? MemoryMarshal.AsBytes(tensor.Row<double>(row)) : MemoryMarshal.AsBytes(tensor.Row<float>(row));

    /// <summary>What the module reads, filled sequence by sequence.</summary>
    readonly record struct MtpInput(Tensor Previous, Tensor Ids, Tensor Positions, Tensor Table, Tensor Offsets, Tensor Lengths)
    {
        public void Begin(Sequence sequence, int index, int offset, int length)
        {
            sequence.Pages.AsSpan(0, sequence.PageCount).CopyTo(Table.Row<int>(index));
            Offsets.AsSpan<int>()[index] = offset;
            Lengths.AsSpan<int>()[index] = length;
        }

        public void Tokens(Sequence sequence, int row, int first, int count)
        {
            for (int i = 0; i < count; i++)
            {
                Positions.AsSpan<int>()[row + i] = first + i;
                Ids.AsSpan<int>()[row + i] = sequence.State.Tokens[first + i + 1];
            }
        }

        public LatentPages End(int batch, int rows)
        {
            Offsets.AsSpan<int>()[batch] = rows;
            return new LatentPages(Table, Offsets, Lengths);
        }
    }
}
