using Hadal.Model;
using Hadal.Tensors;
using Hadal.Tensors.Cpu;

namespace Hadal.Inference.Tests;

/// <summary>The cache form against the expanded form, and what a session promises.</summary>
public sealed class SessionTests
{
    static string Fixture(string name)
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
            if (File.Exists(Path.Combine(folder.FullName, "Hadal.slnx"))) return Path.Combine(folder.FullName, "tests", "fixtures", "hf-deepseek-v3", name);
        throw new InvalidOperationException("Hadal.slnx was not found above the test binaries.");
    }

    static int[] Prompt(int count) => [.. Enumerable.Range(0, count).Select(i => ((i * 37) + 11) % 320)];

    [Theory]
    [InlineData("base")]
    [InlineData("yarn")]
    [InlineData("noqlora")]
    [Implements("V3 §2.1.1", "The expanded form (training) and the absorbed form (decoding) of attention agree")]
    public void Absorbed_and_expanded_attention_agree(string name)
    {
        using var backend = new CpuBackend();
        using LoadedModel loaded = ModelLoader.Load(Fixture(name), backend, Recipe.Fp32);
        int[] tokens = Prompt(100);
        using var chunk = new SequenceChunk(loaded.Model, 1, tokens.Length, training: false);
        chunk.SetTokens(tokens, tokens.Length);
        chunk.ForwardHidden();
        using var arena = new TensorArena(backend);
        Tensor expanded = arena.Allocate(DType.F32, tokens.Length, 320);
        chunk.Logits(expanded);

        using var session = new GenerationSession(loaded.Model, tokens.Length);
        for (int t = 0; t < tokens.Length; t++)
        {
            session.Append(tokens.AsSpan(t, 1));
            double difference = 0, size = 0;
            for (int v = 0; v < 320; v++)
            {
                double expected = expanded.Row<float>(t)[v];
                difference += Math.Pow(session.Logits[v] - expected, 2);
                size += expected * expected;
            }

            Assert.True(Math.Sqrt(difference / size) < 1e-5, $"position {t}: {Math.Sqrt(difference / size)}");
        }
    }

    [Fact]
    public void Logits_have_the_same_bits_however_the_prompt_is_cut()
    {
        using var backend = new CpuBackend();
        using LoadedModel loaded = ModelLoader.Load(Fixture("base"), backend, Recipe.Fp32);
        int[] tokens = Prompt(150);
        using var whole = new GenerationSession(loaded.Model, 150);
        whole.Append(tokens);
        float[] expected = whole.Logits.ToArray();
        foreach (int piece in (int[])[1, 7, 64, 65, 149])
        {
            using var session = new GenerationSession(loaded.Model, 150);
            for (int start = 0; start < tokens.Length; start += piece) session.Append(tokens.AsSpan(start, Math.Min(piece, tokens.Length - start)));
            Assert.Equal(expected, session.Logits.ToArray());
        }
    }

    [Fact]
    public void A_decoded_token_allocates_nothing_after_warm_up()
    {
        using var backend = new CpuBackend();
        using LoadedModel loaded = ModelLoader.Load(Fixture("base"), backend, Recipe.Fp32);
        using var session = new GenerationSession(loaded.Model, 200);
        var sampler = new Sampler(320);
        var how = new SamplingParameters(0.7, 0.9, 5);
        session.Append(Prompt(20));
        Span<int> one = stackalloc int[1];
        for (int n = 0; n < 10; n++)
        {
            one[0] = sampler.Choose(session.Logits, how, (ulong)session.Length);
            session.Append(one);
        }

        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int n = 0; n < 100; n++)
        {
            one[0] = sampler.Choose(session.Logits, how, (ulong)session.Length);
            session.Append(one);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void A_session_refuses_what_it_cannot_hold()
    {
        using var backend = new CpuBackend();
        using LoadedModel loaded = ModelLoader.Load(Fixture("base"), backend, Recipe.Fp32);
        Assert.Throws<ArgumentException>(() => new GenerationSession(loaded.Model, 100_000));
        using var session = new GenerationSession(loaded.Model, 8);
        Assert.Throws<ArgumentException>(() => session.Append([]));
        Assert.Throws<ArgumentException>(() => session.Append([320]));
        Assert.Throws<ArgumentException>(() => session.Append(Prompt(9)));
        session.Append(Prompt(8));
        Assert.Equal(8, session.Length);
    }

    [Fact]
    public void Sampling_is_a_function_of_seed_and_position_and_stays_inside_the_nucleus()
    {
        var sampler = new Sampler(4);
        float[] logits = [2, 1, 0, -9];
        var how = new SamplingParameters(1, 0.5, 3);
        for (ulong position = 0; position < 200; position++)
        {
            Assert.Equal(0, sampler.Choose(logits, how, position));
            int free = sampler.Choose(logits, how with { TopP = 1 }, position);
            Assert.Equal(free, new Sampler(4).Choose(logits, how with { TopP = 1 }, position));
        }

        Assert.Equal(1, Sampler.Largest([1, 5, 5, 2]));
        int[] counts = new int[4];
        for (ulong position = 0; position < 20_000; position++) counts[sampler.Choose(logits, how with { TopP = 1 }, position)]++;
        Assert.InRange(counts[1] / 20_000.0, 0.2447 - 0.02, 0.2447 + 0.02); // e¹/(e² + e¹ + e⁰ + e⁻⁹)
    }
}
