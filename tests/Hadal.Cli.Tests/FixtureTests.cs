using System.Runtime.InteropServices;
using Hadal.Cli.Framework;
using Hadal.Formats;

namespace Hadal.Cli.Tests;

/// <summary>The exact verbs against what Hugging Face transformers computed in float64 (tests/fixtures/README.md), on every backend.</summary>
public sealed class FixtureTests
{
    static readonly string[] Names = ["base", "yarn", "noqlora"];

    public static TheoryData<string, string> Runs()
    {
        var data = new TheoryData<string, string>();
        foreach (string backend in Backends.Names)
            foreach (string name in Names) data.Add(name, backend);
        return data;
    }

    static float[] Floats(Checkpoint file, string name) => MemoryMarshal.Cast<byte, float>(file.Read(file.Get(name))).ToArray();

    static double RelativeFrobenius(float[] found, float[] expected)
    {
        Assert.Equal(expected.Length, found.Length);
        double difference = 0, size = 0;
        for (int i = 0; i < found.Length; i++)
        {
            Assert.True(float.IsFinite(found[i]), $"element {i} is {found[i]}");
            difference += ((double)found[i] - expected[i]) * ((double)found[i] - expected[i]);
            size += (double)expected[i] * expected[i];
        }

        return size == 0 ? Math.Sqrt(difference) : Math.Sqrt(difference / size);
    }

    [Theory]
    [MemberData(nameof(Runs))]
    public void Inspect_forward_gives_logits_loss_and_every_gradient(string name, string backend)
    {
        using var scratch = new Scratch();
        string fixture = HadalProcess.Fixture(name), tokens = Path.Combine(fixture, "expected.safetensors");
        Outcome outcome = HadalProcess.Run("inspect", "forward", "--model", fixture, "--tokens", tokens, "--out", scratch["o.safetensors"],
            "--backward", "--recipe", "fp32", "--backend", backend);
        Assert.True(outcome.Code == 0, outcome.ToString());
        Assert.Empty(outcome.Output);
        Assert.Contains($"backend: {backend}", outcome.Error, StringComparison.Ordinal);

        using Checkpoint expected = Checkpoint.Open(tokens), found = Checkpoint.Open(scratch["o.safetensors"]);
        Assert.Equal(expected.Get("logits").Shape, found.Get("logits").Shape);
        Assert.Equal([1L], found.Get("loss").Shape);
        Assert.True(RelativeFrobenius(Floats(found, "logits"), Floats(expected, "logits")) <= 1e-5, "logits");
        Assert.True(RelativeFrobenius(Floats(found, "loss"), Floats(expected, "loss")) <= 1e-5, "loss");
        string[] gradients = [.. expected.Entries.Select(entry => entry.Name).Where(tensor => tensor.StartsWith("grad.", StringComparison.Ordinal))];
        Assert.NotEmpty(gradients);
        foreach (string gradient in gradients)
        {
            double error = RelativeFrobenius(Floats(found, gradient), Floats(expected, gradient));
            Assert.True(error <= 1e-4, $"{gradient}: {error}");
        }
    }

    [Fact]
    public void Inspect_forward_without_backward_writes_logits_and_loss_alone()
    {
        using var scratch = new Scratch();
        string fixture = HadalProcess.Fixture("base");
        Outcome outcome = HadalProcess.Run("inspect", "forward", "--model", fixture, "--tokens", Path.Combine(fixture, "expected.safetensors"), "--out", scratch["o.safetensors"]);
        Assert.True(outcome.Code == 0, outcome.ToString());
        using Checkpoint found = Checkpoint.Open(scratch["o.safetensors"]);
        Assert.Equal("logits loss", string.Join(' ', found.Entries.Select(entry => entry.Name).Order(StringComparer.Ordinal)));
    }

    [Theory]
    [MemberData(nameof(Runs))]
    public void Generate_chooses_the_same_greedy_tokens(string name, string backend)
    {
        string fixture = HadalProcess.Fixture(name);
        using Checkpoint expected = Checkpoint.Open(Path.Combine(fixture, "expected.safetensors"));
        int[] greedy = MemoryMarshal.Cast<byte, int>(expected.Read(expected.Get("greedy"))).ToArray();
        Outcome outcome = HadalProcess.Run("generate", "--model", fixture, "--token-ids", string.Join(',', greedy[..16]), "--max-new-tokens", "48",
            "--temperature", "0", "--print", "ids", "--ignore-eos", "--backend", backend);
        Assert.True(outcome.Code == 0, outcome.ToString());
        Assert.Equal(string.Join(',', greedy[16..]) + "\n", outcome.Output);
        Assert.Contains($"backend: {backend}", outcome.Error, StringComparison.Ordinal);
    }
}
