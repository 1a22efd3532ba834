using Hadal.Inference.Serving;
using Hadal.Model;
using Hadal.Numerics;
using Hadal.Tensors.Cpu;
using Hadal.Tensors.Operations;
using Hadal.Text;

namespace Hadal.Inference.Tests.Serving;

/// <summary>A small random model with a real tokenizer, and random requests for it.</summary>
sealed class TestModel : IDisposable
{
    public const int Positions = 400;
    static readonly Lazy<Tokenizer> Trained = new(() => TokenizerTrainer.Train(
        ["{\"name\": \"Ada\", \"born\": 1815, \"tags\": [true, false, null]} the sea, the deep sea, and the deepest of all: \u00e9t\u00e9 \u6df1\u6d77 \ud83d\udc1f the sea the sea"],
        new TokenizerTrainingOptions { VocabularySize = 330, MinimumFrequency = 1, Threads = 1 }));

    readonly CpuBackend _backend;

    public TestModel(bool mtp = true, ulong seed = 1, int threads = 1, double deviation = 0.25, int positions = Positions, Tokenizer? tokenizer = null)
    {
        _backend = new CpuBackend(CpuOptions.FromEnvironment() with { Threads = threads });
        Tokenizer = tokenizer ?? Trained.Value;
        Transformer = new Transformer(_backend, Shape(Tokenizer.VocabularySize, mtp ? 1 : 0, positions), Recipe.Fp32);
        Initialization.Normal(Transformer, seed, deviation);
        Served = EngineFactory.Describe("test", Transformer, Tokenizer, [Tokenizer.RequireId(SpecialTokens.EndOfSentence)]);
    }

    public Tokenizer Tokenizer { get; }

    public Transformer Transformer { get; }

    public ServedModel Served { get; }

    static TransformerShape Shape(int vocabulary, int mtp, int positions) => new()
    {
        Vocabulary = vocabulary, Hidden = 32, Layers = 3, DenseLayers = 1, DenseIntermediate = 48, ExpertIntermediate = 24, Heads = 3, QueryLoraRank = 20,
        KeyValueLoraRank = 16, QkNopeHeadDim = 8, QkRopeHeadDim = 4, ValueHeadDim = 8, SharedExperts = 1,
        Gate = new GateParameters(8, 2, 2, 1, GateScoring.Sigmoid, GroupScoring.TopTwoSum, true, 2.5), GateBias = true, MtpDepth = mtp, NormEpsilon = 1e-6, RotaryTheta = 10000,
        MaxPositions = positions,
    };

    public void Dispose()
    {
        Transformer.Dispose();
        _backend.Dispose();
    }

    /// <summary>Any request: prompts of four families that begin alike, three owners, every way of choosing tokens.</summary>
    public GenerationRequest Random(CounterRandom random, ref ulong draw, int longest = 200)
    {
        int prompt = 1 + random.Below(draw++, Math.Min(longest, Transformer.Shape.MaxPositions - 60));
        int family = random.Below(draw++, 4); // prompts of a family begin alike
        var content = new CounterRandom(7, RandomPurpose.TestData, (uint)family);
        int[] tokens = new int[prompt];
        for (int i = 0; i < prompt; i++) tokens[i] = 3 + content.Below((ulong)i, Tokenizer.VocabularySize - 3);
        if (random.Below(draw++, 2) == 0) tokens[^1] = 3 + random.Below(draw++, Tokenizer.VocabularySize - 3);
        int kind = random.Below(draw++, 6);
        return new GenerationRequest
        {
            Prompt = tokens,
            MaxNewTokens = (kind == 5 ? 2 : 1) + random.Below(draw++, 50),
            Sampling = kind < 2 ? SamplingParameters.Greedy : new SamplingParameters(0.3 + random.Uniform(draw++), kind == 2 ? 1 : 0.8, random.UInt64(draw++)),
            FrequencyPenalty = kind == 3 ? 0.5 : 0,
            PresencePenalty = kind == 3 ? 0.25 : 0,
            TopLogProbabilities = kind == 4 ? 2 : null,
            Form = kind == 5 ? OutputForm.JsonObject : OutputForm.Text,
            Stop = random.Below(draw++, 3) == 0 ? ["the", "a ", "\u6df1"] : [],
            IgnoreEndTokens = random.Below(draw++, 2) == 0,
            Owner = $"owner{random.Below(draw++, 3)}",
        };
    }
}

/// <summary>All that a caller saw.</summary>
sealed record Answer(string Text, int[] Tokens, TokenLogProbability[] LogProbabilities, FinishReason? Reason, TokenUsage Usage, int Started, int Queued)
{
    public static async Task<Answer> Read(IAsyncEnumerable<GenerationEvent> events, int leaveAfter = int.MaxValue)
    {
        var text = new System.Text.StringBuilder();
        var tokens = new List<int>();
        var logs = new List<TokenLogProbability>();
        FinishReason? reason = null;
        TokenUsage usage = default;
        int started = 0, queued = 0;
        await foreach (GenerationEvent happened in events)
        {
            Assert.Null(reason);
            switch (happened)
            {
                case RequestQueued place:
                    Assert.Equal(0, started);
                    Assert.True(place.PlaceInLine >= 1);
                    queued++;
                    break;
                case RequestStarted:
                    started++;
                    break;
                case TokensGenerated generated:
                    Assert.Equal(1, started);
                    text.Append(generated.Text);
                    tokens.AddRange(generated.Tokens);
                    logs.AddRange(generated.LogProbabilities);
                    break;
                case RequestFinished finished:
                    reason = finished.Reason;
                    usage = finished.Usage;
                    break;
            }

            if (tokens.Count >= leaveAfter) break;
        }

        return new Answer(text.ToString(), [.. tokens], [.. logs], reason, usage, started, queued);
    }

    /// <summary>Equal in all that may not depend on how it was computed.</summary>
    public static void Same(Answer expected, Answer actual)
    {
        Assert.Equal(expected.Tokens, actual.Tokens);
        Assert.Equal(expected.Text, actual.Text);
        Assert.Equal(expected.Reason, actual.Reason);
        Assert.Equal(expected.LogProbabilities.Select(l => (l.Token, l.LogProbability)), actual.LogProbabilities.Select(l => (l.Token, l.LogProbability)));
        Assert.Equal(expected.LogProbabilities.SelectMany(l => l.Top), actual.LogProbabilities.SelectMany(l => l.Top));
        Assert.Equal(expected.Usage.GeneratedTokens, actual.Usage.GeneratedTokens);
        Assert.Equal(expected.Usage.PromptTokens, actual.Usage.PromptTokens);
    }
}
