namespace Hadal.Inference;

/// <summary>How the next token is chosen.</summary>
/// <param name="Temperature">0: the largest logit, lowest id on a tie. Otherwise logits are divided by it.</param>
/// <param name="TopP">Smallest set of most likely tokens whose probability reaches this; 1 for all.</param>
/// <param name="Seed">Draws are a function of (seed, position).</param>
public readonly record struct SamplingParameters(double Temperature, double TopP, ulong Seed)
{
    /// <summary>Greedy.</summary>
    public static SamplingParameters Greedy { get; } = new(0, 1, 0);

    /// <summary>Refuses values outside their range.</summary>
    /// <exception cref="ArgumentException">Temperature below 0 or above 2, or top-p outside (0, 1].</exception>
    public SamplingParameters Validate()
    {
        if (!(Temperature is >= 0 and <= 2)) throw new ArgumentException($"temperature {Temperature} is out of range; expected 0 to 2.");
        if (!(TopP is > 0 and <= 1)) throw new ArgumentException($"top-p {TopP} is out of range; expected above 0 and up to 1.");
        return this;
    }
}
