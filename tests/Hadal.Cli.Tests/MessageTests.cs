using System.Runtime.InteropServices;
using System.Text.Json;
using Hadal.Formats;

namespace Hadal.Cli.Tests;

/// <summary>Errors name what was given, where it stands and what to do; nothing of the program's inside is shown.</summary>
public sealed class MessageTests
{
    static Outcome Refused(int code, string[] line, params string[] words) => Refused(HadalProcess.Inside(line), code, words);

    static Outcome Refused(Setting setting, int code, string[] line, params string[] words) => Refused(HadalProcess.Run(setting, line), code, words);

    static Outcome Refused(Outcome outcome, int code, string[] words)
    {
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
    [InlineData("qickstart", "There is no command \"qickstart\". Did you mean quickstart?", "one of quickstart, train,")]
    [InlineData("inspect dIverge", "There is no command \"dIverge\". Did you mean diverge?", "one of forward, config")]
    [InlineData("--json", "--json stands where a command belongs.", "one of quickstart, train,")]
    [InlineData("bench", "No command was given.", "one of step, decode, serve, matrix, layer")]
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
    [Trait("tier", "full")]
    public void Conformance_writes_its_figures_as_numbers()
    {
        Outcome outcome = HadalProcess.Inside("conformance", "--json");
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

    static string Tokens(Scratch scratch, string name, ElementType type, byte[] values, string tensor = "input_ids", params long[] shape)
    {
        using var writer = new SafetensorsWriter(scratch[name], [new TensorDeclaration(tensor, type, shape)]);
        writer.Write(tensor, values);
        writer.Commit();
        return scratch[name];
    }

    static string[] Forward(string tokens, string output) => ["inspect", "forward", "--model", HadalProcess.Fixture("base"), "--tokens", tokens, "--out", output];

    [Fact]
    public void Tokens_are_refused_with_file_place_and_remedy()
    {
        using var scratch = new Scratch();
        string output = scratch["o.safetensors"];
        string other = Tokens(scratch, "a.safetensors", ElementType.I32, new byte[16], "ids", 2, 2);
        Outcome named = Refused(1, Forward(other, output), other, "'input_ids': there is no such tensor", "Name the file with the tokens");
        Assert.DoesNotContain("shard", named.Error, StringComparison.Ordinal);
        string half = Tokens(scratch, "b.safetensors", ElementType.I16, new byte[8], shape: [2, 2]);
        Refused(1, Forward(half, output), half, "is not usable as tokens. Expected input_ids");
        string outside = Tokens(scratch, "c.safetensors", ElementType.I32, MemoryMarshal.AsBytes<int>([0, 1, 2, 3, 320, 5]).ToArray(), shape: [2, 3]);
        Refused(1, Forward(outside, output), outside, "row 1, position 1 holds the id 320", "0 to 319", "Encode the text");
        string wide = Tokens(scratch, "d.safetensors", ElementType.I64, MemoryMarshal.AsBytes<long>([0, 1, 1L << 40, 3]).ToArray(), shape: [2, 2]);
        Refused(1, Forward(wide, output), wide, "row 1, position 0 holds the id 1099511627776");
        Assert.False(File.Exists(output));
    }

    [Fact]
    public void An_output_that_cannot_be_written_is_refused_before_anything_is_computed()
    {
        using var scratch = new Scratch();
        string tokens = Tokens(scratch, "t.safetensors", ElementType.I32, new byte[16], shape: [2, 2]);
        foreach ((string output, string word) in new[] { (scratch["no/such/o.safetensors"], "There is no folder"), (scratch.Folder, "is a folder") })
        {
            Outcome outcome = Refused(1, Forward(tokens, output), word, "--out", "to fix:");
            Assert.DoesNotContain("backend:", outcome.Error, StringComparison.Ordinal);
        }
    }

    static Scratch Edited(string from, string to)
    {
        var scratch = new Scratch();
        File.Copy(Path.Combine(HadalProcess.Fixture("base"), "model.safetensors"), scratch["model.safetensors"]);
        string config = File.ReadAllText(Path.Combine(HadalProcess.Fixture("base"), "config.json")), edited = System.Text.RegularExpressions.Regex.Replace(config, from, to);
        Assert.NotEqual(config, edited, StringComparer.Ordinal);
        File.WriteAllText(scratch["config.json"], edited);
        return scratch;
    }

    [Theory]
    [InlineData("\"num_attention_heads\": \\d+", "\"num_attention_heads\": -4", "'num_attention_heads'", "-4")]
    [InlineData("\"num_attention_heads\": \\d+", "\"num_attention_heads\": 4.5", "'num_attention_heads'", "expected a whole number.")]
    public void A_value_of_the_configuration_is_refused_under_its_own_key(string from, string to, params string[] words)
    {
        using Scratch model = Edited(from, to);
        Outcome outcome = Refused(1, ["inspect", "config", "--model", model.Folder], words);
        Assert.DoesNotContain("2^31", outcome.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Weights_of_another_shape_are_told_in_whole_sentences()
    {
        using Scratch model = Edited("\"vocab_size\": \\d+", "\"vocab_size\": 64");
        Refused(1, ["generate", "--model", model.Folder, "--token-ids", "5", "--print", "ids"], "]. config.json and checkpoint belong to different models");
    }

    [Fact]
    public void A_run_is_refused_with_its_file_and_a_remedy()
    {
        using var scratch = new Scratch();
        File.WriteAllText(scratch["run.json"], """{ "batch": { "rows": -3 } }""");
        Refused(1, ["train", scratch["run.json"]], scratch["run.json"] + ": 'batch.rows' is -3");
        Refused(1, ["train", scratch["none.json"]], "There is no file", "none.json", "to fix:", "train --example");
    }

    [Fact]
    public void A_folder_that_cannot_be_trained_into_has_the_remedy_of_its_cause()
    {
        using var scratch = new Scratch();
        File.WriteAllText(scratch["run.json"], """{ "model": { "preset": "tiny" }, "budget": { "steps": 1 } }""");
        File.WriteAllText(scratch["taken"], "");
        Outcome file = Refused(1, ["train", scratch["run.json"], "--output", scratch["taken"]], "cannot be trained into", "That is a file");
        Assert.DoesNotContain("Wait for", file.Error, StringComparison.Ordinal);
        if (!OperatingSystem.IsLinux()) return;
        Outcome place = Refused(1, ["train", scratch["run.json"], "--output", "/proc/no-such"], "cannot be trained into", "Check the spelling");
        Assert.DoesNotContain("Wait for", place.Error, StringComparison.Ordinal);
        Directory.CreateDirectory(scratch["held"]);
        using var claim = new FileStream(scratch["held/.training"], FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        Refused(1, ["train", scratch["run.json"], "--output", scratch["held"]], "Wait for the process that trains there");
    }

    [Fact]
    public void A_damaged_quickstart_folder_is_refused_with_the_way_to_train_anew()
    {
        using var scratch = new Scratch();
        File.WriteAllText(scratch["model.safetensors"], "broken");
        Outcome model = Refused(1, ["quickstart", "--output", scratch.Folder], "holds model.safetensors but no config.json", "--again");
        Assert.DoesNotContain("--model", model.Error, StringComparison.Ordinal);
        File.Copy(Path.Combine(HadalProcess.Fixture("base"), "config.json"), scratch["config.json"]);
        File.WriteAllText(scratch["tokenizer.json"], "{}");
        Refused(1, ["quickstart", "--output", scratch.Folder], "model.safetensors", "--again");
        File.Delete(scratch["model.safetensors"]);
        Directory.CreateDirectory(scratch["checkpoints"]);
        File.WriteAllText(scratch["run.json"], "{ broken");
        Refused(1, ["quickstart", "--output", scratch.Folder, "--steps", "7"], "run.json' is not JSON", "--again", "--steps and --minutes are not taken");
    }

    [Fact]
    public void What_a_newcomer_may_type_first_leads_on()
    {
        using var scratch = new Scratch();
        var there = new Setting { Folder = scratch.Folder };
        Refused(there, 1, ["eval"], "There is no folder models/nano.", "hadal quickstart trains a model");
        Refused(there, 1, ["chat", "--model", "."], "holds no config.json", "hadal quickstart trains a model");
        Refused(there, 1, ["train", "."], ". is a folder.", "the path of a run.json");
        File.WriteAllText(scratch["run.json"], "{\n  \"seed\": one\n}");
        Refused(there, 1, ["train", "run.json"], "'run.json' is not JSON: line 2, column 11: ");
        File.WriteAllText(scratch["run.json"], "");
        Refused(there, 1, ["train", "run.json"], "'run.json' is not JSON: it is empty.");
        Outcome help = HadalProcess.Run("--help");
        Assert.Contains("Examples:\n  hadal quickstart\n", help.Output, StringComparison.Ordinal);
    }
}
