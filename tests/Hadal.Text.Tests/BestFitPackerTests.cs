using CsCheck;

namespace Hadal.Text.Tests;

public sealed class BestFitPackerTests
{
    [Fact]
    public void A_small_example_by_hand()
    {
        // Row length 10. Document 1 (23) gives 10, 10 and 3. Longest first: 10, 10, 7 (doc 2), 6 (doc 0), 4 (doc 3), 3 (doc 1), 2 (doc 5); document 4 is empty.
        PackedRows rows = BestFitPacker.Pack([6, 23, 7, 4, 0, 2], 10);
        Assert.Equal(5, rows.Count);
        Assert.Equal([new(1, 0, 10)], rows[0].ToArray());
        Assert.Equal([new(1, 10, 10)], rows[1].ToArray());
        Assert.Equal([new(2, 0, 7), new(1, 20, 3)], rows[2].ToArray());
        Assert.Equal([new(0, 0, 6), new(3, 0, 4)], rows[3].ToArray());
        Assert.Equal([new(5, 0, 2)], rows[4].ToArray());
        Assert.Equal((42L, 5, 1), (rows.Tokens, rows.Documents, rows.SplitDocuments));
        Assert.Equal(0.84, rows.Efficiency, 12);
    }

    [Fact]
    [Implements("V3 §4.1", "Documents are packed into rows so that only those longer than a row are cut")]
    public void Every_token_is_in_one_row_and_only_long_documents_are_cut() =>
        Gen.Select(Gen.Int[0, 300].Array[0, 200], Gen.Int[1, 200]).Sample((lengths, rowLength) =>
        {
            PackedRows rows = BestFitPacker.Pack(lengths, rowLength);
            bool[][] seen = Array.ConvertAll(lengths, length => new bool[length]);
            for (int row = 0; row < rows.Count; row++)
            {
                int used = 0;
                foreach (PackedPiece piece in rows[row])
                {
                    used += piece.Length;
                    for (int i = piece.Offset; i < piece.Offset + piece.Length; i++)
                    {
                        Assert.False(seen[piece.Document][i]);
                        seen[piece.Document][i] = true;
                    }
                    Assert.True(piece.Length == Math.Min(rowLength, lengths[piece.Document] - piece.Offset) && piece.Offset % rowLength == 0);
                }
                Assert.InRange(used, 1, rowLength);
            }
            Assert.All(seen, document => Assert.DoesNotContain(false, document));
            Assert.Equal(lengths.Count(length => length > rowLength), rows.SplitDocuments);
        }, iter: 500);

    [Fact]
    public void Each_piece_goes_where_it_leaves_the_least_room() => Gen.Select(Gen.Int[1, 90].Array[1, 120], Gen.Int[64, 90]).Sample((lengths, rowLength) =>
    {
        // The definition, searching all rows; only the number of rows per room is compared, since equal rooms are interchangeable.
        var rooms = new List<int>();
        foreach (int length in lengths.SelectMany(length => length > rowLength ? [rowLength, length - rowLength] : (int[])[length]).OrderDescending())
        {
            int best = -1;
            for (int row = 0; row < rooms.Count; row++)
                if (rooms[row] >= length && (best < 0 || rooms[row] < rooms[best])) best = row;
            if (best < 0)
            {
                best = rooms.Count;
                rooms.Add(rowLength);
            }
            rooms[best] -= length;
        }
        PackedRows rows = BestFitPacker.Pack(lengths, rowLength);
        Assert.Equal(rooms.Order(), Enumerable.Range(0, rows.Count).Select(row => rowLength - rows[row].ToArray().Sum(piece => piece.Length)).Order());
    }, iter: 500);

    [Fact]
    public void Long_rows_and_many_documents()
    {
        var random = new SplitMix(5);
        int[] lengths = [.. Enumerable.Range(0, 100_000).Select(_ => random.Next(1, 1 << random.Next(1, 12)))];
        PackedRows rows = BestFitPacker.Pack(lengths, 4096);
        Assert.Equal(lengths.Sum(length => (long)length), rows.Tokens);
        Assert.True(rows.Efficiency > 0.999, $"Efficiency {rows.Efficiency}");
        Assert.Equal(0, rows.SplitDocuments);
        Assert.Equal(2, BestFitPacker.Pack([300_000, 5], 300_001).Count);
    }

    [Fact]
    public void Nothing_gives_nothing_and_nonsense_is_refused()
    {
        Assert.Equal(0, BestFitPacker.Pack([], 8).Count);
        Assert.Equal(1, BestFitPacker.Pack([0, 0], 8).Efficiency);
        Assert.Throws<ArgumentOutOfRangeException>(() => BestFitPacker.Pack([1], 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => BestFitPacker.Pack([-1], 8));
    }
}
