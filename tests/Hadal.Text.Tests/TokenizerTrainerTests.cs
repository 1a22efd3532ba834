using System.Text;
using CsCheck;

namespace Hadal.Text.Tests;

public sealed class TokenizerTrainerTests
{
    static TokenizerTrainingOptions Options(int merges) => new() { VocabularySize = new TokenizerTrainingOptions().SmallestVocabulary + merges };

    static string[] Learned(Tokenizer tokenizer) =>
        [.. Enumerable.Range(259, tokenizer.Definition.Vocabulary.Length - 259).Select(id => Encoding.UTF8.GetString(tokenizer.TokenBytes(id)))];

    [Fact]
    public void The_textbook_example()
    {
        // Sennrich et al. 2016 without end-of-word marks: es and st occur 9 times each; s < t by id, and e is below s.
        Tokenizer tokenizer = TokenizerTrainer.Train(
            [string.Join('\n', Enumerable.Repeat("low", 5).Concat(Enumerable.Repeat("lower", 2)).Concat(Enumerable.Repeat("newest", 6)).Concat(Enumerable.Repeat("widest", 3)))], Options(4));
        Assert.Equal(["es", "est", "lo", "low"], Learned(tokenizer), StringComparer.Ordinal);
    }

    [Fact]
    public void Ids_are_laid_out_as_in_DeepSeeks_vocabulary()
    {
        Tokenizer tokenizer = Fixtures.Trained;
        Assert.Equal(700, tokenizer.VocabularySize);
        Assert.Equal([0, 1, 2], SpecialTokens.Leading.Select(tokenizer.RequireId));
        Assert.Equal([67], tokenizer.Encode("a\u0001")[..1]); // DeepSeek-V3's id of a
        Assert.Equal(3, tokenizer.RequireId("!"));
        Assert.Equal(Enumerable.Range(700 - SpecialTokens.Trailing.Count, SpecialTokens.Trailing.Count), SpecialTokens.Trailing.Select(tokenizer.RequireId));
    }

    [Fact]
    public void The_result_does_not_depend_on_threads_or_order_or_kind_of_text()
    {
        string[] corpus = Fixtures.Corpus(500);
        byte[] expected = Fixtures.Json(TokenizerTrainer.Train(corpus, new() { VocabularySize = 900, Threads = 1 }));
        foreach (int threads in (int[])[2, 5])
            Assert.Equal(expected, Fixtures.Json(TokenizerTrainer.Train(corpus, new() { VocabularySize = 900, Threads = threads })));
        Assert.Equal(expected, Fixtures.Json(TokenizerTrainer.Train(corpus.Reverse(), new() { VocabularySize = 900 })));
        Assert.Equal(expected, Fixtures.Json(TokenizerTrainer.TrainUtf8(corpus.Select(text => (ReadOnlyMemory<byte>)Encoding.UTF8.GetBytes(text)), new() { VocabularySize = 900 })));
    }

    [Fact]
    public void Cutting_long_documents_changes_no_count()
    {
        string text = string.Join('\n', Fixtures.Corpus(300));
        ReadOnlyMemory<byte>[] documents = [Encoding.UTF8.GetBytes(text)];
        Dictionary<byte[], long> whole = PieceCounter.Count(documents, 1, int.MaxValue, null, default);
        foreach (int chunk in (int[])[1, 100, 5000])
        {
            Dictionary<byte[], long> cut = PieceCounter.Count(documents, 2, chunk, null, default);
            Assert.Equal(whole.Count, cut.Count);
            Assert.All(whole, entry => Assert.Equal(entry.Value, cut[entry.Key]));
        }
    }

    [Fact]
    public void Merges_equal_those_of_counting_anew_each_time() => Gen.Char["aabbcd e"].Array[0, 80].Array[1, 5].Sample(texts =>
    {
        string[] documents = [.. texts.Select(characters => new string(characters))];
        if (documents.All(text => text.Length == 0)) return;
        Tokenizer tokenizer = TokenizerTrainer.Train(documents, Options(12) with { TrailingTokens = [] } with { VocabularySize = 259 + 12 });
        (int[] left, int[] right, int[] merged) = tokenizer.Definition.Merges;
        List<(int, int)> expected = NaiveMerges(documents, 12);
        Assert.Equal(expected, left.Zip(right));
        Assert.Equal(merged.Distinct().Count(), tokenizer.VocabularySize - 259);
    }, iter: 200);

    /// <summary>The definition, counting all pairs anew for every merge.</summary>
    static List<(int Left, int Right)> NaiveMerges(string[] documents, int tokens)
    {
        var vocabulary = new List<string>();
        vocabulary.AddRange(SpecialTokens.Leading);
        foreach (byte value in ByteAlphabet.VocabularyOrder) vocabulary.Add(ByteAlphabet.ToChar(value).ToString());
        List<(List<int> Symbols, long Count)> pieces =
        [
            .. PieceCounter.Count(documents.Select(text => (ReadOnlyMemory<byte>)Encoding.UTF8.GetBytes(text)), 1, int.MaxValue, null, default)
                .Select(entry => (entry.Key.Select(value => vocabulary.IndexOf(ByteAlphabet.ToChar(value).ToString())).ToList(), entry.Value)),
        ];
        var merges = new List<(int Left, int Right)>();
        int limit = vocabulary.Count + tokens;
        while (vocabulary.Count < limit)
        {
            var counts = new Dictionary<(int Left, int Right), long>();
            foreach ((List<int> symbols, long count) in pieces)
                for (int i = 0; i + 1 < symbols.Count; i++) counts[(symbols[i], symbols[i + 1])] = counts.GetValueOrDefault((symbols[i], symbols[i + 1])) + count;
            ((int Left, int Right) pair, long best) = counts.OrderByDescending(entry => entry.Value).ThenBy(entry => entry.Key).FirstOrDefault();
            if (best < 2) break;
            string token = vocabulary[pair.Left] + vocabulary[pair.Right];
            if (!vocabulary.Contains(token, StringComparer.Ordinal)) vocabulary.Add(token);
            int id = vocabulary.IndexOf(token);
            merges.Add(pair);
            foreach ((List<int> symbols, _) in pieces)
            {
                for (int i = 0; i + 1 < symbols.Count; i++)
                {
                    if (symbols[i] != pair.Left || symbols[i + 1] != pair.Right) continue;
                    symbols[i] = id;
                    symbols.RemoveAt(i + 1);
                }
            }
        }
        return merges;
    }

    [Fact]
    public void Rare_pairs_and_long_tokens_are_not_made()
    {
        Tokenizer tokenizer = TokenizerTrainer.Train(["abab abab cd"], Options(50) with { MinimumFrequency = 3 });
        Assert.Equal(["ab"], Learned(tokenizer), StringComparer.Ordinal);
        tokenizer = TokenizerTrainer.Train([string.Join(' ', Enumerable.Repeat("abcdefgh", 10))], Options(50) with { MaximumTokenBytes = 3 });
        Assert.Equal(3, Learned(tokenizer).Max(token => token.Length));
    }

    [Fact]
    public void A_control_token_does_not_become_an_ordinary_one()
    {
        Tokenizer tokenizer = TokenizerTrainer.Train([string.Join('\n', Enumerable.Repeat("mark", 50))], new() { VocabularySize = 300, TrailingTokens = ["mark"] });
        Assert.DoesNotContain("mark", Learned(tokenizer), StringComparer.Ordinal);
        Assert.Equal([tokenizer.RequireId("mark")], Tokenizer.Parse(Fixtures.Json(tokenizer)).Encode("mark", allowSpecial: true));
    }

    [Fact]
    public void Progress_is_reported_in_order()
    {
        var reports = new List<TokenizerTrainingProgress>();
        TokenizerTrainer.Train(Fixtures.Corpus(100), Options(200), new Recorder(reports));
        long bytes = Fixtures.Corpus(100).Sum(text => (long)Encoding.UTF8.GetByteCount(text));
        Assert.Equal(Fixtures.Corpus(100).Length, reports.Count(report => report.Stage == TokenizerTrainingStage.Counting));
        Assert.Equal(new(TokenizerTrainingStage.Counting, bytes, bytes), reports.Last(report => report.Stage == TokenizerTrainingStage.Counting));
        Assert.Equal(reports.OrderBy(report => report.Stage).ThenBy(report => report.Step), reports);
        Assert.Equal(new(TokenizerTrainingStage.Merging, 459, 459), reports[^1]);
        Assert.All(reports, report => Assert.InRange(report.Step, 1, report.Total));
    }

    [Fact]
    public void One_long_document_is_reported_in_parts()
    {
        var reports = new List<TokenizerTrainingProgress>();
        string text = string.Concat(Enumerable.Repeat("It is a truth universally acknowledged,\n", 40_000));
        TokenizerTrainer.Train([text], Options(10), new Recorder(reports));
        Assert.True(reports.Count(report => report.Stage == TokenizerTrainingStage.Counting) >= 5);
        Assert.All(reports, report => Assert.InRange(report.Step, 1, report.Total));
    }

    sealed class Recorder(List<TokenizerTrainingProgress> reports) : IProgress<TokenizerTrainingProgress>
    {
        public void Report(TokenizerTrainingProgress value) => reports.Add(value);
    }

    [Fact]
    public void Cancellation_ends_the_work()
    {
        using var source = new CancellationTokenSource();
        source.Cancel();
        Assert.ThrowsAny<OperationCanceledException>(() => TokenizerTrainer.Train(Fixtures.Corpus(100), cancellation: source.Token));
        using var later = new CancellationTokenSource();
        var reports = new CancelAt(later);
        Assert.ThrowsAny<OperationCanceledException>(() => TokenizerTrainer.Train(Fixtures.Corpus(400), Options(400), reports, later.Token));
    }

    sealed class CancelAt(CancellationTokenSource source) : IProgress<TokenizerTrainingProgress>
    {
        public void Report(TokenizerTrainingProgress value)
        {
            if (value.Stage == TokenizerTrainingStage.Merging) source.Cancel();
        }
    }

    [Fact]
    public void Impossible_wishes_are_refused()
    {
        Assert.Contains("no text", Assert.Throws<ArgumentException>(() => TokenizerTrainer.Train([])).Message, StringComparison.Ordinal);
        Assert.Contains("no text", Assert.Throws<ArgumentException>(() => TokenizerTrainer.Train(["", ""])).Message, StringComparison.Ordinal);
        Assert.Contains("VocabularySize", Assert.Throws<ArgumentException>(() => TokenizerTrainer.Train(["a"], new() { VocabularySize = 100 })).Message, StringComparison.Ordinal);
        Assert.Contains("twice", Assert.Throws<ArgumentException>(() => TokenizerTrainer.Train(["a"], new() { TrailingTokens = ["<x>", "<x>"] })).Message, StringComparison.Ordinal);
        Assert.Contains("threads", Assert.Throws<ArgumentException>(() => TokenizerTrainer.Train(["a"], new() { Threads = 0 })).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_small_corpus_gives_a_smaller_vocabulary()
    {
        Tokenizer tokenizer = TokenizerTrainer.Train(["abcabc"], Options(1000));
        Assert.Equal(["ab", "abc"], Learned(tokenizer), StringComparer.Ordinal);
        Assert.Equal(new TokenizerTrainingOptions().SmallestVocabulary + 2, tokenizer.VocabularySize);
        Assert.Equal("any 😀 text", tokenizer.Decode(tokenizer.Encode("any 😀 text")));
    }
}
