using Hadal.Text;

namespace Hadal.Cli.Tests;

public sealed class ChatVerbTests
{
    static Scratch Model()
    {
        var scratch = new Scratch();
        foreach (string file in new[] { "config.json", "model.safetensors" }) File.Copy(Path.Combine(HadalProcess.Fixture("base"), file), scratch[file]);
        TokenizerTrainer.Train(["It is a truth universally acknowledged, that a single man must be in want of a wife."],
            new TokenizerTrainingOptions { VocabularySize = 320 }).Save(scratch["tokenizer.json"]);
        return scratch;
    }

    [Fact]
    public void A_piped_conversation_answers_keeps_history_and_ends_with_code_0()
    {
        using Scratch model = Model();
        Outcome outcome = HadalProcess.Run(new Setting { Input = "a truth\n/history\n/fly\n/help\n/new\n/exit\n" }, "chat", "--model", model.Folder, "--max-new-tokens", "4");
        Assert.True(outcome.Code == 0, outcome.ToString());
        Assert.Contains("a truth", outcome.Output, StringComparison.Ordinal);
        Assert.Contains("/exit", outcome.Output, StringComparison.Ordinal);
        Assert.Contains("continues text", outcome.Error, StringComparison.Ordinal);
        Assert.Contains("no command /fly", outcome.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Generate_with_a_seed_gives_the_same_text_twice()
    {
        using Scratch model = Model();
        string[] line = ["generate", "--model", model.Folder, "--prompt", "a single man", "--max-new-tokens", "6", "--seed", "3"];
        Outcome first = HadalProcess.Run(line);
        Assert.True(first.Code == 0, first.ToString());
        Assert.Equal(first.Output, HadalProcess.Run(line).Output);
    }
}
