using System.Text;
using System.Text.Json.Nodes;
using CsCheck;

namespace Hadal.Text.Tests;

public sealed class TokenizerTests
{
    [Fact]
    public void Lower_ranks_merge_first_and_the_leftmost_among_equals()
    {
        // Ids: a 97, b 98, aa 256, ab 257, aab 258, bb 259.
        Tokenizer tokenizer = Tokenizer.Parse(Fixtures.Minimal(null, ("a", "a"), ("a", "b"), ("aa", "b"), ("b", "b")));
        Assert.Equal([256, 97], tokenizer.Encode("aaa"));
        Assert.Equal([256, 256], tokenizer.Encode("aaaa"));
        Assert.Equal([258], tokenizer.Encode("aab"));
        Assert.Equal([257, 98], tokenizer.Encode("abb"));
        Assert.Equal([97, 99, 259], tokenizer.Encode("acbb"));
        Assert.Empty(tokenizer.Encode(""));
    }

    [Fact]
    public void Both_spellings_of_merges_mean_the_same()
    {
        byte[] arrays = Fixtures.Minimal(root => root["model"]!["merges"] = new JsonArray(new JsonArray("a", "a"), new JsonArray("aa", "b")), ("a", "a"), ("aa", "b"));
        Assert.Equal(Tokenizer.Parse(Fixtures.Minimal(null, ("a", "a"), ("aa", "b"))).Encode("aabaa"), Tokenizer.Parse(arrays).Encode("aabaa"));
    }

    [Fact]
    public void Long_pieces_encode_as_short_ones_would()
    {
        Tokenizer tokenizer = Fixtures.Trained;
        Gen.Char["abct \n=e"].Array[0, 400].Sample(characters =>
        {
            string text = new(characters);
            Assert.Equal(NaiveIds(tokenizer, text), tokenizer.Encode(text));
        }, iter: 300);
        foreach (string unit in (string[])["a", "=", "啊", "ab"])
        {
            string text = string.Concat(Enumerable.Repeat(unit, 333));
            Assert.Equal(NaiveIds(tokenizer, text), tokenizer.Encode(text));
        }
    }

    /// <summary>The definition: again and again the lowest rank, leftmost, over the whole piece.</summary>
    static List<int> NaiveIds(Tokenizer tokenizer, string text)
    {
        (int[] left, int[] right, int[] merged) = tokenizer.Definition.Merges;
        var pieces = new List<byte[]>();
        var sink = new Copier(pieces);
        tokenizer.Definition.PreTokenizer.Split(Encoding.UTF8.GetBytes(text), ref sink);
        var ids = new List<int>();
        foreach (byte[] piece in pieces)
        {
            List<int> symbols = [.. piece.Select(value => tokenizer.RequireId(ByteAlphabet.ToChar(value).ToString()))];
            for (int rank = 0; rank < left.Length; rank++)
            {
                for (int i = 0; i + 1 < symbols.Count; i++)
                {
                    if (symbols[i] != left[rank] || symbols[i + 1] != right[rank]) continue;
                    symbols[i] = merged[rank];
                    symbols.RemoveAt(i + 1);
                }
            }
            ids.AddRange(symbols);
        }
        return ids;
    }

    readonly struct Copier(List<byte[]> pieces) : IPieceSink
    {
        public void Piece(ReadOnlySpan<byte> piece) => pieces.Add(piece.ToArray());
    }

    [Fact]
    public void A_hostile_run_of_one_letter_is_encoded_in_reasonable_time()
    {
        // Quadratic merging would need about 10^11 steps.
        string text = new('a', 300_000);
        int[] ids = Fixtures.Trained.Encode(text);
        Assert.Equal(text, Fixtures.Trained.Decode(ids));
        int[] spaces = Fixtures.Trained.Encode(new string(' ', 300_000));
        Assert.Equal(300_000, Fixtures.Trained.Decode(spaces).Length);
    }

    [Fact]
    public void Any_text_comes_back() => Generators.Text.Sample(text =>
    {
        Tokenizer tokenizer = Fixtures.Trained;
        Assert.Equal(text, tokenizer.Decode(tokenizer.Encode(text)));
        Assert.Equal(text, tokenizer.Decode(tokenizer.Encode(text, allowSpecial: true)));
        var fromBytes = new List<int>();
        tokenizer.EncodeUtf8(Encoding.UTF8.GetBytes(text), fromBytes);
        Assert.Equal(tokenizer.Encode(text), fromBytes);
    }, iter: 1000);

    [Fact]
    public void Generated_documents_come_back()
    {
        foreach (TestDocuments.Document document in TestDocuments.Generate(1500))
        {
            var ids = new List<int>();
            if (document.Text is { } text) Fixtures.Trained.Encode(text, ids, allowSpecial: true);
            else Fixtures.Trained.EncodeUtf8(document.Bytes, ids, allowSpecial: true);
            string expected = Encoding.UTF8.GetString(document.Bytes ?? Encoding.UTF8.GetBytes(document.Text!));
            Assert.Equal(expected, Fixtures.Trained.Decode([.. ids]));
        }
    }

    [Fact]
    public void A_lone_surrogate_is_read_as_the_replacement_character()
    {
        // Not inline data: attributes are stored as UTF-8 and could not hold these.
        Assert.Equal(Fixtures.Trained.Encode("a\uFFFDb"), Fixtures.Trained.Encode("a\uD83Db"));
        Assert.Equal(Fixtures.Trained.Encode("\uFFFD"), Fixtures.Trained.Encode("\uDE00"));
        Assert.Equal(Fixtures.Trained.Encode("\uFFFD😀"), Fixtures.Trained.Encode("\uD83D\uD83D\uDE00"));
    }

    [Theory]
    [InlineData("61FF62", "a\uFFFDb")]
    [InlineData("F09F98", "\uFFFD")]
    [InlineData("C0AF", "\uFFFD\uFFFD")]
    [InlineData("EDA080", "\uFFFD\uFFFD\uFFFD")]
    [InlineData("E28261", "\uFFFDa")]
    public void Ill_formed_bytes_are_read_as_replacement_characters(string hexadecimal, string read)
    {
        var ids = new List<int>();
        Fixtures.Trained.EncodeUtf8(Convert.FromHexString(hexadecimal), ids);
        Assert.Equal(Fixtures.Trained.Encode(read), ids);
    }

    [Fact]
    public void Control_tokens_are_found_only_when_allowed()
    {
        Tokenizer tokenizer = Fixtures.Trained;
        string text = $"x{SpecialTokens.User}y{SpecialTokens.EndOfSentence}";
        Assert.Equal(
            [.. tokenizer.Encode("x"), tokenizer.RequireId(SpecialTokens.User), .. tokenizer.Encode("y"), 1], tokenizer.Encode(text, allowSpecial: true));
        var controls = tokenizer.AddedTokens.Select(token => token.Id).ToHashSet();
        Assert.DoesNotContain(tokenizer.Encode(text), controls.Contains);
        Assert.Equal(text, tokenizer.Decode(tokenizer.Encode(text)));
        Assert.Equal($"x{SpecialTokens.User}y", tokenizer.Decode(tokenizer.Encode(text, allowSpecial: true), skipSpecial: true));
    }

    [Fact]
    public void Flags_of_added_tokens()
    {
        Tokenizer tokenizer = Tokenizer.Parse(Fixtures.Minimal(root => root["added_tokens"] = new JsonArray(
            Fixtures.Added(300, "<l>", lstrip: true),
            Fixtures.Added(301, "<r>", rstrip: true),
            Fixtures.Added(302, "word", singleWord: true),
            Fixtures.Added(303, "<lo"),
            Fixtures.Added(304, "<long>"),
            Fixtures.Added(305, "<long", normalized: true))));
        Assert.Equal(['a', 300, ' ', 'b'], tokenizer.Encode("a \n<l> b", allowSpecial: true));
        Assert.Equal(['a', ' ', 301, 'b'], tokenizer.Encode("a <r>  b", allowSpecial: true));
        Assert.Equal([301, 300], tokenizer.Encode("<r>   <l>", allowSpecial: true));
        Assert.Equal([302, ' ', 302, '.', 's', 'w', 'o', 'r', 'd'], tokenizer.Encode("word word.sword", allowSpecial: true));
        Assert.Equal([303, 'n'], tokenizer.Encode("<lon", allowSpecial: true));
        Assert.Equal([304], tokenizer.Encode("<long>", allowSpecial: true));
        Assert.Equal([303, 'n', 'g', '+'], tokenizer.Encode("<long+", allowSpecial: true)); // tokens of the exact kind are cut out first
        Assert.Equal(306, tokenizer.VocabularySize);
        Assert.Equal("", tokenizer.Decode([299, 5_000_000])); // ids without a token
        Assert.Equal("word", Encoding.UTF8.GetString(tokenizer.TokenBytes(302)));
    }

    [Fact]
    public void A_template_gives_what_stands_around_a_text()
    {
        byte[] json = Fixtures.Minimal(root =>
        {
            root["added_tokens"] = new JsonArray(Fixtures.Added(300, "<s>", special: true), Fixtures.Added(301, "</s>", special: true));
            root["post_processor"] = JsonNode.Parse("""
                {"type":"Sequence","processors":[{"type":"ByteLevel"},{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},
                {"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"</s>","type_id":0}}],"pair":[],"special_tokens":{}}]}
                """);
        });
        Tokenizer tokenizer = Tokenizer.Parse(json);
        Assert.Equal([300], tokenizer.Prefix.ToArray());
        Assert.Equal([301], tokenizer.Suffix.ToArray());
        Tokenizer again = Tokenizer.Parse(Fixtures.Json(tokenizer));
        Assert.Equal([300], again.Prefix.ToArray());
        Assert.Equal([301], again.Suffix.ToArray());
    }

    [Fact]
    public void Saving_and_loading_changes_nothing()
    {
        byte[] json = Fixtures.Json(Fixtures.Trained);
        Tokenizer again = Tokenizer.Parse(json);
        Assert.Equal(json, Fixtures.Json(again));
        Generators.Text.Sample(text => Assert.Equal(Fixtures.Trained.Encode(text), again.Encode(text)), iter: 300);
        byte[] withMark = [0xEF, 0xBB, 0xBF, .. json];
        Assert.Equal(again.VocabularySize, Tokenizer.Parse(withMark).VocabularySize);
    }

    [Fact]
    public void Many_threads_get_the_same_ids()
    {
        string[] texts = Fixtures.Corpus(600);
        Tokenizer shared = Tokenizer.Parse(Fixtures.Json(Fixtures.Trained));
        Tokenizer alone = Tokenizer.Parse(Fixtures.Json(Fixtures.Trained));
        int[][] expected = Array.ConvertAll(texts, text => alone.Encode(text.AsSpan(0, Math.Min(text.Length, 200))));
        Parallel.For(0, texts.Length * 4, new ParallelOptions { MaxDegreeOfParallelism = 4 }, i =>
        {
            string text = texts[i % texts.Length];
            Assert.Equal(expected[i % texts.Length], shared.Encode(text.AsSpan(0, Math.Min(text.Length, 200))));
        });
    }

    [Fact]
    public void Encoding_known_pieces_allocates_nothing()
    {
        byte[] text = "the time of the people and the well known work "u8.ToArray();
        var ids = new List<int>(1000);
        for (int i = 0; i < 50; i++)
        {
            ids.Clear();
            Fixtures.Trained.EncodeUtf8(text, ids);
        }
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 100; i++)
        {
            ids.Clear();
            Fixtures.Trained.EncodeUtf8(text, ids);
        }
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    [Fact]
    public void A_missing_control_token_is_named()
    {
        var e = Assert.Throws<InvalidOperationException>(() => Tokenizer.Parse(Fixtures.Minimal()).RequireId(SpecialTokens.User));
        Assert.Contains(SpecialTokens.User, e.Message, StringComparison.Ordinal);
    }
}
