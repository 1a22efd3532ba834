using System.Text;
using System.Text.Json.Nodes;

namespace Hadal.Text.Tests;

public sealed class HostileFileTests
{
    public static TheoryData<string, string> Changes() => new()
    {
        // what to set where (JSON), and what the message must say
        { "normalizer={\"type\":\"NFC\"}", "normalizer NFC" },
        { "normalizer={\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"}]}", "normalizer Lowercase" },
        { "pre_tokenizer=null", "no pre-tokenizer" },
        { "pre_tokenizer={\"type\":\"Metaspace\"}", "pre-tokenizer Metaspace" },
        { "pre_tokenizer={\"type\":\"Sequence\",\"pretokenizers\":[]}", "no ByteLevel" },
        { "pre_tokenizer={\"type\":\"ByteLevel\",\"add_prefix_space\":true}", "add_prefix_space" },
        { "pre_tokenizer={\"type\":\"Split\",\"behavior\":\"Removed\"}", "behavior Removed" },
        { "pre_tokenizer={\"type\":\"Split\",\"behavior\":\"Isolated\",\"invert\":true}", "inverted" },
        { "pre_tokenizer={\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"String\":\"x\"}}", "pattern.Regex" },
        { "pre_tokenizer={\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"(a)\"}}", "a group" },
        { "pre_tokenizer=[]", "object" },
        { "decoder=null", "no decoder" },
        { "decoder={\"type\":\"WordPiece\"}", "decoder WordPiece" },
        { "post_processor={\"type\":\"BertProcessing\"}", "post-processor BertProcessing" },
        { "post_processor={\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}]}", "\"<s>\" is not a token" },
        { "post_processor={\"type\":\"TemplateProcessing\",\"single\":[]}", "without the text" },
        { "truncation={\"max_length\":5}", "truncation" },
        { "model=7", "an object was expected" },
        { "model.type=\"Unigram\"", "model Unigram" },
        { "model.dropout=0.1", "dropout" },
        { "model.continuing_subword_prefix=\"##\"", "affix" },
        { "model.ignore_merges=true", "ignore_merges" },
        { "model.vocab={}", "byte 0x00" },
        { "model.vocab.x y=-1", "token id" },
        { "model.vocab.x y=1000000000", "token id" },
        { "model.vocab.x y=1.5", "token id" },
        { "model.vocab.x y=\"1\"", "token id" },
        { "model.vocab.x y=97", "both have id 97" },
        { "model.vocab.=300", "empty token" },
        { "model.merges=[\"a\"]", "merge 0" },
        { "model.merges=[\"a b c\"]", "merge 0" },
        { "model.merges=[[\"a\"]]", "merge 0" },
        { "model.merges=[\"a b\"]", "\"ab\", which is not in the vocabulary" },
        { "model.merges=[\"zz b\"]", "\"zz\", which is not in the vocabulary" },
        { "model.merges={}", "an array was expected" },
        { "added_tokens=[{\"id\":97,\"content\":\"<x>\"}]", "id 97" },
        { "added_tokens=[{\"id\":300,\"content\":\"a\"}]", "id 300" },
        { "added_tokens=[{\"id\":300,\"content\":\"\"}]", "0 bytes" },
        { "added_tokens=[{\"id\":300,\"content\":\"x y\"},{\"id\":300,\"content\":\"z w\"}]", "two added tokens" },
        { "added_tokens=[{\"id\":300,\"content\":\"x y\"},{\"id\":301,\"content\":\"x y\"}]", "twice" },
        { "added_tokens=[{\"id\":300,\"content\":\"x y\",\"special\":1}]", "true or false" },
        { "added_tokens=[{\"content\":\"x y\"}]", "token id" },
    };

    [Theory]
    [MemberData(nameof(Changes))]
    public void What_cannot_be_used_is_refused_with_place_and_reason(string change, string reason)
    {
        string[] parts = change.Split('=', 2);
        byte[] json = Fixtures.Minimal(root =>
        {
            string[] path = parts[0].Split('.');
            JsonObject parent = root;
            foreach (string key in path[..^1]) parent = parent[key]!.AsObject();
            parent[path[^1]] = JsonNode.Parse(parts[1]);
        });
        var e = Assert.Throws<TokenizerFormatException>(() => Tokenizer.Parse(json));
        Assert.Contains(reason, e.Message, StringComparison.Ordinal);
        Assert.Contains(parts[0].Split('.')[0], e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("", "not JSON")]
    [InlineData("{", "not JSON")]
    [InlineData("[]", "object")]
    [InlineData("null", "object")]
    [InlineData("{}", "pre_tokenizer")]
    [InlineData("{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]}", "not JSON")]
    public void A_file_that_is_not_a_tokenizer_is_refused(string json, string reason)
    {
        var e = Assert.Throws<TokenizerFormatException>(() => Tokenizer.Parse(Encoding.UTF8.GetBytes(json)));
        Assert.Contains(reason, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Half_a_surrogate_pair_in_the_file_is_refused()
    {
        foreach ((string good, string bad) in ((string, string)[])
            [
                ("\"added_tokens\":[]", "\"added_tokens\":[{\"id\":300,\"content\":\"x\\ud800\"}]"),
                ("\"added_tokens\":[]", "\"added_tokens\":[{\"id\":300,\"conte\\udc00\":\"x\"}]"),
                ("\"vocab\":{", "\"vocab\":{\"\\udc00\":300,"),
            ])
        {
            string json = Encoding.UTF8.GetString(Fixtures.Minimal()).Replace(good, bad, StringComparison.Ordinal);
            Assert.Contains("surrogate", Assert.Throws<TokenizerFormatException>(() => Tokenizer.Parse(Encoding.UTF8.GetBytes(json))).Message, StringComparison.Ordinal);
        }
        Assert.Contains("not UTF-8", Assert.Throws<TokenizerFormatException>(() => Tokenizer.Parse((byte[])[0xFF, 0xFE])).Message, StringComparison.Ordinal);
        string twice = Encoding.UTF8.GetString(Fixtures.Minimal()).Replace("\"vocab\":{", "\"vocab\":{\"a\":300,", StringComparison.Ordinal);
        Assert.Contains("occurs twice", Assert.Throws<TokenizerFormatException>(() => Tokenizer.Parse(Encoding.UTF8.GetBytes(twice))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_message_names_the_file()
    {
        string path = Path.GetTempFileName();
        File.WriteAllText(path, "{");
        Assert.StartsWith(path, Assert.Throws<TokenizerFormatException>(() => Tokenizer.Load(path)).Message, StringComparison.Ordinal);
        File.Delete(path);
        Assert.ThrowsAny<IOException>(() => Tokenizer.Load(path));
    }

    [Fact]
    public void Saving_where_one_cannot_leaves_the_old_file()
    {
        string folder = Directory.CreateTempSubdirectory("hadal-save-").FullName;
        string path = Path.Combine(folder, "tokenizer.json");
        Fixtures.Trained.Save(path);
        Directory.CreateDirectory(path + ".new"); // the temporary file cannot be made
        Assert.ThrowsAny<Exception>(() => Tokenizer.Parse(Fixtures.Minimal()).Save(path));
        Assert.Equal(Fixtures.Trained.VocabularySize, Tokenizer.Load(path).VocabularySize);
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public void Damaged_files_are_refused_or_work() => Fuzz(0, 2000);

    [Fact]
    [Trait("tier", "soak")]
    public void Damaged_files_are_refused_or_work_for_long() => Soak.Run("tokenizer.json", round =>
    {
        Fuzz((int)(round - 999) * 2000, 2000);
        return 2000;
    });

    /// <summary>Damages a good file in many ways: nothing but <see cref="TokenizerFormatException"/> may come out, and what loads must encode and save.</summary>
    static void Fuzz(int first, int count)
    {
        byte[][] seeds =
        [
            Fixtures.Json(TokenizerTrainer.Train(Fixtures.Corpus(40), new() { VocabularySize = 300 })),
            Fixtures.Minimal(root =>
            {
                root["added_tokens"] = new JsonArray(Fixtures.Added(300, "<s>", special: true), Fixtures.Added(301, " x ", lstrip: true, rstrip: true, singleWord: true, normalized: true));
                root["post_processor"] = JsonNode.Parse("{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}]}");
            }, ("a", "b"), ("ab", "c")),
        ];
        byte[][] tokens = [.. new[] { "\"", "{", "}", "[", "]", ",", ":", "null", "-1", "999999999", "1e9", "\\ud800", "\"a\"", "\"Sequence\"", "{}", "[]", "\\\\p{", "+", "*", "|", "(?!", "{2,}" }.Select(Encoding.UTF8.GetBytes)];
        int loaded = 0;
        for (int i = first; i < first + count; i++)
        {
            var random = new SplitMix(SplitMix.Mix((ulong)i + 77));
            List<byte> json = [.. seeds[i % seeds.Length]];
            for (int change = random.Next(1, 4); change > 0; change--) Damage(json, random, tokens);
            try
            {
                Tokenizer tokenizer = Tokenizer.Parse(json.ToArray());
                loaded++;
                string text = $"abc ab <s> x  1234 été 😀\n\n{(char)random.Next(0xD7FF)}";
                tokenizer.Encode(text, allowSpecial: true);
                string decoded = tokenizer.Decode(tokenizer.Encode(text));
                Assert.True(string.Equals(text, decoded, StringComparison.Ordinal), $"Fuzz case {i} changes the text.");
                Assert.Equal(tokenizer.Encode(text), Tokenizer.Parse(Fixtures.Json(tokenizer)).Encode(text));
            }
            catch (TokenizerFormatException)
            {
                // The expected answer to damage.
            }
            catch (Exception e) when (e is not Xunit.Sdk.IAssertionException)
            {
                Assert.Fail($"Fuzz case {i}: {e}");
            }
        }
        Assert.InRange(loaded, 1, count - 1);
    }

    static void Damage(List<byte> json, SplitMix random, byte[][] tokens)
    {
        if (json.Count == 0) return; // an earlier change left nothing

        // Most of the file is vocabulary; go for the structure half of the time.
        int at = random.Next(2) == 0 ? random.Next(json.Count) : random.Next(Math.Min(json.Count, 4000));
        switch (random.Next(6))
        {
            case 0: json[at] ^= (byte)(1 << random.Next(8)); break;
            case 1: json[at] = (byte)random.Next(256); break;
            case 2: json.RemoveRange(at, Math.Min(json.Count - at, random.Next(1, 40))); break;
            case 3: json.RemoveRange(at, json.Count - at); json.Add((byte)'}'); break;
            case 4: json.InsertRange(at, random.Pick(tokens)); break;
            default: json.InsertRange(at, json.GetRange(at, Math.Min(json.Count - at, random.Next(1, 60)))); break;
        }
    }
}
