using Hadal.Inference.Serving;
using Hadal.Numerics;

namespace Hadal.Inference.Tests.Serving;

/// <summary>Whether drafts are made, on a machine whose times are known.</summary>
public sealed class SpeculationChoiceTests
{
    /// <summary>Runs steps of so many texts; returns tokens a second of the choice, without drafts, and with.</summary>
    static (double Chosen, double Plain, double Drafted, int Drafts) Run(SpeculationChoice choice, int texts, int steps, double acceptance, double verify, double draft, ulong seed)
    {
        var random = new CounterRandom(seed, RandomPurpose.Simulation);
        ulong draw = 0;
        double seconds = 0, tokens = 0;
        int drafts = 0;
        bool drafted = false;
        for (int step = 0; step < steps; step++)
        {
            double noise = 1 + (0.1 * random.Uniform(draw++)) + (random.Below(draw++, 50) == 0 ? 5 : 0); // now and then something else ran
            double verified = (drafted ? verify : 1) * noise;
            choice.Verification(texts, drafted, verified);
            tokens += texts;
            for (int t = 0; drafted && t < texts; t++)
            {
                bool right = random.Uniform(draw++) < acceptance;
                choice.Verified(right);
                if (right) tokens++;
            }

            drafted = choice.ShouldDraft(texts, choice.Expected(0, 0));
            if (drafted) drafts++;
            double drafting = (drafted ? draft : 0.01) * noise;
            choice.Drafting(texts, drafted, drafting);
            seconds += verified + drafting;
        }

        double cost = 1.05 + (5.0 / 50); // of the noise, in the mean
        return (tokens / seconds, texts / (1.01 * cost), (1 + acceptance) * texts / ((verify + draft) * cost), drafts);
    }

    [Theory]
    [InlineData(1, 0.8, 1.1, 0.2)] // pays
    [InlineData(8, 0.6, 1.7, 0.3)] // does not
    [InlineData(32, 0.5, 1.3, 0.19)] // alike
    [InlineData(2, 0.05, 1.02, 0.15)] // cheap, and never right
    public void The_faster_way_is_found_and_kept(int texts, double acceptance, double verify, double draft)
    {
        var choice = new SpeculationChoice(new EngineOptions());
        (double chosen, double plain, double drafted, int drafts) = Run(choice, texts, 3000, acceptance, verify, draft, 3);
        Assert.True(chosen > 0.97 * Math.Max(plain, drafted), $"{chosen:F3} tokens, {plain:F3} without drafts, {drafted:F3} with; {drafts} steps drafted");
        Assert.InRange(choice.Gain, drafted / plain * 0.85, drafted / plain * 1.15);
    }

    [Fact]
    public void A_change_is_noticed()
    {
        var choice = new SpeculationChoice(new EngineOptions());
        Assert.InRange(Run(choice, 4, 1000, 0.8, 1.1, 0.2, 1).Drafts, 900, 1000);
        Assert.InRange(Run(choice, 4, 3000, 0.1, 1.1, 0.2, 2).Drafts, 0, 1000); // other texts, whose drafts are wrong
        Assert.InRange(Run(choice, 4, 3000, 0.9, 1.1, 0.2, 3).Drafts, 1000, 3000); // a trial tells that they are right again
    }

    [Fact]
    public void Each_number_of_texts_has_its_own_answer()
    {
        var choice = new SpeculationChoice(new EngineOptions { MaxRunning = 16 });
        Assert.True(Run(choice, 1, 500, 0.7, 1.1, 0.2, 4).Drafts > 400);
        Assert.True(Run(choice, 16, 500, 0.7, 1.9, 0.3, 5).Drafts < 50);
        Assert.True(Run(choice, 1, 500, 0.7, 1.1, 0.2, 6).Drafts > 450);
    }
}
