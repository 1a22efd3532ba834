using System.Runtime.InteropServices;
using Hadal.Formats;

namespace Hadal.Cli.Tests;

/// <summary>Checkpoints against what Hugging Face transformers computed from them in float64, through the verbs a stranger types.</summary>
public sealed class OutsideProofTests
{
    static readonly string[] Fixtures =
    [
        "hf-deepseek-v3/base", "hf-deepseek-v3/yarn", "hf-deepseek-v3/noqlora", "hf-extra/fp8", "hf-extra/bf16-sharded-mtp", "hf-extra/f16", "hf-extra/v2-softmax",
        "hf-extra/v2-groups", "hf-extra/tied-dense",
    ];

    public static TheoryData<string, string> Cases()
    {
        var data = new TheoryData<string, string>();
        foreach (string fixture in Fixtures)
            foreach (string backend in (string[])["cpu", "reference"])
                data.Add(fixture, backend);
        return data;
    }

    static string Folder(string fixture) => Path.Combine(HadalProcess.Root, "tests", "fixtures", fixture);

    [Theory]
    [MemberData(nameof(Cases))]
    [Implements("V3 §2.1", "A decoder-only transformer of pre-norm blocks, a final RMSNorm and a head computes what the public implementation computes")]
    [Implements("V3 §2.1.1", "Multi-head latent attention: keys and values of all heads come from one compressed latent, queries from another")]
    [Implements("V3 §2.1.1", "One rotated key is shared by all heads and kept apart from the latent")]
    [Implements("V3 §4.2", "RMSNorm also stands on both compressed latents, and not on the rotated key")]
    [Implements("V3 §2.1.2", "DeepSeekMoE: shared experts see every token, routed experts only those sent to them")]
    [Implements("V2 §3.1.2", "The softmax gate of DeepSeek-V2, greedy and group-limited, is computed as the public implementation does")]
    [Implements("public checkpoints", "FP8 weights are their codes times weight_scale_inv over blocks of 128×128, cut at ragged edges")]
    public void Logits_loss_and_every_gradient_agree(string fixture, string backend)
    {
        string folder = Folder(fixture), expectedFile = Path.Combine(folder, "expected.safetensors");
        string output = Path.Combine(Path.GetTempPath(), $"hadal-{Guid.NewGuid():N}.safetensors");
        try
        {
            Outcome outcome = HadalProcess.Inside("inspect", "forward", "--model", folder, "--tokens", expectedFile, "--out", output, "--backward", "--recipe", "fp32", "--backend", backend);
            Assert.True(outcome.Code == 0, outcome.ToString());
            Assert.Contains($"backend: {backend}", outcome.Error, StringComparison.Ordinal);
            using Checkpoint expected = Checkpoint.Open(expectedFile), actual = Checkpoint.Open(output);
            Assert.InRange(Difference(expected, actual, "logits"), 0, 1e-5);
            Assert.InRange(Difference(expected, actual, "loss"), 0, 1e-5);
            int gradients = 0;
            foreach (TensorEntry entry in expected.Entries.Where(e => e.Name.StartsWith("grad.", StringComparison.Ordinal)))
            {
                double difference = Difference(expected, actual, entry.Name);
                Assert.True(difference <= 1e-4, $"{entry.Name}: {difference}");
                gradients++;
            }

            Assert.True(gradients > 20);
        }
        finally
        {
            File.Delete(output);
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Greedy_tokens_are_equal(string fixture, string backend)
    {
        using Checkpoint expected = Checkpoint.Open(Path.Combine(Folder(fixture), "expected.safetensors"));
        int[] greedy = MemoryMarshal.Cast<byte, int>(expected.View(expected.Get("greedy"))).ToArray();
        Outcome outcome = HadalProcess.Inside("generate", "--model", Folder(fixture), "--token-ids", string.Join(',', greedy[..16]), "--max-new-tokens", "48",
            "--temperature", "0", "--print", "ids", "--ignore-eos", "--backend", backend);
        Assert.True(outcome.Code == 0, outcome.ToString());
        Assert.Equal(string.Join(',', greedy[16..]) + "\n", outcome.Output);
    }

    static double Difference(Checkpoint expected, Checkpoint actual, string name)
    {
        Assert.Equal(expected.Get(name).Shape, actual.Get(name).Shape);
        Assert.Equal(ElementType.F32, actual.Get(name).Type);
        ReadOnlySpan<float> right = MemoryMarshal.Cast<byte, float>(expected.View(expected.Get(name))), left = MemoryMarshal.Cast<byte, float>(actual.View(actual.Get(name)));
        double difference = 0, size = 0;
        for (int i = 0; i < right.Length; i++)
        {
            difference += Math.Pow((double)left[i] - right[i], 2);
            size += (double)right[i] * right[i];
        }

        return size == 0 ? Math.Sqrt(difference) : Math.Sqrt(difference / size);
    }
}
