using Hadal.Numerics;

namespace Hadal.Planning.Serving;

/// <summary>Lengths of prompts or answers: log-normal, which long tails of texts resemble; a spread of 0 makes all equal.</summary>
/// <param name="Mean">Tokens on average.</param>
/// <param name="Spread">Standard deviation over the mean.</param>
/// <param name="Most">Longest.</param>
public sealed record LengthDistribution(double Mean, double Spread, int Most)
{
    /// <summary>Draws a length.</summary>
    public int Draw(CounterRandom random, ulong index)
    {
        double variance = Math.Log(1 + (Spread * Spread));
        double length = Mean * Math.Exp((Math.Sqrt(variance) * random.Normal(index)) - (variance / 2));
        return (int)Math.Clamp(Math.Round(length), 1, Most);
    }

    /// <summary>Mean of the drawn lengths, which the longest cuts.</summary>
    public double MeanDrawn()
    {
        var random = new CounterRandom(0, RandomPurpose.Simulation, 77);
        double sum = 0;
        for (ulong i = 0; i < 20_000; i++) sum += Draw(random, i);
        return sum / 20_000;
    }
}

/// <summary>What is asked of a service, and how soon it has to answer.</summary>
public sealed record ServingLoad
{
    /// <summary>Requests a second, at random times.</summary>
    public required double RequestsPerSecond { get; init; }

    /// <summary>Prompts.</summary>
    public LengthDistribution Prompt { get; init; } = new(2000, 1, 32_768);

    /// <summary>Answers.</summary>
    public LengthDistribution Answer { get; init; } = new(600, 1, 8192);

    /// <summary>Part of each prompt that the prefix cache knows already.</summary>
    public double CachedPart { get; init; }

    /// <summary>Time to the first token that nine of ten requests get, seconds.</summary>
    public double FirstTokenSeconds { get; init; } = 2;

    /// <summary>Time for each further token that nine of ten requests get, seconds.</summary>
    public double NextTokenSeconds { get; init; } = 0.05;

    /// <summary>Seed of every random choice.</summary>
    public ulong Seed { get; init; }
}

/// <summary>How requests fared in a simulation.</summary>
/// <param name="FirstToken">Seconds to the first token of nine of ten; infinite when none was asked in the time that counts.</param>
/// <param name="NextToken">Seconds for each further token of nine of ten; infinite when no answer ended.</param>
/// <param name="PromptTokensPerSecond">Prompt tokens, cached ones included.</param>
/// <param name="AnswerTokensPerSecond">Answer tokens.</param>
/// <param name="StepSeconds">Mean seconds of a step.</param>
/// <param name="Busy">Part of the time in which steps ran.</param>
/// <param name="Running">Answers a GPU wrote at once, on average.</param>
/// <param name="CacheUsed">Part of the cache that the fullest GPU used at most.</param>
public sealed record ServiceOutcome(double FirstToken, double NextToken, double PromptTokensPerSecond, double AnswerTokensPerSecond, double StepSeconds, double Busy, double Running, double CacheUsed)
{
    /// <summary>Whether the goals are kept.</summary>
    public bool Keeps(ServingLoad load) => FirstToken <= load.FirstTokenSeconds && NextToken <= load.NextTokenSeconds;
}
