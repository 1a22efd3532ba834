using System.Globalization;
using System.Text.RegularExpressions;
using CsCheck;
using Hadal.Training.Data;

namespace Hadal.Training.Tests.Data;

public sealed partial class SplitAndOrderTests
{
    static Corpus Numbered(int count) => new("numbers", [.. Enumerable.Range(0, count).Select(i => new Document("n", i.ToString(CultureInfo.InvariantCulture)))]);

    [Fact]
    public void One_document_of_each_group_is_held_out_and_none_is_lost()
    {
        (Corpus training, Corpus held) = new HeldOutSplit(8, 3).Divide(Numbered(80));
        int[] indices = [.. held.Documents.Select(d => int.Parse(d.Text, CultureInfo.InvariantCulture))];
        Assert.Equal(Enumerable.Range(0, 10), indices.Select(i => i / 8));
        Assert.True(indices.Select(i => i % 8).Distinct().Count() > 2, "the place inside the group is drawn");
        Assert.Equal(Enumerable.Range(0, 80), training.Documents.Concat(held.Documents).Select(d => int.Parse(d.Text, CultureInfo.InvariantCulture)).Order());
        Assert.Equal(held.Documents, new HeldOutSplit(8, 3).Divide(Numbered(80)).HeldOut.Documents);
        Assert.NotEqual(held.Documents, new HeldOutSplit(8, 4).Divide(Numbered(80)).HeldOut.Documents);
    }

    [Fact]
    public void Small_corpora_keep_something_to_train_on()
    {
        Assert.Empty(new HeldOutSplit(8, 3).Divide(Numbered(1)).HeldOut.Documents);
        Assert.Single(new HeldOutSplit(8, 3).Divide(Numbered(3)).HeldOut.Documents);
        Assert.Empty(new HeldOutSplit(0, 3).Divide(Numbered(30)).HeldOut.Documents);
    }

    [Fact]
    public void Every_epoch_visits_every_row_once() =>
        Gen.Select(Gen.Int[1, 700], Gen.Int[0, 5], Gen.ULong).Sample(
            (count, epoch, seed) =>
            {
                var order = new EpochPermutation(count, seed);
                Assert.Equal(Enumerable.Range(0, count), Enumerable.Range(0, count).Select(i => order.At(epoch, i)).Order());
            },
            iter: 50);

    [Fact]
    public void Epochs_and_seeds_have_their_own_order()
    {
        int[] Order(ulong seed, long epoch) => [.. Enumerable.Range(0, 100).Select(i => new EpochPermutation(100, seed).At(epoch, i))];
        Assert.NotEqual(Order(1, 0), Order(1, 1));
        Assert.NotEqual(Order(1, 0), Order(2, 0));
        Assert.NotEqual(Enumerable.Range(0, 100), Order(1, 0));
    }

    [Fact]
    public void A_row_is_the_same_whenever_it_is_read()
    {
        var rows = new TokenRows([.. Enumerable.Range(0, 70)], 10);
        var loader = new PackedDataLoader(rows, 5);
        int[] Read(long row)
        {
            int[] result = new int[10];
            loader.Read(row, result);
            return result;
        }

        int[][] twice = [.. Enumerable.Range(0, 14).Select(r => Read(r))];
        Assert.Equal(twice[11], Read(11));
        Assert.Equal(Enumerable.Range(0, 7).Select(i => i * 10), twice[..7].Select(r => r[0]).Order());
        Assert.Equal(Enumerable.Range(0, 7).Select(i => i * 10), twice[7..].Select(r => r[0]).Order());
        Assert.Throws<TrainingDataException>(() => new PackedDataLoader(new TokenRows([], 10), 1));
    }

    [Fact]
    public void A_damaged_cache_is_not_used()
    {
        using var folder = new TemporaryFolder();
        string file = folder.File("x.rows");
        var rows = new TokenRows([1, 2, 3, 4, -1, -1], 3);
        rows.Save(file);
        TokenRows read = TokenRows.TryLoad(file, 3)!;
        int[] row = new int[3];
        read.Read(1, row);
        Assert.Equal([4, -1, -1], row);
        Assert.Equal(4, read.TokenCount);
        Assert.Null(TokenRows.TryLoad(file, 6));
        byte[] bytes = File.ReadAllBytes(file);
        for (int at = 0; at < bytes.Length; at++)
        {
            if (at is >= 32 and < 40) continue; // reserved bytes of the header
            byte[] flipped = [.. bytes];
            flipped[at] ^= 4;
            File.WriteAllBytes(file, flipped);
            Assert.Null(TokenRows.TryLoad(file, 3));
        }

        File.WriteAllBytes(file, bytes[..^1]);
        Assert.Null(TokenRows.TryLoad(file, 3));
    }

    [Fact]
    public void Arithmetic_is_right_and_reproducible()
    {
        var source = new ArithmeticDocuments(9);
        string text = string.Concat(Enumerable.Range(0, 40).Select(source.Text));
        Assert.Equal(text, string.Concat(new ArithmeticDocuments(9).Corpus(40).Documents.Select(d => d.Text)));
        Assert.NotEqual(source.Text(0), source.Text(1), StringComparer.Ordinal);
        int digits = 0, words = 0;
        Dictionary<string, int> value = Enumerable.Range(0, 1000).ToDictionary(ArithmeticDocuments.Words, n => n, StringComparer.OrdinalIgnoreCase);
        foreach (string line in text.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            Match match = Digits().Match(line);
            bool spoken = !match.Success;
            if (spoken) match = Spoken().Match(line);
            Assert.True(match.Success, line);
            int Operand(int group) => spoken ? value[match.Groups[group].Value] : int.Parse(match.Groups[group].Value, CultureInfo.InvariantCulture);
            int expected = match.Groups[2].Value switch { "+" or "plus" => Operand(1) + Operand(3), "-" or "minus" => Operand(1) - Operand(3), _ => Operand(1) * Operand(3) };
            Assert.Equal(expected, Operand(4));
            if (spoken) words++;
            else digits++;
        }

        Assert.True(digits > 100 && words > 100);
        Assert.Equal("one hundred and forty-four", ArithmeticDocuments.Words(144));
    }

    [GeneratedRegex(@"^([0-9]+) ([-+*]) ([0-9]+) = ([0-9]+)$")]
    private static partial Regex Digits();

    [GeneratedRegex(@"^([A-Za-z -]+) (plus|minus|times) ([a-z -]+) is ([a-z -]+)\.$")]
    private static partial Regex Spoken();
}
