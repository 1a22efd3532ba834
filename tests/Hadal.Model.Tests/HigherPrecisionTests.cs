using Hadal.Numerics;
using Hadal.Tensors;
using Hadal.Tensors.Cpu;
using Hadal.Tensors.Operations;
using Hadal.Tensors.Reference;

namespace Hadal.Model.Tests;

/// <summary>What stays in higher precision under the report's recipe [V3 §3.3.1]: looked at while a model runs under fp8, and computed again in double from the same operands.</summary>
public sealed class HigherPrecisionTests
{
    // Sums of float32 stay below; one rounding to BF16 alone makes 1e-3, to E4M3 2e-2.
    const double Limit = 1e-5;
    const int Sequences = 2, Length = 30;

    static readonly TransformerShape Shape = TinyModels.Shape("v3") with
    {
        Hidden = 160, Vocabulary = 61, Heads = 3, QkNopeHeadDim = 20, QkRopeHeadDim = 6, ValueHeadDim = 24, KeyValueLoraRank = 41, QueryLoraRank = 65, ExpertIntermediate = 40, DenseIntermediate = 72,
    };

    [Fact]
    [Implements("V3 §3.3.1", "Embedding, gate, normalisations and the core of attention stay in higher precision")]
    public void Embedding_gate_norms_and_the_core_of_attention_are_not_quantised_under_fp8()
    {
        var attention = new WatchedAttention();
        using var backend = new WatchedBackend(new CpuBackend(new CpuOptions(2, InstructionSets.Best)), attention);
        using var model = new Transformer(backend, Shape, Recipe.Fp8);
        Initialization.Normal(model, seed: 5, deviation: 0.1);
        var random = new CounterRandom(7, RandomPurpose.TestData);
        ulong draw = 0;
        foreach (Parameter norm in model.Parameters.All.Where(p => p.Kind == ParameterKind.Norm))
            foreach (ref float value in norm.Value.AsSpan<float>()) value = (float)(1 + (0.2 * random.Normal(draw++)));
        model.Refresh();
        using var chunk = new SequenceChunk(model, Sequences, Length, training: true);
        var seen = new Seen(chunk);
        chunk.Context.Observer = seen;
        int[] tokens = TinyModels.Tokens(Sequences * (Length + 1), Shape.Vocabulary, 7);
        chunk.SetTokens(tokens, Length + 1);
        chunk.ForwardBackward(new LossWeights(1.0 / (Sequences * Length), 0, 0, 1), model.Parameters.CreateBuffer(DType.F32));

        // The residual stream begins with rows of the float32 embedding, rounded once, to BF16.
        Parameter Named(string name) => model.Parameters.All.Single(p => p.Name.Equals(name, StringComparison.Ordinal));
        Tensor embedding = Named("model.embed_tokens.weight").Value;
        for (int t = 0; t < Sequences * Length; t++)
        {
            float[] row = embedding.Row<float>(tokens[(t / Length * (Length + 1)) + (t % Length)]).ToArray();
            Assert.Equal(row.Select(v => BF16.FromSingle(v).ToSingle()), seen.Kept[(0, "Attention.Input")].Skip(t * Shape.Hidden).Take(Shape.Hidden));
        }

        // Every norm, from what it was given to what the product behind it was given.
        for (int layer = 0; layer < Shape.Layers; layer++)
        {
            string prefix = $"model.layers.{layer}.", core = prefix + "self_attn.";
            Norm(seen.Kept[(layer, "Attention.Input")], Shape.Hidden, prefix + "input_layernorm", core + "q_a_proj.weight");
            Norm(seen.Kept[(layer, "Attention.QueryLatent")], Shape.QueryLoraRank, core + "q_a_layernorm", core + "q_b_proj.weight");
            Norm(seen.Kept[(layer, "Attention.KeyValueLatent")], Shape.LatentDim, core + "kv_a_layernorm", core + "kv_b_proj.weight");
            Norm(seen.Kept[(layer, "Middle")], Shape.Hidden, prefix + "post_attention_layernorm", layer < Shape.DenseLayers ? prefix + "mlp.gate_up_proj.weight" : prefix + "mlp.gate.weight");
        }

        void Norm(float[] input, int stride, string name, string product)
        {
            ReadOnlySpan<float> weight = Named(name + ".weight").Value.AsSpan<float>();
            float[] actual = seen.Inputs[product], expected = new float[actual.Length];
            for (int row = 0; row < input.Length / stride; row++)
            {
                double squares = 0;
                for (int c = 0; c < weight.Length; c++) squares += (double)input[(row * stride) + c] * input[(row * stride) + c];
                for (int c = 0; c < weight.Length; c++) expected[(row * weight.Length) + c] = (float)(input[(row * stride) + c] / Math.Sqrt((squares / weight.Length) + Shape.NormEpsilon) * weight[c]);
            }

            Near(expected, actual, name);
        }

        // Scores of the gate; and none of its operands is quantised, forward or backward.
        Parameter gate = model.Parameters.All.Single(p => p.Kind == ParameterKind.Gate);
        float[] x = seen.Inputs[gate.Name], scores = chunk.Saved[1].Routed!.Scores.AsSpan<float>().ToArray();
        float[] again = [.. Enumerable.Range(0, scores.Length).Select(i =>
        {
            double sum = 0;
            for (int c = 0; c < Shape.Hidden; c++) sum += (double)x[(i / Shape.Gate.Experts * Shape.Hidden) + c] * gate.Value.Row<float>(i % Shape.Gate.Experts)[c];
            return (float)(1 / (1 + Math.Exp(-sum)));
        })];
        Near(again, scores, "scores of the gate");
        Assert.Equal([OperandRole.Input, OperandRole.OutputGradient, OperandRole.InputAlongTokens, OperandRole.OutputGradientAlongTokens], seen.Roles.Where(r => r.Weight == gate).Select(r => r.Role).Order());
        Assert.All(seen.Roles.Where(r => r.Weight == gate), r => Assert.Equal(NumberFormat.F32, r.Format.Number));
        Assert.All(seen.Roles.Where(r => r.Weight.Kind == ParameterKind.Projection && r.Role == OperandRole.Input), r => Assert.Equal(NumberFormat.E4M3, r.Format.Number));

        // The core of attention, forward and backward, against its definition in double.
        Assert.Equal(2 * Shape.Layers, attention.Results.Count);
        Assert.All(attention.Results, r => Near(r.Expected, r.Actual, r.What));
    }

    static void Near(float[] expected, float[] actual, string what)
    {
        Assert.Contains(expected, v => v != 0);
        double difference = RelativeDifference.Frobenius<float>(actual, expected);
        Assert.True(difference < Limit, $"{what}: {difference}");
        float[] rounded = [.. expected.Select(v => BF16.FromSingle(v).ToSingle())];
        Assert.True(RelativeDifference.Frobenius<float>(rounded, expected) > 10 * Limit, $"{what}: BF16 would not be noticed");
    }

    /// <summary>Keeps inputs of products, and cached BF16 tensors as the layers read them back.</summary>
    sealed class Seen : ITensorObserver
    {
        readonly Dictionary<CachedTensor, (int Layer, string Name)> _caches = new(ReferenceEqualityComparer.Instance);

        internal Seen(SequenceChunk chunk)
        {
            for (int layer = 0; layer < chunk.Saved.Count; layer++)
                foreach ((string name, CachedTensor cache) in chunk.Saved[layer].Caches()) _caches[cache] = (layer, name);
        }

        internal Dictionary<(int Layer, string Name), float[]> Kept { get; } = [];

        internal Dictionary<string, float[]> Inputs { get; } = new(StringComparer.Ordinal);

        internal List<(Parameter Weight, OperandRole Role, QuantizationFormat Format)> Roles { get; } = [];

        public void Operand(Parameter weight, OperandRole role, Tensor values, QuantizationFormat format, Tensor offsets)
        {
            Roles.Add((weight, role, format));
            if (role == OperandRole.Input && offsets.IsEmpty) Inputs[weight.Name] = Rows(values);
        }

        void ITensorObserver.Kept(CachedTensor cache, Tensor values, Tensor codes, Tensor scales, Tensor rowCount)
        {
            if (codes.IsEmpty || codes.DType != DType.BF16) return;
            Kept[_caches[cache]] = [.. Enumerable.Range(0, codes.Rows).SelectMany(r => codes.Row<BF16>(r).ToArray()).Select(c => c.ToSingle())];
        }

        static float[] Rows(Tensor values) => [.. Enumerable.Range(0, values.Rows).SelectMany(r => values.Row<float>(r).ToArray())];
    }

    /// <summary>Runs the inner core of attention and its definition on the same operands.</summary>
    sealed class WatchedAttention : IAttentionOperations
    {
        readonly IAttentionOperations _definition = new ReferenceBackend().Operations.Attention;

        internal IAttentionOperations? Inner { get; set; }

        internal List<(string What, float[] Expected, float[] Actual)> Results { get; } = [];

        public void Causal(Tensor q, Tensor k, Tensor v, Tensor sequences, double scale, Tensor o, Tensor logSumExp)
        {
            using var memory = new HostMemory(o.Length * sizeof(float));
            Tensor expected = Tensor.View(memory, 0, DType.F32, o[0], o[1], o[2]);
            _definition.Causal(q, k, v, sequences, scale, expected, default);
            Inner!.Causal(q, k, v, sequences, scale, o, logSumExp);
            Results.Add(("attention", Values(expected), Values(o)));
        }

        public void CausalBackward(Tensor dOutput, Tensor q, Tensor k, Tensor v, Tensor o, Tensor logSumExp, Tensor sequences, double scale, Tensor dq, Tensor dk, Tensor dv)
        {
            using var memory = new HostMemory((dq.Length + dk.Length + dv.Length) * sizeof(float));
            Tensor queries = Tensor.View(memory, 0, DType.F32, dq[0], dq[1], dq[2]), keys = Tensor.View(memory, dq.Length * sizeof(float), DType.F32, dk[0], dk[1], dk[2]);
            Tensor values = Tensor.View(memory, (dq.Length + dk.Length) * sizeof(float), DType.F32, dv[0], dv[1], dv[2]);
            _definition.CausalBackward(dOutput, q, k, v, o, logSumExp, sequences, scale, queries, keys, values);
            Inner!.CausalBackward(dOutput, q, k, v, o, logSumExp, sequences, scale, dq, dk, dv);
            Results.Add(("attention, backward", [.. Values(queries), .. Values(keys), .. Values(values)], [.. Values(dq), .. Values(dk), .. Values(dv)]));
        }

        public void Latent(Tensor q, Tensor cache, Tensor pageTable, Tensor queryOffsets, Tensor contextLengths, double scale, Tensor o) => throw new InvalidOperationException("Training reads no cache.");

        public void AppendLatent(Tensor rows, Tensor cache, Tensor pageTable, Tensor queryOffsets, Tensor contextLengths) => throw new InvalidOperationException("Training writes no cache.");

        static float[] Values(Tensor x)
        {
            Assert.Equal(DType.F32, x.DType);
            return [.. Enumerable.Range(0, x.Rows).SelectMany(r => x.Row<float>(r).ToArray())];
        }
    }

    sealed class WatchedBackend : IBackend, IOperations
    {
        readonly CpuBackend _inner;
        readonly WatchedAttention _attention;

        internal WatchedBackend(CpuBackend inner, WatchedAttention attention)
        {
            (_inner, _attention) = (inner, attention);
            attention.Inner = inner.Operations.Attention;
        }

        public string Name => _inner.Name;

        public string Description => _inner.Description;

        public IOperations Operations => this;

        public IElementwiseOperations Elementwise => _inner.Operations.Elementwise;

        public IMatrixOperations Matrix => _inner.Operations.Matrix;

        public IAttentionOperations Attention => _attention;

        public IRoutingOperations Routing => _inner.Operations.Routing;

        public IEmbeddingOperations Embedding => _inner.Operations.Embedding;

        public IOptimizerOperations Optimizer => _inner.Operations.Optimizer;

        public IQuantizationOperations Quantization => _inner.Operations.Quantization;

        public TensorMemory Allocate(long bytes) => _inner.Allocate(bytes);

        public void Synchronize() => _inner.Synchronize();

        public void Dispose() => _inner.Dispose();
    }
}
