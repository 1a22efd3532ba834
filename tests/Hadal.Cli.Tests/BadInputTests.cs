namespace Hadal.Cli.Tests;

/// <summary>Wrong use and bad files from the command line: exit code, message, no stack trace, no half-written output.</summary>
public sealed class BadInputTests
{
    static void Refused(Outcome outcome, int code, params string[] words)
    {
        Assert.True(outcome.Code == code, outcome.ToString());
        Assert.Empty(outcome.Output);
        Assert.Contains("error: ", outcome.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at Hadal", outcome.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("fault in hadal itself", outcome.Error, StringComparison.Ordinal);
        foreach (string word in words) Assert.Contains(word, outcome.Error, StringComparison.Ordinal);
    }

    static string[] Generate(string model, params string[] rest) => ["generate", "--model", model, .. rest];

    static Scratch Copy(string name = "base")
    {
        var scratch = new Scratch();
        foreach (string file in new[] { "config.json", "model.safetensors" }) File.Copy(Path.Combine(HadalProcess.Fixture(name), file), scratch[file]);
        return scratch;
    }

    [Fact]
    public void Wrong_use_is_code_2()
    {
        string model = HadalProcess.Fixture("base");
        Refused(HadalProcess.Inside("generate", "--token-ids", "5"), 2, "--model");
        Refused(HadalProcess.Inside(Generate(model)), 2, "--token-ids", "--prompt");
        Refused(HadalProcess.Inside(Generate(model, "--token-ids", "5", "--prompt", "x")), 2, "exactly one");
        Refused(HadalProcess.Inside(Generate(model, "--token-ids", "5,x", "--print", "ids")), 2, "\"x\" at place 2");
        Refused(HadalProcess.Inside(Generate(model, "--token-ids", "320", "--print", "ids")), 2, "0 to 319");
        Refused(HadalProcess.Inside(Generate(model, "--token-ids", "5", "--temperature", "-1", "--print", "ids")), 2, "--temperature was given \"-1\"", "expected: a number from 0 to 2");
        Refused(HadalProcess.Inside(Generate(model, "--token-ids", "5", "--max-new-tokens", "many", "--print", "ids")), 2, "a whole number");
        Refused(HadalProcess.Inside(Generate(model, "--token-ids", "5", "--backend", "cuda", "--print", "ids")), 2, "--backend was given \"cuda\"");
    }

    [Fact]
    public void A_model_that_is_not_there_is_named()
    {
        Refused(HadalProcess.Inside(Generate("no/such/model", "--token-ids", "5", "--print", "ids")), 1, "no/such/model", "to fix:");
        using var empty = new Scratch();
        Refused(HadalProcess.Inside(Generate(empty.Folder, "--token-ids", "5", "--print", "ids")), 1, "config.json");
    }

    [Fact]
    public void Text_without_a_tokenizer_is_refused_with_the_way_out() =>
        Refused(HadalProcess.Inside(Generate(HadalProcess.Fixture("base"), "--prompt", "x")), 1, "tokenizer.json", "--token-ids");

    [Fact]
    public void Truncated_weights_are_refused()
    {
        using Scratch model = Copy();
        using (FileStream file = File.OpenWrite(model["model.safetensors"])) file.SetLength(file.Length - 1000);
        Refused(HadalProcess.Inside(Generate(model.Folder, "--token-ids", "5", "--print", "ids")), 1, "model.safetensors");
    }

    [Fact]
    public void A_huge_header_is_refused()
    {
        using Scratch model = Copy();
        using (FileStream file = File.OpenWrite(model["model.safetensors"])) file.Write([255, 255, 255, 255, 255, 255, 255, 127]);
        Refused(HadalProcess.Inside(Generate(model.Folder, "--token-ids", "5", "--print", "ids")), 1, "model.safetensors");
    }

    [Fact]
    public void An_unknown_configuration_key_warns_and_an_impossible_value_refuses()
    {
        using Scratch model = Copy();
        string config = File.ReadAllText(model["config.json"]);
        File.WriteAllText(model["config.json"], config.Replace("\"hidden_act\"", "\"colour\": 3, \"hidden_act\"", StringComparison.Ordinal));
        Outcome warned = HadalProcess.Inside(Generate(model.Folder, "--token-ids", "5", "--max-new-tokens", "1", "--temperature", "0", "--print", "ids"));
        Assert.True(warned.Code == 0, warned.ToString());
        Assert.Contains("colour", warned.Error, StringComparison.Ordinal);
        File.WriteAllText(model["config.json"], config.Replace("\"num_experts_per_tok\": 4", "\"num_experts_per_tok\": 400", StringComparison.Ordinal));
        Refused(HadalProcess.Inside(Generate(model.Folder, "--token-ids", "5", "--print", "ids")), 1, "num_experts_per_tok", "400");
    }

    [Fact]
    public void Tokens_that_are_no_tokens_are_refused_and_nothing_is_written()
    {
        using var scratch = new Scratch();
        string model = HadalProcess.Fixture("base");
        Refused(HadalProcess.Inside("inspect", "forward", "--model", model, "--tokens", Path.Combine(model, "model.safetensors"), "--out", scratch["o.safetensors"]), 1, "input_ids");
        Assert.Empty(Directory.GetFiles(scratch.Folder));
    }
}
