using Hadal.Model;

namespace Hadal.Planning.Tests;

public sealed class ModelSizeTests
{
    [Fact]
    public void A_small_model_by_hand()
    {
        ModelSize size = ModelSize.Of(Shapes.Small);
        long attention = (6 * 16) + (2 * 6 * 6) + (7 * 16) + (2 * 7 * 5) + (16 * 6), expert = 3 * 16 * 8;
        Assert.Equal(attention, size.Layers[0].Attention);
        Assert.Equal(3 * 16 * 24, size.Layers[0].FeedForward);
        Assert.Equal((8 * expert, expert, 8 * 16L), (size.Layers[1].Experts, size.Layers[1].FeedForward, size.Layers[1].Gate));
        Assert.Equal(16 + 6 + 5 + 16 + 8, size.Layers[1].Other);
        Assert.Equal(2 * 16 * 16, size.Mtp[0].Join);
        Assert.Equal((32 * 16L, 32 * 16L, 16L), (size.Embedding, size.Head, size.FinalNorm));
        Assert.False(size.Layers[0].IsSparse);
        Assert.Equal((4 * attention) + (3 * 16 * 24) + (3 * ((3 * expert) + 128)) + 512, size.Multiplied);

        // 3 · (2 · weights + layers · heads · 2 · (query + value) · T / 2).
        Assert.Equal(3 * ((2 * size.Multiplied) + (4 * 2 * 2 * 9 * 10)), size.FlopsPerToken(20, causal: true));
        Assert.Equal(3 * ((2 * size.Multiplied) + (4 * 2 * 2 * 9 * 20)), size.FlopsPerToken(20, causal: false));
    }

    [Fact]
    public void All_that_a_model_declares_is_counted()
    {
        foreach ((string name, TransformerShape shape) in KnownShapes.All.Append(("small", Shapes.Small)).Append(("tied", Shapes.Small with { TiedEmbeddings = true })))
        {
            long declared = Transformer.Declare(shape).Sum(parameter => parameter.Shape.Aggregate(1L, (a, b) => a * b));
            Assert.True(declared == ModelSize.Of(shape).Total, name);
        }
    }

    /// <summary>The experts of one published layer have more elements than an int can count.</summary>
    [Fact]
    public void V3_is_counted_as_published()
    {
        ModelSize size = ModelSize.Of(KnownShapes.V3671B);
        Assert.True(size.Layers[3].Experts > int.MaxValue);
        Assert.InRange(size.Main / 1e9, 670.5, 671.5);
        Assert.InRange(size.Multiplied / 1e9, 36.6, 36.7);
        Assert.InRange(size.FlopsPerToken(4096, causal: true) / 1e9, 250, 251);
        Assert.InRange(size.FlopsPerToken(4096, causal: false) / 1e9, 280.5, 281.5);
    }
}
