namespace Hadal.Inference.Serving;

/// <summary>A picture of an engine at one moment; sums count since its start.</summary>
public sealed record EngineStatistics
{
    /// <summary>Requests that wait.</summary>
    public int Queued { get; init; }

    /// <summary>Requests being generated.</summary>
    public int Running { get; init; }

    /// <summary>Cache pages there are, and how many hold something that a running request needs.</summary>
    public int Pages { get; init; }

    /// <summary>Pages of running requests.</summary>
    public int PagesInUse { get; init; }

    /// <summary>Pages that hold only a cached prefix.</summary>
    public int PagesCached { get; init; }

    /// <summary>Requests finished, cancelled ones included.</summary>
    public long Finished { get; init; }

    /// <summary>Requests given up by their caller.</summary>
    public long Cancelled { get; init; }

    /// <summary>Running requests that were put aside for want of pages.</summary>
    public long Preempted { get; init; }

    /// <summary>Prompt tokens, those from the cache included.</summary>
    public long PromptTokens { get; init; }

    /// <summary>Prompt tokens found in the cache.</summary>
    public long CachedTokens { get; init; }

    /// <summary>Generated tokens.</summary>
    public long GeneratedTokens { get; init; }

    /// <summary>Tokens proposed by speculation.</summary>
    public long DraftedTokens { get; init; }

    /// <summary>Drafted tokens that were right.</summary>
    public long AcceptedTokens { get; init; }

    /// <summary>Tokens routed to each expert: [layer of routed experts][expert].</summary>
    public IReadOnlyList<IReadOnlyList<long>> ExpertLoad { get; init; } = [];

    /// <summary>
    /// As <see cref="ExpertLoad"/>, but each token counts half as much after <see cref="EngineOptions.ExpertLoadHalfLife"/>: what a placement of experts should follow.
    /// </summary>
    public IReadOnlyList<IReadOnlyList<double>> RecentExpertLoad { get; init; } = [];

    /// <summary>Seconds of a step of late that only decoded; 0 before the first.</summary>
    public double DecodeStepSeconds { get; init; }

    /// <summary>Tokens a second of late in steps that read prompts; 0 before the first.</summary>
    public double PromptTokensPerSecond { get; init; }

    /// <summary>Steps that verified drafts.</summary>
    public long DraftedSteps { get; init; }

    /// <summary>Steps that wrote texts without drafts; 0 where the model or an option has none.</summary>
    public long PlainSteps { get; init; }

    /// <summary>Tokens a second with drafts over those without, as last estimated for the texts being written; 0 before both were measured.</summary>
    public double SpeculationGain { get; init; }

    /// <summary>Pages of remembered prefixes on disk.</summary>
    public int PagesOnDisk { get; init; }

    /// <summary>How often latency goals held; null for an engine that has no router.</summary>
    public Workers.RouterReport? Goals { get; init; }
}
