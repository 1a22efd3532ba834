using Hadal.Inference.Serving;
using Hadal.Inference.Serving.Workers;
using Hadal.Model;
using Hadal.Tensors.Cpu;
using Hadal.Tensors.Operations;
using Hadal.Text;
using Hadal.Training;
using Hadal.Training.Data;
using Hadal.Training.Optimization;
using Hadal.Training.Supervised;

namespace Hadal.Server.Tests.Real;

/// <summary>A model of a few thousand weights that was trained, when it is first asked for, until it knew <see cref="Dialogues"/> by heart; every engine has its own copy.</summary>
static class LearnedModel
{
    const int Positions = 16_384, MostSteps = 400, Enough = 4;
    const double Known = 0.005;

    static readonly Lazy<(Tokenizer Tokenizer, float[] Weights)> Learned = new(Learn);

    public static Tokenizer Tokenizer => Learned.Value.Tokenizer;

    /// <summary>Prefill and decode workers over a copy of the model, which they own: what <c>hadal serve</c> runs.</summary>
    public static Router Open(EngineOptions? options = null, string name = "tiny")
    {
        (Tokenizer tokenizer, float[] weights) = Learned.Value;
        (CpuBackend backend, Transformer model) = Create(tokenizer);
        weights.CopyTo(model.Parameters.Values.AsSpan<float>());
        model.Refresh();
        ServedModel served = EngineFactory.Describe(name, model, tokenizer, [tokenizer.RequireId(SpecialTokens.EndOfSentence)]);
        return SeparateWorkers.Start(served, model, options ?? new EngineOptions { MaxRunning = 8, Pages = 400 }, new RouterOptions { QueueLength = options?.QueueLength ?? 256 }, model, backend);
    }

    static (Tokenizer, float[]) Learn()
    {
        Tokenizer tokenizer = TokenizerTrainer.Train(Dialogues.Texts, new TokenizerTrainingOptions { VocabularySize = 480, MinimumFrequency = 1, Threads = 1 });
        ChatSample[] samples = [.. Dialogues.Encode(tokenizer)];
        int length = samples.Max(sample => sample.Tokens.Length) - 1, width = length + 2;
        PackedRows packed = BestFitPacker.Pack([.. samples.Select(sample => sample.Tokens.Length)], length + 1);
        int[] tokens = new int[packed.Count * width];
        Array.Fill(tokens, -1);
        for (int r = 0, at = 0; r < packed.Count; at = ++r * width)
        {
            foreach (PackedPiece piece in packed[r])
            {
                SampleRows.Mark(samples[piece.Document], tokens.AsSpan(at, piece.Length));
                at += piece.Length;
            }
        }

        var run = new RunConfiguration { Data = new DataConfiguration { SequenceLength = length }, Batch = new BatchConfiguration { Rows = packed.Count, MicroBatches = 1, FirstMicroBatches = 1 }, BalanceAlpha = 0 };
        (CpuBackend backend, Transformer model) = Create(tokenizer);
        using (backend)
        using (model)
        {
            Initialization.Normal(model, 1, 0.08);
            var optimizer = new AdamWOptimizer(backend, model.Parameters, new AdamWParameters(0.9, 0.98, 1e-8, 0), 1);
            using var step = new TrainingStep(run, model, new PackedDataLoader(new TokenRows(tokens, width), 1), optimizer);
            for (int s = 1, good = 0; good < Enough; s++)
            {
                Assert.True(s <= MostSteps, $"After {MostSteps} steps the model does not know its {samples.Length} dialogues.");
                StepResult result = step.Run(new StepSettings(s, 1, 1e-2 * Math.Min(1, s / 20.0), 0.3, 0), s - 1);
                good = result.Loss < Known ? good + 1 : 0;
            }

            return (tokenizer, model.Parameters.Values.AsSpan<float>().ToArray());
        }
    }

    static (CpuBackend, Transformer) Create(Tokenizer tokenizer)
    {
        var backend = new CpuBackend(CpuOptions.FromEnvironment() with { Threads = 1 });
        return (backend, new Transformer(backend, new TransformerShape
        {
            Vocabulary = tokenizer.VocabularySize, Hidden = 48, Layers = 2, DenseLayers = 1, DenseIntermediate = 96, ExpertIntermediate = 48, Heads = 3, QueryLoraRank = 32,
            KeyValueLoraRank = 24, QkNopeHeadDim = 16, QkRopeHeadDim = 8, ValueHeadDim = 16, SharedExperts = 1,
            Gate = new GateParameters(4, 2, 1, 1, GateScoring.Sigmoid, GroupScoring.TopTwoSum, true, 1), GateBias = true, MtpDepth = 1, NormEpsilon = 1e-6, RotaryTheta = 10000,
            MaxPositions = Positions,
        }, Recipe.Fp32));
    }
}
