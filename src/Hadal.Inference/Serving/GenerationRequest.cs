namespace Hadal.Inference.Serving;

/// <summary>What form the text must have.</summary>
public enum OutputForm
{
    /// <summary>Any text.</summary>
    Text,
    /// <summary>One JSON object, always complete and valid: where tokens run out, what is open is closed. Only a stop text of the caller, or giving the request up, can cut it.</summary>
    JsonObject,
}

/// <summary>One text to generate. Immutable; the engine keeps no reference to it after its last event.</summary>
public sealed record GenerationRequest
{
    /// <summary>Token ids, at least one; nothing is added to them.</summary>
    public required ReadOnlyMemory<int> Prompt { get; init; }

    /// <summary>Most tokens to generate, at least 1; cut to what the model's positions leave.</summary>
    public required int MaxNewTokens { get; init; }

    /// <summary>Temperature 0 to 2 (0: the largest logit), top-p above 0 to 1, and the seed: draws are a function of (seed, position).</summary>
    public required SamplingParameters Sampling { get; init; }

    /// <summary>−2 to 2: subtracted from a token's logit for each time it was generated so far.</summary>
    public double FrequencyPenalty { get; init; }

    /// <summary>−2 to 2: subtracted once from the logit of every token generated so far.</summary>
    public double PresencePenalty { get; init; }

    /// <summary>Texts that end the answer and are left out of it, wherever token borders fall; at most 16.</summary>
    public IReadOnlyList<string> Stop { get; init; } = [];

    /// <summary>How many most likely tokens to report at each position, 0 to 20; null: no log probabilities at all.</summary>
    public int? TopLogProbabilities { get; init; }

    /// <summary>The form of the answer.</summary>
    public OutputForm Form { get; init; }

    /// <summary>Ids after which <see cref="Form"/> begins to hold (the end of a chain of thought); empty: from the first token.</summary>
    public int? FormBeginsAfter { get; init; }

    /// <summary>Whether generation goes on over end tokens.</summary>
    public bool IgnoreEndTokens { get; init; }

    /// <summary>Whose request: fairness is between owners, and cached prefixes are shared within one only, unless the engine's options share them.</summary>
    public string Owner { get; init; } = "";
}
