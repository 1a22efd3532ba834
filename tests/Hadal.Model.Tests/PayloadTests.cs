using Hadal.Numerics;
using Hadal.Tensors;
using Hadal.Tensors.Cpu;
using Hadal.Tensors.Operations;

namespace Hadal.Model.Tests;

/// <summary>What crosses the points where expert parallelism cuts, under the report's recipe: FP8 to the experts and BF16 back, forward and backward [V3 §3.3.3].</summary>
public sealed class PayloadTests
{
    /// <summary>Looks at what is handed over, and hands it over.</summary>
    sealed class Watching : IExpertExchange
    {
        readonly LocalExpertExchange _local = new();

        public List<float> Combined { get; } = [];

        public List<float> Returned { get; } = [];

        public List<float> Gradients { get; } = [];

        public ExpertPlacement PlacementOf(int experts) => _local.PlacementOf(experts);

        public void Dispatch(ChunkContext chunk, ExpertRows movement, Tensor tokens, Tensor weights, Tensor rows, Tensor rowWeights) => _local.Dispatch(chunk, movement, tokens, weights, rows, rowWeights);

        public void Combine(ChunkContext chunk, ExpertRows movement, Tensor rows, Tensor y)
        {
            Take(rows, movement, Combined);
            _local.Combine(chunk, movement, rows, y);
        }

        public void CombineBackward(ChunkContext chunk, ExpertRows movement, Tensor dy, Tensor dRows)
        {
            for (int row = 0; row < dy.Rows; row++) Gradients.AddRange(dy.Row<float>(row));
            _local.CombineBackward(chunk, movement, dy, dRows);
        }

        public void DispatchBackward(ChunkContext chunk, ExpertRows movement, Tensor dRows, Tensor dRowWeights, Tensor dTokens, Tensor dWeights)
        {
            Take(dRows, movement, Returned);
            _local.DispatchBackward(chunk, movement, dRows, dRowWeights, dTokens, dWeights);
        }

        static void Take(Tensor rows, ExpertRows movement, List<float> into)
        {
            for (int row = 0; row < movement.RowCount.AsSpan<int>()[0]; row++) into.AddRange(rows.Row<float>(row));
        }
    }

    /// <summary>Sees what the experts' products get.</summary>
    sealed class Operands : ITensorObserver
    {
        public List<(string Weight, OperandRole Role, float[] Values, int Columns)> Seen { get; } = [];

        public void Operand(Parameter weight, OperandRole role, Tensor values, QuantizationFormat format, Tensor offsets)
        {
            if (!weight.Name.Contains(".experts.", StringComparison.Ordinal)) return;
            int rows = offsets.AsSpan<int>()[^1];
            Seen.Add((weight.Name, role, [.. Enumerable.Range(0, rows).SelectMany(r => values.Row<float>(r).ToArray())], values.Columns));
        }

        public void Kept(CachedTensor cache, Tensor values, Tensor codes, Tensor scales, Tensor rowCount)
        {
            // Caches are not looked at.
        }
    }

    [Fact]
    [Implements("V3 §3.3.3", "Combine, and the backward of dispatch, carry BF16")]
    [Implements("V3 §3.3.3", "Inputs of the experts are kept and dispatched in FP8 with power-of-two scales")]
    public void Dispatch_brings_fp8_and_combine_bf16_forward_and_backward()
    {
        TransformerShape shape = TinyModels.Shape("v3") with { Hidden = 160, Vocabulary = 61, ExpertIntermediate = 40, DenseIntermediate = 72 };
        using var backend = new CpuBackend(new CpuOptions(2, InstructionSets.Best));
        using var model = new Transformer(backend, shape, Recipe.Fp8);
        Initialization.Normal(model, seed: 5, deviation: 0.1);
        var exchange = new Watching();
        using var chunk = new SequenceChunk(model, 2, 30, training: true, exchange);
        var operands = new Operands();
        chunk.Context.Observer = operands;
        chunk.SetTokens(TinyModels.Tokens(2 * 31, shape.Vocabulary, 7), 31);
        Tensor gradients = model.Parameters.CreateBuffer(DType.F32);
        chunk.ForwardBackward(new LossWeights(1, 0, 0, 1), gradients);

        foreach (List<float> carried in new[] { exchange.Combined, exchange.Returned, exchange.Gradients })
        {
            Assert.True(carried.Count >= 60 * 160 && carried.Exists(v => v != 0));
            Assert.All(carried, v => Assert.Equal(v, BF16.FromSingle(v).ToSingle()));
        }

        // What arrives at the experts is what E4M3 with a power-of-two scale for each 128 columns can say, and no E4M3 value by accident: the tokens themselves are not.
        foreach ((string weight, OperandRole role) in ((string, OperandRole)[])[("gate_up_proj", OperandRole.Input), ("down_proj", OperandRole.OutputGradient)])
        {
            (_, _, float[] values, int columns) = operands.Seen.Single(o => o.Role == role && o.Weight.Contains(weight, StringComparison.Ordinal));
            int tiles = TileQuantizer.TileCount(columns), rows = values.Length / columns;
            var codes = new E4M3[values.Length];
            var scales = new float[rows * tiles];
            TileQuantizer.QuantizeRows(values, rows, columns, columns, ScaleKind.PowerOfTwo, codes, scales);
            var back = new float[values.Length];
            TileQuantizer.DequantizeRows(codes, scales, rows, columns, back, columns);
            Assert.Equal(values, back);
        }

        Assert.Contains(exchange.Gradients, v => E4M3.FromSingle(v).ToSingle() != v);
    }
}
