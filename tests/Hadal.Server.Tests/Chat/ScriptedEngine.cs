using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using Hadal.Inference.Serving;
using Hadal.Text;

namespace Hadal.Server.Tests.Chat;

/// <summary>An engine that says what a test tells it to, token by token, at the test's pace.</summary>
sealed class ScriptedEngine : IInferenceEngine
{
    static readonly Lazy<Tokenizer> Small = new(() => TokenizerTrainer.Train(
        ["What is the answer to this question? The answer is a number, 17 + 25 = 42. Let me think about it first. Sorted: 3 5 9. Thank you, a long answer it is."],
        new TokenizerTrainingOptions { VocabularySize = 330, MinimumFrequency = 1, Threads = 1 }));

    readonly SemaphoreSlim _tokens = new(0);

    public ScriptedEngine(int maxPositions = 4096) =>
        Model = new ServedModel("deepseek-chat", "00112233445566778899aabbccddeeff", Small.Value, maxPositions, [Small.Value.RequireId(SpecialTokens.EndOfSentence)]);

    public static Tokenizer Tokenizer => Small.Value;

    public ServedModel Model { get; }

    /// <summary>The answer to a prompt in text form; &lt;/think&gt; in it is the control token.</summary>
    public Func<string, string> Reply { get; set; } = prompt => prompt.EndsWith("<think>\n", StringComparison.Ordinal) ? "Let me think.\n</think>\n\nThe answer is 42." : "The answer is 42.";

    /// <summary>Whether tokens wait for <see cref="Allow"/>.</summary>
    public bool IsHeld { get; set; }

    /// <summary>Pause before each token.</summary>
    public TimeSpan Pause { get; set; }

    /// <summary>When set, the queue is full.</summary>
    public bool IsFull { get; set; }

    /// <summary>When set, a request first hears this place in line.</summary>
    public int? Place { get; set; }

    /// <summary>Thrown in the middle of an answer.</summary>
    public Exception? Fault { get; set; }

    public FinishReason Reason { get; set; } = FinishReason.Stop;

    public ConcurrentQueue<GenerationRequest> Requests { get; } = new();

    public ConcurrentQueue<string> Prompts { get; } = new();

    int _cancelled;

    /// <summary>Requests that ended by cancellation. Whoever stops an answer hears of it a moment before the engine does: wait for it.</summary>
    public int Cancelled => Volatile.Read(ref _cancelled);

    public EngineStatistics Statistics => new()
    {
        Queued = 2, Running = 1, Pages = 64, PagesInUse = 10, PagesCached = 20, Finished = 7, PromptTokens = 1200, CachedTokens = 800, GeneratedTokens = 900, DraftedTokens = 500, AcceptedTokens = 400,
        ExpertLoad = [[120, 80, 95, 105, 60, 140, 100, 100], [100, 100, 90, 110, 130, 70, 105, 95]],
    };

    /// <summary>Waits, at most a minute, until exactly so many requests have ended by cancellation.</summary>
    public async Task CancelledAsync(int requests)
    {
        for (int round = 0; round < 2400 && Cancelled < requests; round++) await Task.Delay(25);
        Assert.Equal(requests, Cancelled);
    }

    /// <summary>Lets a number of tokens pass.</summary>
    public void Allow(int tokens) => _tokens.Release(tokens);

    public async IAsyncEnumerable<GenerationEvent> GenerateAsync(GenerationRequest request, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        if (IsFull) throw new EngineBusyException(9, TimeSpan.FromSeconds(30));
        Requests.Enqueue(request);
        string prompt = Model.Tokenizer.Decode(request.Prompt.Span);
        Prompts.Enqueue(prompt);
        int said = 0;
        bool ended = false;
        try
        {
            if (Place is { } place)
            {
                yield return new RequestQueued(place, TimeSpan.FromSeconds(4 * place));
                if (IsHeld) await _tokens.WaitAsync(cancellationToken);
            }

            yield return new RequestStarted(0);
            foreach (int token in (int[])[.. Model.Tokenizer.Encode(Reply(prompt), allowSpecial: true), Model.EndTokens[0]])
            {
                if (IsHeld) await _tokens.WaitAsync(cancellationToken);
                if (Pause > TimeSpan.Zero) await Task.Delay(Pause, cancellationToken);
                else await Task.Yield();
                cancellationToken.ThrowIfCancellationRequested();
                if (++said == 5 && Fault is not null) throw Fault;
                yield return new TokensGenerated("", [token], []);
            }

            ended = true;
            yield return new RequestFinished(Reason, new TokenUsage(request.Prompt.Length, 0, said, 0, 0));
        }
        finally
        {
            if (!ended && cancellationToken.IsCancellationRequested) Interlocked.Increment(ref _cancelled);
        }
    }

    public Task DrainAsync(CancellationToken cancellationToken = default) => Task.CompletedTask;

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
