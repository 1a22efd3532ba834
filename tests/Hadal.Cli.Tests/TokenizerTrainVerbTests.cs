using System.Text.Json;

namespace Hadal.Cli.Tests;

public sealed class TokenizerTrainVerbTests
{
    const string Prose = "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife. ";

    static Scratch Texts()
    {
        var scratch = new Scratch();
        Directory.CreateDirectory(scratch["texts"]);
        File.WriteAllText(scratch["texts/one.txt"], string.Concat(Enumerable.Repeat(Prose, 20)));
        File.WriteAllText(scratch["texts/two.jsonl"], "{\"text\": \"Zwölf Boxkämpfer jagen Viktor. 😀 1234\\n\"}\n{\"text\": \"In the beginning, in the beginning.\"}\n");
        return scratch;
    }

    static string[] Train(Scratch scratch, string output, params string[] rest) =>
        ["tokenizer", "train", scratch["texts/one.txt"], scratch["texts/two.jsonl"], "--vocabulary", "330", "--output", scratch[output], .. rest];

    [Fact]
    public void The_same_texts_give_the_same_file_for_any_number_of_threads_and_any_order()
    {
        using Scratch scratch = Texts();
        Outcome first = HadalProcess.Run(Train(scratch, "one/tokenizer.json", "--threads", "1"));
        Assert.True(first.Code == 0, first.ToString());
        Assert.Empty(first.Output);
        Assert.Contains("330 tokens", first.Error, StringComparison.Ordinal);
        Outcome second = HadalProcess.Run("tokenizer", "train", scratch["texts"], "--vocabulary", "330", "--output", scratch["two/"], "--threads", "3", "--json");
        Assert.True(second.Code == 0, second.ToString());
        JsonElement report = JsonDocument.Parse(second.Output).RootElement;
        Assert.Equal((330, 3), (report.GetProperty("vocabulary").GetInt32(), report.GetProperty("documents").GetInt32()));
        Outcome third = HadalProcess.Run("tokenizer", "train", scratch["texts/two.jsonl"], scratch["texts/one.txt"], "--vocabulary", "330", "--output", scratch["three.json"]);
        Assert.True(third.Code == 0, third.ToString());
        byte[] expected = File.ReadAllBytes(scratch["one/tokenizer.json"]);
        Assert.Equal(expected, File.ReadAllBytes(scratch["two/tokenizer.json"]));
        Assert.Equal(expected, File.ReadAllBytes(scratch["three.json"]));

        Outcome encoded = HadalProcess.Run("tokenizer", "encode", "--tokenizer", scratch["one"], "--text", "a single truth 😀", "--json");
        JsonElement tokens = JsonDocument.Parse(encoded.Output).RootElement;
        Assert.True(tokens.GetProperty("count").GetInt32() < 12, encoded.ToString());
    }

    [Fact]
    public void An_existing_file_stays_unless_force_is_given()
    {
        using Scratch scratch = Texts();
        File.WriteAllText(scratch["tokenizer.json"], "precious");
        Outcome refused = HadalProcess.Run(Train(scratch, "tokenizer.json"));
        Assert.True(refused.Code == 1, refused.ToString());
        Assert.Contains("--force", refused.Error, StringComparison.Ordinal);
        Assert.Equal("precious", File.ReadAllText(scratch["tokenizer.json"]));
        Outcome replaced = HadalProcess.Run(Train(scratch, "tokenizer.json", "--force"));
        Assert.True(replaced.Code == 0, replaced.ToString());
        Assert.StartsWith("{", File.ReadAllText(scratch["tokenizer.json"]), StringComparison.Ordinal);
    }

    [Fact]
    public void Fewer_tokens_than_asked_for_is_said()
    {
        using Scratch scratch = Texts();
        Outcome outcome = HadalProcess.Run("tokenizer", "train", scratch["texts/two.jsonl"], "--vocabulary", "9000", "--output", scratch["t.json"]);
        Assert.True(outcome.Code == 0, outcome.ToString());
        Assert.Contains("9000 were asked for", outcome.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Wrong_use_and_texts_that_are_none_are_refused_and_nothing_is_written()
    {
        using Scratch scratch = Texts();
        File.WriteAllText(scratch["empty.txt"], " \n\n");
        File.WriteAllText(scratch["broken.jsonl"], "{\"text\": \"fine\"}\n{\"text\": 5}\n");
        File.WriteAllBytes(scratch["broken.txt.gz"], [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3]);
        File.WriteAllBytes(scratch["picture.png"], [1, 2, 3]);
        Directory.CreateDirectory(scratch["nothing"]);
        (int Code, string Word, string[] Line)[] cases =
        [
            (2, "--vocabulary", [scratch["texts"], "--vocabulary", "100", "--output", scratch["t.json"]]),
            (2, "--output", [scratch["texts"]]),
            (2, "FILES", ["--output", scratch["t.json"]]),
            (1, "empty.txt", [scratch["empty.txt"], "--output", scratch["t.json"]]),
            (1, "line 2", [scratch["broken.jsonl"], "--output", scratch["t.json"]]),
            (1, "broken.txt.gz", [scratch["broken.txt.gz"], "--output", scratch["t.json"]]),
            (1, "picture.png", [scratch["picture.png"], "--output", scratch["t.json"]]),
            (1, "no readable file", [scratch["nothing"], "--output", scratch["t.json"]]),
            (1, "does not exist", [scratch["absent.txt"], "--output", scratch["t.json"]]),
            (1, "austen, kjv", ["bundled:moby", "--output", scratch["t.json"]]),
        ];
        foreach ((int code, string word, string[] line) in cases)
        {
            Outcome outcome = HadalProcess.Run(["tokenizer", "train", .. line]);
            Assert.True(outcome.Code == code, $"{string.Join(' ', line)}: {outcome}");
            Assert.Contains(word, outcome.Error, StringComparison.Ordinal);
            Assert.DoesNotContain("   at ", outcome.Error, StringComparison.Ordinal);
            Assert.False(File.Exists(scratch["t.json"]));
        }
    }

    [Fact]
    public void A_full_disk_leaves_nothing_half_written()
    {
        using Scratch scratch = Texts();
        File.WriteAllText(scratch["tokenizer.json"], "precious");
        Outcome outcome = HadalProcess.Run(new Setting { LargestFileKiB = 4 }, Train(scratch, "tokenizer.json", "--force"));
        Assert.True(outcome.Code == 1, outcome.ToString());
        Assert.Contains("to fix:", outcome.Error, StringComparison.Ordinal);
        Assert.Equal("precious", File.ReadAllText(scratch["tokenizer.json"]));
        Assert.Equal(["texts", "tokenizer.json"], Directory.EnumerateFileSystemEntries(scratch.Folder).Select(Path.GetFileName).Order(StringComparer.Ordinal), StringComparer.Ordinal);
    }

    [Fact]
    public void Ctrl_C_leaves_with_130_and_without_a_file()
    {
        using var scratch = new Scratch();
        string[] sources = [.. Enumerable.Repeat("bundled:kjv", 60)];
        using System.Diagnostics.Process process = HadalProcess.Start(new Setting(), ["tokenizer", "train", .. sources, "--vocabulary", "60000", "--output", scratch["t.json"]]);
        process.StandardInput.Close();
        HadalProcess.AwaitHandler(process);
        Thread.Sleep(300);
        HadalProcess.Signal(process, "INT");
        string error = process.StandardError.ReadToEnd();
        Assert.True(process.WaitForExit(TimeSpan.FromSeconds(60)));
        Assert.True(process.ExitCode == 130, $"exit code {process.ExitCode}\n{error}");
        Assert.Contains("interrupted", error, StringComparison.Ordinal);
        Assert.False(File.Exists(scratch["t.json"]));
    }
}
