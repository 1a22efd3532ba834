using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using Hadal.Inference.Serving;
using Hadal.Text;

namespace Hadal.Server.Tests.Api;

/// <summary>An engine whose answers a test writes: tokens of a text in which control tokens are spelled, one to three in an event.</summary>
sealed class ApiEngine : IInferenceEngine
{
    static readonly Lazy<Tokenizer> Small = new(() => TokenizerTrainer.Train(
        ["What is the weather in the deep sea? The answer is {\"city\": \"Kiel\"} 17 + 25 = 42. function get_weather ```json Let me think about it, the deep sea."],
        new TokenizerTrainingOptions { VocabularySize = 340, MinimumFrequency = 1, Threads = 1 }));

    int _running, _cancelled;

    public ApiEngine(string name = "deepseek-chat", int maxPositions = 2048, Tokenizer? tokenizer = null) =>
        Model = new ServedModel(name, "00112233445566778899aabbccddeeff", tokenizer ?? Small.Value, maxPositions, [(tokenizer ?? Small.Value).RequireId(SpecialTokens.EndOfSentence)]);

    public ServedModel Model { get; }

    public static Tokenizer Tokenizer => Small.Value;

    public Func<string, string> Reply { get; set; } = prompt => prompt.EndsWith("<think>\n", StringComparison.Ordinal) ? "Let me think.\n</think>\n\nThe answer is 42." : "The answer is 42.";

    /// <summary>Asked before each event.</summary>
    public Func<CancellationToken, Task>? Wait { get; set; }

    public int? Place { get; set; }

    public bool IsFull { get; set; }

    public Exception? Fault { get; set; }

    public FinishReason Reason { get; set; } = FinishReason.Stop;

    public int Cached { get; set; }

    public int Running => Volatile.Read(ref _running);

    public int Cancelled => Volatile.Read(ref _cancelled);

    public ConcurrentQueue<GenerationRequest> Requests { get; } = new();

    public string LastPrompt => Model.Tokenizer.Decode(Requests.Last().Prompt.Span);

    public EngineStatistics Statistics => new() { Queued = 3, Running = Running, Pages = 64, PagesInUse = 5, PagesCached = 7, PromptTokens = 100, CachedTokens = 64, GeneratedTokens = 50, DraftedTokens = 20, AcceptedTokens = 17, ExpertLoad = [[5, 6], [7, 8]], RecentExpertLoad = [[1.5, 2], [3, 4]] };

    public async IAsyncEnumerable<GenerationEvent> GenerateAsync(GenerationRequest request, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        RequestChecks.Require(request, Model, Model.Tokenizer.VocabularySize);
        if (IsFull) throw new EngineBusyException(9, TimeSpan.FromSeconds(30));
        Requests.Enqueue(request);
        Interlocked.Increment(ref _running);
        bool finished = false;
        try
        {
            await Task.Yield();
            if (Place is int place)
            {
                yield return new RequestQueued(place, TimeSpan.FromSeconds(4 * place));
                if (Wait is not null) await Wait(cancellationToken);
            }

            if (Fault is not null) throw Fault;
            yield return new RequestStarted(Cached);
            int[] tokens = [.. Model.Tokenizer.Encode(Reply(Model.Tokenizer.Decode(request.Prompt.Span)), allowSpecial: true), Model.EndTokens[0]];
            int most = Math.Min(tokens.Length, request.MaxNewTokens);
            var decoder = new TokenDecoder(Model.Tokenizer, skipSpecial: true);
            for (int i = 0; i < most;)
            {
                if (Wait is not null) await Wait(cancellationToken);
                else if (i % 4 == 0) await Task.Yield();
                cancellationToken.ThrowIfCancellationRequested();
                int[] group = tokens[i..Math.Min(most, i + 1 + i % 3)];
                i += group.Length;
                string text = string.Concat(group.Select(decoder.Append));
                TokenLogProbability[] probabilities = request.TopLogProbabilities is int top
                    ? [.. group.Select(token => new TokenLogProbability(token, -0.5, [.. Enumerable.Range(0, top).Select(k => (k + 3, -0.5 - k))]))] : [];
                yield return new TokensGenerated(text, group, probabilities);
            }

            finished = true;
            yield return new RequestFinished(most < tokens.Length ? FinishReason.Length : Reason, new TokenUsage(request.Prompt.Length, Cached, most, 0, 0));
        }
        finally
        {
            Interlocked.Decrement(ref _running);
            if (!finished) Interlocked.Increment(ref _cancelled);
        }
    }

    public Task DrainAsync(CancellationToken cancellationToken = default) => Task.CompletedTask;

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;
}
