using Hadal.Inference.Serving;
using Hadal.Numerics;

namespace Hadal.Inference.Tests.Serving;

/// <summary>Residual resampling keeps the distribution, not the token.</summary>
public sealed class SpeculationTests
{
    [Fact]
    public void Accepted_and_resampled_tokens_together_have_the_distribution_of_the_model()
    {
        double[] p = [0.4, 0.25, 0.2, 0.1, 0.05, 0], q = [0.1, 0.5, 0.05, 0.1, 0.05, 0.2];
        const int Draws = 200_000;
        int[] counts = new int[p.Length];
        int accepted = 0;
        for (ulong n = 0; n < Draws; n++)
        {
            double draft = new CounterRandom(4, RandomPurpose.Sampling, 1).Uniform(n);
            int token = 0;
            for (double sum = q[0]; draft >= sum; sum += q[token]) token++;
            (int chosen, bool right) = SpeculationAcceptance.Residual(p, q, token, new CounterRandom(4, RandomPurpose.Sampling, 2).Uniform(n), new CounterRandom(4, RandomPurpose.Sampling, 3).Uniform(n));
            counts[chosen]++;
            if (right) accepted++;
        }

        Assert.Equal(0, counts[5]);
        Assert.InRange(ChiSquare(counts, p), 0, 23.5); // 4 degrees of freedom: 1 in 10,000
        Assert.InRange(accepted / (double)Draws, 0.55 - 0.005, 0.55 + 0.005); // Σ min(p, q)
    }

    [Fact]
    public async Task The_fast_way_draws_each_token_from_the_distribution_of_the_model_and_greedy_texts_do_not_change()
    {
        using var model = new TestModel(deviation: 0.12);
        int[] prompt = [5, 9, 30];

        // The exact distribution of the third token, over all first and second tokens that nucleus sampling allows, by many exact texts against many fast ones.
        const int Texts = 3000;
        var how = new SamplingParameters(1, 0.5, 0);
        var exact = await Thirds(false);
        var fast = await Thirds(true);
        var likely = exact.Concat(fast).GroupBy(t => t).Where(g => g.Count() >= 40).Select(g => g.Key).ToList();
        double chi = 0;
        foreach (int token in likely)
        {
            double a = exact.Count(t => t == token), b = fast.Count(t => t == token);
            chi += (a - b) * (a - b) / (a + b);
        }

        Assert.True(likely.Count >= 5, $"{likely.Count} tokens are likely");
        double degrees = likely.Count;
        Assert.True(chi < degrees + (4.5 * Math.Sqrt(2 * degrees)) + 5, $"chi-square {chi} with {degrees} tokens");

        await using var plain = new PlainEngine(model.Served, model.Transformer);
        var greedy = new GenerationRequest { Prompt = prompt, MaxNewTokens = 60, Sampling = SamplingParameters.Greedy, IgnoreEndTokens = true };
        Answer expected = await Answer.Read(plain.GenerateAsync(greedy));
        await plain.DisposeAsync();
        await using var fastEngine = new InferenceEngine(model.Served, model.Transformer, new EngineOptions { Fast = true, AlwaysSpeculate = true });
        Answer.Same(expected, await Answer.Read(fastEngine.GenerateAsync(greedy)));

        async Task<List<int>> Thirds(bool isFast)
        {
            await using var engine = new InferenceEngine(model.Served, model.Transformer, new EngineOptions { Fast = isFast, AlwaysSpeculate = true, MaxRunning = 64, QueueLength = 2 * Texts });
            Answer[] answers = await Task.WhenAll(Enumerable.Range(0, Texts).Select(n => Answer.Read(engine.GenerateAsync(new GenerationRequest
            {
                Prompt = prompt, MaxNewTokens = 4, IgnoreEndTokens = true, Sampling = how with { Seed = (ulong)(n + (isFast ? 1_000_000 : 0)) },
            }))));
            if (isFast) Assert.True(engine.Statistics.AcceptedTokens > 0 && engine.Statistics.AcceptedTokens < engine.Statistics.DraftedTokens);
            return [.. answers.Select(a => a.Tokens[2])];
        }
    }

    static double ChiSquare(int[] counts, double[] probabilities)
    {
        double sum = 0, all = counts.Sum();
        for (int v = 0; v < counts.Length; v++)
            if (probabilities[v] > 0) sum += Math.Pow(counts[v] - (all * probabilities[v]), 2) / (all * probabilities[v]);
        return sum;
    }
}
