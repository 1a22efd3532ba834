namespace Hadal.Inference.Serving;

/// <summary>How an engine uses the machine. Nothing here changes a text, except <see cref="Fast"/>, which says so.</summary>
public sealed record EngineOptions
{
    /// <summary>
    /// Most requests that wait; one more is refused with <see cref="EngineBusyException"/>. A named owner may have three of them for each place that is free, so that others get in. At least 1.
    /// </summary>
    public int QueueLength { get; init; } = 256;

    /// <summary>Most requests generated together. At least 1.</summary>
    public int MaxRunning { get; init; } = 32;

    /// <summary>Most tokens of one step, prompts in chunks and decoded tokens together. At least 2.</summary>
    public int StepTokens { get; init; } = 256;

    /// <summary>Pages of 64 positions in the latent cache; 0: as many as <see cref="CacheBytes"/> pays for.</summary>
    public int Pages { get; init; }

    /// <summary>Memory for the latent cache in bytes, when <see cref="Pages"/> is 0.</summary>
    public long CacheBytes { get; init; } = 256L << 20;

    /// <summary>Most bytes of memory for pages of requests that were put aside. Beyond it their tokens are computed again, which gives the same bits.</summary>
    public long SwapBytes { get; init; } = 1L << 30;

    /// <summary>Whether pages of finished requests are kept for prompts that begin alike.</summary>
    public bool PrefixCache { get; init; } = true;

    /// <summary>Whether all owners share cached prefixes; otherwise each has its own. Sharing lets one owner learn by timing whether another sent a text.</summary>
    public bool SharedPrefixes { get; init; }

    /// <summary>A directory for cached prefixes that outlive memory and the process; null for none.</summary>
    public string? CacheDirectory { get; init; }

    /// <summary>Most bytes in <see cref="CacheDirectory"/>; the least recently used go.</summary>
    public long CacheDirectoryBytes { get; init; } = 4L << 30;

    /// <summary>A page in <see cref="CacheDirectory"/> that nobody asked for in this time goes.</summary>
    public TimeSpan CacheDirectoryAge { get; init; } = TimeSpan.FromDays(3);

    /// <summary>Whether the model's MTP module, if it has one, may draft tokens that the next step verifies: in steps where, as measured, it pays.</summary>
    public bool Speculate { get; init; } = true;

    /// <summary>Whether every step drafts, also where measuring says that it does not pay.</summary>
    public bool AlwaysSpeculate { get; init; }

    /// <summary>Decides instead of the measurement, given the number of texts; for tests. Called by the engine's thread.</summary>
    internal Func<int, bool>? DraftWhen { get; init; }

    /// <summary>
    /// Sampled drafts are accepted with probability min(1, p/q) and otherwise drawn anew from the residual: more drafts are right and the distribution is the same, but a
    /// text then depends on its drafts too: the same seed gives the same text only under the same load. Greedy texts are the same either way.
    /// </summary>
    public bool Fast { get; init; }

    /// <summary>After this time a token counts half in <see cref="EngineStatistics.RecentExpertLoad"/>.</summary>
    public TimeSpan ExpertLoadHalfLife { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>Shared by engines that run one model in turns; null for an engine that has it alone.</summary>
    internal Workers.ComputeTurns? Turns { get; init; }

    /// <summary>Where pages of finished texts are sent; null for nowhere.</summary>
    internal Workers.PageReturns? Returns { get; init; }

    /// <summary>Where such pages come from; null for nowhere.</summary>
    internal Workers.PageReturns? Returned { get; init; }

    /// <summary>Refuses impossible values.</summary>
    /// <exception cref="ArgumentException">The message names the option, its value and what is expected.</exception>
    public EngineOptions Validate()
    {
        At(nameof(QueueLength), QueueLength, 1);
        At(nameof(MaxRunning), MaxRunning, 1);
        At(nameof(StepTokens), StepTokens, 2);
        At(nameof(Pages), Pages, 0);
        At(nameof(CacheBytes), CacheBytes, 1);
        At(nameof(SwapBytes), SwapBytes, 0);
        At(nameof(CacheDirectoryBytes), CacheDirectoryBytes, 0);
        if (CacheDirectoryAge <= TimeSpan.Zero) throw new ArgumentException($"{nameof(CacheDirectoryAge)} is {CacheDirectoryAge}; expected more than nothing.", nameof(CacheDirectoryAge));
        if (ExpertLoadHalfLife <= TimeSpan.Zero) throw new ArgumentException($"{nameof(ExpertLoadHalfLife)} is {ExpertLoadHalfLife}; expected more than nothing.", nameof(ExpertLoadHalfLife));
        return this;

        static void At(string name, long value, long least)
        {
            if (value < least) throw new ArgumentException($"{name} is {value}; expected at least {least}.", name);
        }
    }
}
