namespace Hadal.Inference.Serving;

/// <summary>One thing that happened to a request.</summary>
public abstract record GenerationEvent;

/// <summary>The request waits. Sent again when its place changes.</summary>
/// <param name="PlaceInLine">1 for the next to be served.</param>
/// <param name="ExpectedWait">An estimate from the speed of late.</param>
public sealed record RequestQueued(int PlaceInLine, TimeSpan ExpectedWait) : GenerationEvent;

/// <summary>The request was taken.</summary>
/// <param name="CachedTokens">Tokens of the prompt whose cache pages were there already.</param>
public sealed record RequestStarted(int CachedTokens) : GenerationEvent;

/// <summary>New text. Several tokens come together when speculation was right or when a character spans tokens.</summary>
/// <param name="Text">May be empty: bytes of an unfinished character, or text that may turn out to be a stop text, are held back. Control tokens are left out.</param>
/// <param name="Tokens">The ids, in order, end tokens included.</param>
/// <param name="LogProbabilities">One for each token when asked for, otherwise empty.</param>
public sealed record TokensGenerated(string Text, IReadOnlyList<int> Tokens, IReadOnlyList<TokenLogProbability> LogProbabilities) : GenerationEvent;

/// <summary>The natural logarithm of a chosen token's probability before temperature and penalties, and of the likeliest others.</summary>
public sealed record TokenLogProbability(int Token, double LogProbability, IReadOnlyList<(int Token, double LogProbability)> Top);

/// <summary>The last event.</summary>
/// <param name="Reason">Why.</param>
/// <param name="Usage">What was read and written.</param>
public sealed record RequestFinished(FinishReason Reason, TokenUsage Usage) : GenerationEvent;

/// <summary>Why a request ended.</summary>
public enum FinishReason
{
    /// <summary>An end token or a stop text.</summary>
    Stop,
    /// <summary>As many tokens as were asked for, or as the model has positions.</summary>
    Length,
    /// <summary>The engine could not go on (a worker died and no other could take over).</summary>
    InsufficientResources,
}

/// <summary>Tokens of a request.</summary>
/// <param name="PromptTokens">All of the prompt.</param>
/// <param name="CachedTokens">Those found in the cache.</param>
/// <param name="GeneratedTokens">End token included.</param>
/// <param name="DraftedTokens">Tokens proposed by speculation.</param>
/// <param name="AcceptedTokens">Drafted tokens that were right.</param>
public readonly record struct TokenUsage(int PromptTokens, int CachedTokens, int GeneratedTokens, int DraftedTokens, int AcceptedTokens);
