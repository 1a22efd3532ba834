using System.Text.Json;
using Hadal.Text;

namespace Hadal.Cli.Tests;

public sealed class TokenizerVerbTests
{
    static void Train(string path) =>
        TokenizerTrainer.Train(["It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife."],
            new TokenizerTrainingOptions { VocabularySize = 320 }).Save(path);

    [Fact]
    public void Encode_then_decode_gives_the_same_bytes()
    {
        using var scratch = new Scratch();
        Train(scratch["tokenizer.json"]);
        const string text = "a truth 😀 — 42\n\ttabs";
        Outcome encoded = HadalProcess.Run("tokenizer", "encode", "--tokenizer", scratch.Folder, "--text", text);
        Assert.True(encoded.Code == 0, encoded.ToString());
        Assert.Matches(@"^\d+(,\d+)*\n$", encoded.Output);
        Outcome decoded = HadalProcess.Run(new Setting { Input = encoded.Output }, "tokenizer", "decode", "--tokenizer", scratch["tokenizer.json"]);
        Assert.Equal(text, decoded.Output);
        Assert.Empty(decoded.Error);
    }

    [Fact]
    public void Encode_reads_standard_input_and_speaks_json()
    {
        using var scratch = new Scratch();
        Train(scratch["tokenizer.json"]);
        Outcome outcome = HadalProcess.Run(new Setting { Input = "good fortune" }, "tokenizer", "encode", "--tokenizer", scratch.Folder, "--json");
        using var json = JsonDocument.Parse(outcome.Output);
        Assert.Equal(json.RootElement.GetProperty("count").GetInt32(), json.RootElement.GetProperty("ids").GetArrayLength());
        Assert.Equal("good fortune", string.Concat(json.RootElement.GetProperty("tokens").EnumerateArray().Select(token => token.GetString())));
    }

    [Fact]
    public void Bad_ids_are_wrong_use_and_say_which()
    {
        using var scratch = new Scratch();
        Train(scratch["tokenizer.json"]);
        Outcome outcome = HadalProcess.Run("tokenizer", "decode", "--tokenizer", scratch.Folder, "--ids", "3,x,5");
        Assert.True(outcome.Code == 2, outcome.ToString());
        Assert.Contains("\"x\" at place 2", outcome.Error, StringComparison.Ordinal);
        Assert.Equal(2, HadalProcess.Run("tokenizer", "decode", "--tokenizer", scratch.Folder, "--ids", "999999").Code);
    }

    [Fact]
    public void A_damaged_tokenizer_is_named()
    {
        using var scratch = new Scratch();
        File.WriteAllText(scratch["tokenizer.json"], "{\"model\":{");
        Outcome outcome = HadalProcess.Run("tokenizer", "encode", "--tokenizer", scratch["tokenizer.json"], "--text", "x");
        Assert.True(outcome.Code == 1, outcome.ToString());
        Assert.Contains("tokenizer.json", outcome.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", outcome.Error, StringComparison.Ordinal);
        Outcome debug = HadalProcess.Run(new Setting { Environment = new Dictionary<string, string>(StringComparer.Ordinal) { ["HADAL_DEBUG"] = "1" } },
            "tokenizer", "encode", "--tokenizer", scratch["tokenizer.json"], "--text", "x");
        Assert.Contains("   at ", debug.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void An_absent_tokenizer_says_what_was_expected()
    {
        Outcome outcome = HadalProcess.Run("tokenizer", "encode", "--tokenizer", "no/such/folder", "--text", "x");
        Assert.True(outcome.Code == 1, outcome.ToString());
        Assert.Contains("tokenizer.json", outcome.Error, StringComparison.Ordinal);
    }
}
