using System.Runtime.InteropServices;
using Hadal.Formats;

namespace Hadal.Cli.Tests;

/// <summary>One token, too many tokens, weights that are no numbers, and outputs that would replace inputs.</summary>
public sealed class EdgeOfModelTests
{
    static Scratch Copy()
    {
        var scratch = new Scratch();
        foreach (string file in new[] { "config.json", "model.safetensors" }) File.Copy(Path.Combine(HadalProcess.Fixture("base"), file), scratch[file]);
        return scratch;
    }

    static string Tokens(Scratch scratch, int count)
    {
        string path = scratch[$"tokens-{count}.safetensors"];
        using var writer = new SafetensorsWriter(path, [new TensorDeclaration("input_ids", ElementType.I32, [1, count])]);
        writer.Write("input_ids", MemoryMarshal.AsBytes<int>([.. Enumerable.Range(0, count).Select(i => i * 7 % 320)]));
        writer.Commit();
        return path;
    }

    static Outcome Forward(string model, string tokens, string output, params string[] more) =>
        HadalProcess.Inside(["inspect", "forward", "--model", model, "--tokens", tokens, "--out", output, .. more]);

    [Theory]
    [InlineData("model.safetensors")]
    [InlineData("tokens-4.safetensors")]
    public void A_result_never_replaces_an_input(string name)
    {
        using Scratch model = Copy();
        string tokens = Tokens(model, 4);
        byte[] before = File.ReadAllBytes(model[name]);
        Outcome outcome = Forward(model.Folder, tokens, model[name]);
        Assert.True(outcome.Code == 1, outcome.ToString());
        Assert.Contains("Choose another file", outcome.Error, StringComparison.Ordinal);
        Assert.Equal(before, File.ReadAllBytes(model[name]));
    }

    [Fact]
    public void One_token_has_logits_and_no_loss()
    {
        using Scratch model = Copy();
        Outcome outcome = Forward(model.Folder, Tokens(model, 1), model["out.st"], "--backward");
        Assert.True(outcome.Code == 0, outcome.ToString());
        Assert.Contains("one token long", outcome.Error, StringComparison.Ordinal);
        using SafetensorsFile file = SafetensorsFile.Open(model["out.st"]);
        Assert.Equal([1, 1, 320], file.Find("logits")!.Shape);
        Assert.Contains(Floats(file, "logits"), x => x != 0);
        Assert.True(float.IsNaN(Floats(file, "loss")[0]));
        Assert.All(Floats(file, "grad.model.norm.weight"), x => Assert.Equal(0, x));
    }

    [Fact]
    public void More_tokens_than_the_configuration_names_are_computed_with_a_warning()
    {
        using Scratch model = Copy();
        string config = File.ReadAllText(model["config.json"]);
        int positions = System.Text.Json.JsonDocument.Parse(config).RootElement.GetProperty("max_position_embeddings").GetInt32();
        Outcome forward = Forward(model.Folder, Tokens(model, positions + 3), model["out.st"]);
        Assert.True(forward.Code == 0, forward.ToString());
        Assert.Contains("max_position_embeddings", forward.Error, StringComparison.Ordinal);

        Outcome generated = HadalProcess.Inside("generate", "--model", model.Folder, "--token-ids", "5,17", "--max-new-tokens", $"{positions + 2}", "--temperature", "0", "--ignore-eos", "--print", "ids");
        Assert.True(generated.Code == 0, generated.ToString());
        Assert.Contains("max_position_embeddings", generated.Error, StringComparison.Ordinal);
        string[] ids = generated.Output.Trim().Split(',');
        Assert.Equal(positions + 2, ids.Length);

        // Asking for more changes nothing of what a shorter request gets.
        Outcome shorter = HadalProcess.Inside("generate", "--model", model.Folder, "--token-ids", "5,17", "--max-new-tokens", "20", "--temperature", "0", "--ignore-eos", "--print", "ids");
        Assert.Equal(ids[..20], shorter.Output.Trim().Split(','));
    }

    [Fact]
    public void Weights_that_are_no_numbers_are_named_and_nothing_is_made_up()
    {
        using Scratch model = Copy();
        using (SafetensorsFile weights = SafetensorsFile.Open(model["model.safetensors"]))
        {
            TensorEntry norm = weights.Find("model.norm.weight")!;
            byte[] bytes = File.ReadAllBytes(model["model.safetensors"]);
            long start = bytes.Length - weights.Entries.Max(e => e.Offset + e.Length);
            MemoryMarshal.Write(bytes.AsSpan(checked((int)(start + norm.Offset))), float.NaN);
            File.WriteAllBytes(model["damaged"], bytes);
        }

        File.Move(model["damaged"], model["model.safetensors"], overwrite: true);
        Outcome generated = HadalProcess.Inside("generate", "--model", model.Folder, "--token-ids", "5,17", "--max-new-tokens", "4", "--temperature", "0", "--print", "ids");
        Assert.True(generated.Code == 1, generated.ToString());
        Assert.Contains("damaged", generated.Error, StringComparison.Ordinal);
        Outcome forward = Forward(model.Folder, Tokens(model, 4), model["out.st"]);
        Assert.Contains("the weights of 'model.norm.weight' hold NaN", forward.Error, StringComparison.Ordinal);
    }

    static float[] Floats(SafetensorsFile file, string name)
    {
        TensorEntry entry = file.Find(name)!;
        float[] values = new float[entry.ElementCount];
        file.Read(entry, 0, MemoryMarshal.AsBytes(values.AsSpan()));
        return values;
    }
}
