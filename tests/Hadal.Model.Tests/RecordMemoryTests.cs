using Hadal.Tensors.Cpu;

namespace Hadal.Model.Tests;

/// <summary>What <c>inspect memory</c> counts is what a step uses.</summary>
public sealed class RecordMemoryTests
{
    [Theory]
    [InlineData("fp32")]
    [InlineData("bf16")]
    [InlineData("fp8")]
    [Implements("V3 §3.2.3", "What training keeps per token and layer is counted on the records that a step allocates")]
    public void Counted_bytes_are_those_a_chunk_takes(string name)
    {
        Recipe recipe = Recipe.Find(name);
        TransformerShape shape = TinyModels.Shape("v3") with { Layers = 3, Hidden = 136, ExpertIntermediate = 70 };
        const int Sequences = 2, Length = 24;
        RecordMemory counted = RecordMemory.Of(shape, recipe, Sequences * Length);
        using var backend = new CpuBackend(new CpuOptions(1, InstructionSet.Scalar));
        using var model = new Transformer(backend, shape, recipe);
        using var chunk = new SequenceChunk(model, Sequences, Length, training: true);
        Assert.Equal(counted.DenseReserved + (2 * counted.SparseReserved), chunk.RecordBytes);

        // And the entries are all of it: what is reserved beyond them is alignment to 64 bytes.
        Assert.InRange(counted.DenseReserved - counted.Dense.Sum(e => e.Bytes), 0, 63 * counted.Dense.Count);
        Assert.InRange(counted.SparseReserved - counted.Sparse.Sum(e => e.Bytes), 0, 63 * counted.Sparse.Count);
        Assert.Equal(chunk.Saved[1].Entries().Where(e => !e.Tensor.IsEmpty).Select(e => (e.Name, e.Bytes)), counted.Sparse.Select(e => (e.Name, e.Bytes)));
    }

    [Fact]
    public void Fp8_keeps_less_than_two_thirds_of_bf16_and_the_largest_shape_can_be_counted()
    {
        foreach ((string name, TransformerShape shape) in KnownShapes.All)
        {
            double bf16 = RecordMemory.Of(shape, Recipe.Bf16, 4096).BytesPerToken(shape), fp8 = RecordMemory.Of(shape, Recipe.Fp8, 4096).BytesPerToken(shape);
            Assert.True(fp8 < 0.67 * bf16, $"{name}: fp8 keeps {fp8} bytes per token, bf16 {bf16}.");
        }
    }
}
