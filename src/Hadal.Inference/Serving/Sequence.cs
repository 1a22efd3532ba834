using Hadal.Inference.Serving.Paging;

namespace Hadal.Inference.Serving;

/// <summary>What the batching engine keeps for a request it has taken.</summary>
sealed class Sequence
{
    /// <summary>Takes a request; no page is held yet.</summary>
    public Sequence(RequestState state, BlockKey root)
    {
        State = state;
        Pages = new int[(state.MostPositions / GenerationSession.PageLength) + 2];
        Keys = new BlockKey[Pages.Length];
        Root = root;
    }

    /// <summary>The request.</summary>
    public RequestState State { get; }

    /// <summary>Pages held, in order of position.</summary>
    public int[] Pages { get; }

    /// <summary>How many.</summary>
    public int PageCount { get; set; }

    /// <summary>Positions whose rows are in the pages.</summary>
    public int Computed { get; set; }

    /// <summary>Start of the hash chain.</summary>
    public BlockKey Root { get; }

    /// <summary>Names of the blocks so far.</summary>
    public BlockKey[] Keys { get; }

    /// <summary>Blocks that have their name.</summary>
    public int KeyCount { get; set; }

    /// <summary>Leading pages that were offered their name.</summary>
    public int Sealed { get; set; }

    /// <summary>Why it cannot go on.</summary>
    public Exception? Failure { get; set; }

    /// <summary>The drafted token that the next step verifies; −1 for none.</summary>
    public int Draft { get; set; } = -1;

    /// <summary>The distribution it was drawn from, for residual resampling.</summary>
    public double[]? DraftDistribution { get; set; }

    /// <summary>Copies of the pages while the request is put aside; null while it runs, or when nothing was kept.</summary>
    public byte[][]? Swapped { get; set; }

    /// <summary>Their checksums.</summary>
    public ulong[]? SwappedChecksums { get; set; }

    /// <summary>Order in which requests were taken; the oldest is never put aside.</summary>
    public long Order { get; set; }

    /// <summary>Tokens of this step, the draft included.</summary>
    public int StepTokens { get; set; }

    /// <summary>First row of this step.</summary>
    public int StepRow { get; set; }

    /// <summary>First row of logits; −1 when this step has none for it.</summary>
    public int LogitRow { get; set; }

    /// <summary>Whether the last of this step's tokens is a draft.</summary>
    public bool StepDrafted { get; set; }

    /// <summary>Positions that this step added for good.</summary>
    public int StepKept { get; set; }

    /// <summary>Inputs of the MTP module at the positions before <see cref="Computed"/> whose rows are put off; null for none.</summary>
    public byte[]? Deferred { get; set; }

    /// <summary>How many.</summary>
    public int DeferredCount { get; set; }

    /// <summary>Rows of the MTP module that this step writes, those put off before included.</summary>
    public int AppendRows { get; set; }

    /// <summary>Row of draft logits; −1 for none.</summary>
    public int DraftRow { get; set; }

    /// <summary>Pages whose request is only to be read, not to be continued: the receiver.</summary>
    public Workers.PageExport? Export => State.Attachment as Workers.PageExport;

    /// <summary>Positions to compute before a token may be chosen, or the pages handed on.</summary>
    public int Target => Export is null ? State.Length : State.Length - 1;

    /// <summary>The name of the block that begins at position 64·<paramref name="block"/>; its tokens must be known.</summary>
    public BlockKey Key(int block)
    {
        while (KeyCount <= block)
        {
            BlockKey before = KeyCount == 0 ? Root : Keys[KeyCount - 1];
            Keys[KeyCount] = before.Next(State.Tokens.Slice(KeyCount * GenerationSession.PageLength, GenerationSession.PageLength));
            KeyCount++;
        }

        return Keys[block];
    }

    /// <summary>Pages that so many positions need.</summary>
    public static int PagesFor(int positions) => (positions + GenerationSession.PageLength - 1) / GenerationSession.PageLength;
}
