using System.Text.Json;

namespace Hadal.Cli.Tests;

/// <summary>Errors name what was given, where it stands and what to do; nothing of the program's inside is shown.</summary>
public sealed class MessageTests
{
    static Outcome Refused(int code, string[] line, params string[] words) => Refused(new Setting(), code, line, words);

    static Outcome Refused(Setting setting, int code, string[] line, params string[] words)
    {
        Outcome outcome = HadalProcess.Run(setting, line);
        Assert.True(outcome.Code == code, outcome.ToString());
        Assert.Empty(outcome.Output);
        foreach (string word in words) Assert.Contains(word, outcome.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("(Parameter '", outcome.Error, StringComparison.Ordinal);
        return outcome;
    }

    [Theory]
    [InlineData("frob", "There is no command \"frob\".", "one of quickstart, train,")]
    [InlineData("inspect frob", "There is no command \"frob\".", "one of forward, config, tensors, memory")]
    [InlineData("tokenizer frob --json", "There is no command \"frob\".", "one of train, encode, decode")]
    [InlineData("--json", "--json stands where a command belongs.", "one of quickstart, train,")]
    [InlineData("bench", "No command was given.", "one of step, decode, matrix")]
    public void An_unknown_command_is_named_with_those_there_are(string line, string given, string expected) =>
        Refused(2, line.Split(' '), "error: " + given, "expected: " + expected);

    [Fact]
    public void A_recipe_that_is_not_there_is_named_once()
    {
        string[] line = ["inspect", "forward", "--model", HadalProcess.Fixture("base"), "--tokens", "t", "--out", "o", "--recipe"];
        Outcome outcome = Refused(2, [.. line, "fp9"], "--recipe was given \"fp9\".", "expected: fp32, bf16, fp8,");
        Assert.Equal(2, outcome.Error.Split("fp8-no-promotion").Length);
        Refused(2, [.. line, "no/such.json"], "--recipe was given \"no/such.json\": ");
    }

    [Fact]
    public void Threads_and_instruction_set_come_from_options_before_the_environment()
    {
        var setting = new Setting { Environment = new Dictionary<string, string>(StringComparer.Ordinal) { ["HADAL_ISA"] = "128", ["HADAL_THREADS"] = "2" } };
        string[] line = ["generate", "--model", HadalProcess.Fixture("base"), "--token-ids", "5", "--max-new-tokens", "1", "--print", "ids"];
        Outcome given = HadalProcess.Run(setting, [.. line, "--isa", "scalar", "--threads", "1"]);
        Assert.True(given.Code == 0, given.ToString());
        Assert.Contains("backend: cpu (scalar, 1 thread)", given.Error, StringComparison.Ordinal);
        Outcome environment = HadalProcess.Run(setting, line);
        Assert.Contains("backend: cpu (128-bit vectors, 2 threads)", environment.Error, StringComparison.Ordinal);
        Assert.Equal(environment.Output, given.Output);
        Refused(2, [.. line, "--isa", "avx2"], "--isa was given \"avx2\".", "one of scalar, 128, 256, 512");
        Refused(2, [.. line, "--threads", "0"], "--threads was given \"0\".");
    }

    [Fact]
    public void A_variable_of_the_environment_is_named()
    {
        string[] line = ["generate", "--model", HadalProcess.Fixture("base"), "--token-ids", "5", "--print", "ids"];
        foreach ((string name, string value) in new[] { ("HADAL_ISA", "avx2"), ("HADAL_THREADS", "many") })
            Refused(new Setting { Environment = new Dictionary<string, string>(StringComparer.Ordinal) { [name] = value } }, 1, line, name, $"'{value}'");
    }

    [Fact]
    public void Conformance_writes_its_figures_as_numbers()
    {
        Outcome outcome = HadalProcess.Run("conformance", "--json");
        Assert.True(outcome.Code == 0, outcome.ToString());
        using var json = JsonDocument.Parse(outcome.Output);
        JsonElement[] cases = [.. json.RootElement.GetProperty("cases").EnumerateArray()];
        Assert.NotEmpty(cases);
        Assert.All(cases, one => Assert.InRange(one.GetProperty("error").GetDouble(), 0, one.GetProperty("tolerance").GetDouble()));
    }

    [Fact]
    public void A_missing_tokenizer_has_a_remedy_of_the_verb_that_wants_it()
    {
        Outcome outcome = Refused(1, ["tokenizer", "encode", "--tokenizer", HadalProcess.Fixture("base"), "--text", "x"], "There is no tokenizer at", "to fix:");
        Assert.DoesNotContain("--token-ids", outcome.Error, StringComparison.Ordinal);
    }
}
