using System.Globalization;
using System.IO.Compression;
using System.Text;
using System.Text.Json.Nodes;

namespace Hadal.Text.Tests;

/// <summary>Equality with Hugging Face's native tokenizers, on DeepSeek-V3's own tokenizer.json and on one that we trained.</summary>
[Trait("tier", "full")]
public sealed class NativeTokenizerTests(ITestOutputHelper output)
{
    static readonly Lazy<Tokenizer> s_deepSeek = new(() => Tokenizer.Load(TokenizerOracle.DeepSeekPath));

    [Fact]
    [Implements("V3 §4.1", "Ids equal those of the published tokenizer run by its native library")]
    public void DeepSeek_ids_and_decoded_texts_equal_the_native_ones()
    {
        List<TestDocuments.Document> documents = [.. TestDocuments.Generate(12_000), .. RepositoryTexts()];
        Compare(s_deepSeek.Value, TokenizerOracle.DeepSeekPath, documents);
    }

    [Fact]
    public void A_tokenizer_that_we_trained_encodes_the_same_natively()
    {
        string[] corpus = [.. RepositoryTexts().Select(document => document.Text!), .. TestDocuments.Generate(2_000).Where(d => d.Text is not null).Select(d => d.Text!)];
        Tokenizer trained = TokenizerTrainer.Train(corpus, new() { VocabularySize = 3000 });
        string path = Path.Combine(Directory.CreateTempSubdirectory("hadal-trained-").FullName, "tokenizer.json");
        trained.Save(path);
        Compare(Tokenizer.Load(path), path, [.. TestDocuments.Generate(12_000), .. RepositoryTexts()]);
        Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
    }

    [Fact]
    public void DeepSeek_ids_that_are_known()
    {
        Assert.Equal([67, 28927, 225, 68], s_deepSeek.Value.Encode("a😀b"));
        Assert.Equal(128815, s_deepSeek.Value.VocabularySize);
        Assert.Equal(0, s_deepSeek.Value.RequireId(SpecialTokens.BeginOfSentence));
        Assert.Equal(128803, s_deepSeek.Value.RequireId(SpecialTokens.User));
        Assert.Equal([128803], s_deepSeek.Value.Encode(SpecialTokens.User, allowSpecial: true));
        Assert.DoesNotContain(128803, s_deepSeek.Value.Encode(SpecialTokens.User));
    }

    [Fact]
    public void Saving_DeepSeeks_tokenizer_keeps_its_ids_natively()
    {
        string path = Path.Combine(Directory.CreateTempSubdirectory("hadal-saved-").FullName, "tokenizer.json");
        s_deepSeek.Value.Save(path);
        Compare(Tokenizer.Load(path), path, [.. TestDocuments.Generate(1_000)]);
        Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
    }

    [Fact]
    public void Flags_of_added_tokens_and_GPT2s_split_mean_the_same_natively()
    {
        JsonObject root = JsonNode.Parse(Fixtures.Json(Fixtures.Trained))!.AsObject();
        root["pre_tokenizer"] = new JsonObject { ["type"] = "ByteLevel", ["add_prefix_space"] = false, ["trim_offsets"] = true, ["use_regex"] = true };
        JsonArray added = root["added_tokens"]!.AsArray();
        added.Add(Fixtures.Added(700, "<l>", lstrip: true));
        added.Add(Fixtures.Added(701, "<r>", rstrip: true));
        added.Add(Fixtures.Added(702, "word", singleWord: true));
        added.Add(Fixtures.Added(703, "<lo"));
        added.Add(Fixtures.Added(704, "<long>"));
        added.Add(Fixtures.Added(705, "<long", normalized: true));
        added.Add(Fixtures.Added(706, "<b>", lstrip: true, rstrip: true, normalized: true));
        string path = Path.Combine(Directory.CreateTempSubdirectory("hadal-flags-").FullName, "tokenizer.json");
        File.WriteAllText(path, root.ToJsonString());
        string[] parts = ["<l>", "<r>", "word", "<lo", "<long>", "<long", "<b>", " ", "  ", "\n", "\u2003", "\u200B", "a", "Ⓐ", "é", "\u0301", "_", "-", "1", "½", "'s", "😀", "\u200D", SpecialTokens.User];
        var documents = new List<TestDocuments.Document>();
        for (int i = 0; i < 4000; i++)
        {
            var random = new SplitMix(SplitMix.Mix((ulong)i + 99));
            documents.Add(new(string.Concat(Enumerable.Range(0, random.Next(1, 12)).Select(_ => random.Pick(parts))), null));
        }
        Compare(Tokenizer.Load(path), path, [.. documents, .. TestDocuments.Generate(1_000)]);
        Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
    }

    [Fact]
    public void Every_code_point_has_the_class_it_has_natively()
    {
        string path = Path.GetTempFileName();
        TokenizerOracle.Run("classify.js", TokenizerOracle.Modules, path);
        byte[] native = File.ReadAllBytes(path);
        File.Delete(path);
        CharacterClass[] classes = [.. "LMNPS".Select(name => Category(name.ToString())), Space()];
        var different = new List<string>();
        for (int scalar = 0; scalar <= 0x10FFFF; scalar++)
        {
            if (!Rune.IsValid(scalar)) continue;
            int bits = 0;
            for (int bit = 0; bit < classes.Length; bit++)
                if (classes[bit].Contains(scalar)) bits |= 1 << bit;
            if (bits != native[scalar]) different.Add($"U+{scalar:X4} ({CharUnicodeInfo.GetUnicodeCategory(scalar)}): {bits:X2}, natively {native[scalar]:X2}");
        }
        Assert.Empty(different);
    }

    static CharacterClass Category(string name)
    {
        var result = new CharacterClass();
        result.AddCategories(CharacterClass.CategoriesNamed(name));
        return result;
    }

    static CharacterClass Space()
    {
        var result = new CharacterClass();
        result.AddSpace();
        return result;
    }

    void Compare(Tokenizer tokenizer, string path, List<TestDocuments.Document> documents)
    {
        List<TokenizerOracle.Encoded> expected = TokenizerOracle.Encode(path, documents);
        Assert.Equal(documents.Count, expected.Count);
        var ids = new List<int>();
        long bytes = 0;
        long tokens = 0;
        for (int i = 0; i < documents.Count; i++)
        {
            ids.Clear();
            if (documents[i].Text is { } text) tokenizer.Encode(text, ids, allowSpecial: true);
            else tokenizer.EncodeUtf8(documents[i].Bytes, ids, allowSpecial: true);
            if (!ids.SequenceEqual(expected[i].Ids))
            {
                Assert.Fail($"Document {i}: {documents[i].Text ?? Convert.ToHexString(documents[i].Bytes!)}\nnative: {string.Join(' ', expected[i].Ids)}\nours:   {string.Join(' ', ids)}");
            }
            Assert.Equal(expected[i].Decoded, tokenizer.Decode([.. ids]));
            bytes += documents[i].Length;
            tokens += ids.Count;
        }
        output.WriteLine($"{documents.Count} documents, {bytes} bytes, {tokens} tokens: all equal to the native tokenizer's.");
        Assert.True(documents.Count >= 1_000);
    }

    /// <summary>Texts of this repository, and of the corpora that ship with it, in pieces of a few thousand characters.</summary>
    internal static IEnumerable<TestDocuments.Document> RepositoryTexts()
    {
        string[] files =
        [
            .. Directory.EnumerateFiles(Path.Combine(Repository.Root, "docs"), "*.md", SearchOption.AllDirectories),
            .. Directory.EnumerateFiles(Path.Combine(Repository.Root, "src", "Hadal.Text"), "*.cs"),
        ];
        foreach (string file in files.Order(StringComparer.Ordinal))
            yield return new(File.ReadAllText(file), null);
        string corpora = Path.Combine(Repository.Root, "src", "Hadal.Training", "Corpora");
        if (!Directory.Exists(corpora)) yield break;
        foreach (string file in Directory.EnumerateFiles(corpora, "*.br", SearchOption.AllDirectories).Order(StringComparer.Ordinal))
        {
            using var reader = new StreamReader(new BrotliStream(File.OpenRead(file), CompressionMode.Decompress), Encoding.UTF8);
            char[] buffer = new char[3000];
            for (int piece = 0; piece < 2000 && reader.ReadBlock(buffer) is int read and > 0; piece++) yield return new(new string(buffer, 0, read), null);
        }
    }
}
