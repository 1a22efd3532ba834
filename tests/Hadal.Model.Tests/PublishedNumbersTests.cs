using Hadal.Numerics;
using Hadal.Tensors;
using Hadal.Tensors.Cpu;

namespace Hadal.Model.Tests;

/// <summary>Numbers that the report or the published files give, and what stays in higher precision under fp8.</summary>
public sealed class PublishedNumbersTests
{
    [Fact]
    [Implements("V3 §4.3", "YaRN extends the rotated part alone and raises the softmax scale to the published value")]
    public void Yarn_gives_the_published_softmax_scale()
    {
        TransformerShape shape = KnownShapes.V3671B;
        Assert.Equal(0.0721688, shape.SoftmaxScale, 6);
        Assert.Equal(0.135234, (shape with { Yarn = new YarnShape(40, 4096, 32, 1, 1, 1) }).SoftmaxScale, 6);
    }

    [Fact]
    [Implements("V3 §2.1.1", "The cache needs 576 values a token and layer: the normalised latent and the rotated key")]
    public void The_latent_cache_holds_576_values_a_token_and_layer()
    {
        Assert.Equal(576, KnownShapes.V3671B.LatentDim);
        Assert.Equal(70_272, 2 * KnownShapes.V3671B.LatentDim * KnownShapes.V3671B.Layers);
    }

    [Fact]
    [Implements("V3 §4.2", "Learnable parameters begin normal with deviation 0.006, norms at one, selection biases at zero")]
    public void Fresh_weights_are_normal_with_the_given_deviation_norms_one_and_biases_zero()
    {
        using var backend = new CpuBackend(new CpuOptions(1, InstructionSets.Best));
        using var model = new Transformer(backend, TinyModels.Shape("v3") with { Hidden = 128, Vocabulary = 500 }, Recipe.Fp32);
        Initialization.Normal(model, seed: 3, deviation: 0.006);
        foreach (Parameter parameter in model.Parameters.All)
        {
            float[] values = [.. Enumerable.Range(0, parameter.Value.Rows).SelectMany(r => parameter.Value.Row<float>(r).ToArray())];
            if (parameter.Kind == ParameterKind.Norm) Assert.All(values, v => Assert.Equal(1, v));
            else if (parameter.Kind == ParameterKind.SelectionBias) Assert.All(values, v => Assert.Equal(0, v));
            else if (values.Length > 2000) Assert.Equal(0.006, Math.Sqrt(values.Average(v => (double)v * v)), 3e-4);
        }
    }

    [Fact]
    [Implements("V3 §3.3.1", "Master weights and weight gradients stay in FP32; the head is not quantised")]
    public void Under_fp8_weights_and_gradients_stay_float32_and_the_head_is_not_quantised()
    {
        using var backend = new CpuBackend(new CpuOptions(1, InstructionSets.Best));
        using var model = new Transformer(backend, TinyModels.Shape("dense") with { TiedEmbeddings = false, Hidden = 64 }, Recipe.Fp8);
        Initialization.Normal(model, seed: 3, deviation: 0.1);
        using var chunk = new SequenceChunk(model, 1, 8, training: true);
        chunk.SetTokens(TinyModels.Tokens(9, model.Shape.Vocabulary, 1), 9);
        Assert.Equal(DType.F32, model.Parameters.Values.DType);

        // A change far below the steps of E4M3 shows through the head, and not through a projection.
        float[] Logits()
        {
            model.Refresh();
            chunk.Forward();
            Tensor logits = Tensor.View(backend.Allocate(4L * 8 * model.Shape.Vocabulary), 0, DType.F32, 8, model.Shape.Vocabulary);
            chunk.Logits(logits);
            return logits.AsSpan<float>().ToArray();
        }

        float[] before = Logits();
        Parameter projection = model.Parameters.All.First(p => p.Kind == ParameterKind.Projection), head = model.Parameters.All.Last(p => p.Kind == ParameterKind.Vocabulary);
        int small = Array.FindIndex(projection.Value.AsSpan<float>().ToArray(), v => Math.Abs(v) is > 0.01f and < 0.02f);
        projection.Value.AsSpan<float>()[small] *= 1.0000001f;
        Assert.Equal(before, Logits());
        head.Value.AsSpan<float>()[5] *= 1.0001f;
        Assert.NotEqual(before, Logits());

        // Gradients of projections have bits that BF16 cannot hold.
        Tensor gradients = model.Parameters.CreateBuffer(DType.F32);
        chunk.ForwardBackward(new LossWeights(1.0 / 8, 0, 0, 1), gradients);
        Assert.Contains(gradients.AsSpan<float>().Slice((int)projection.Offset, projection.Length).ToArray(), g => BF16.FromSingle(g).ToSingle() != g);
    }

    [Fact]
    [Implements("V3 §3.3.2", "With one scale a tensor an outlier spoils everything; with fine-grained scales only its own tile")]
    public void An_outlier_spoils_its_own_tile_of_128_and_with_one_scale_the_whole_tensor()
    {
        const int Columns = 1024;
        var random = new CounterRandom(7, RandomPurpose.TestData);
        float[] x = new float[Columns], y = new float[Columns];
        random.FillNormal(x, 0.01);
        x[5] = 3000;
        E4M3[] codes = new E4M3[Columns];
        float[] scales = new float[Columns / 128];
        TileQuantizer.QuantizeRows(x, 1, Columns, Columns, ScaleKind.Plain, codes, scales);
        TileQuantizer.DequantizeRows(codes, scales, 1, Columns, y, Columns);
        double tiles = RelativeDifference.Frobenius<float>(y.AsSpan(128), x.AsSpan(128));
        float whole = TileScale.ForE4M3(TileScale.LargestMagnitude(x), ScaleKind.Plain);
        TileQuantizer.EncodeScaled(x, whole, codes);
        TileQuantizer.DecodeScaled(codes, whole, y);
        double tensor = RelativeDifference.Frobenius<float>(y.AsSpan(128), x.AsSpan(128));
        Assert.InRange(tiles, 0.01, 0.04);
        Assert.InRange(tensor, 0.3, 1.1);
    }
}
