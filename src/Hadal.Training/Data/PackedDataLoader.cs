namespace Hadal.Training.Data;

/// <summary>
/// Rows of tokens for training, addressed by their global index: row g of the run is item g mod <see cref="RowCount"/> of the shuffle of epoch
/// g / <see cref="RowCount"/>. The content of a micro-batch is fixed by its index, whoever reads it and when; the place in the data is one number.
/// </summary>
public sealed class PackedDataLoader
{
    readonly TokenRows _rows;
    readonly EpochPermutation _order;

    /// <summary>Reads from packed rows.</summary>
    /// <param name="rows">At least one row.</param>
    /// <param name="seed">The run's seed; decides the order.</param>
    public PackedDataLoader(TokenRows rows, ulong seed)
    {
        if (rows.Count == 0) Throw.Data("There is no text to train on: every document is empty or held out.", "Add text, or hold out less (data.held_out_every).");
        _rows = rows;
        _order = new EpochPermutation(rows.Count, seed);
    }

    /// <summary>Rows of one epoch.</summary>
    public int RowCount => _rows.Count;

    /// <summary>Tokens of a row: sequence length + 1 + MTP depth, so that every position has all its targets.</summary>
    public int RowTokens => _rows.RowTokens;

    /// <summary>Tokens of the corpus, padding not counted.</summary>
    public long TokenCount => _rows.TokenCount;

    /// <summary>Copies row <paramref name="globalRow"/> of the run.</summary>
    /// <param name="row">[<see cref="RowTokens"/>] token ids; −1 after the last one when the row is not full.</param>
    public void Read(long globalRow, Span<int> row) =>
        _rows.Read(_order.At(globalRow / _rows.Count, (int)(globalRow % _rows.Count)), row);
}
