using Hadal.Numerics;
using Hadal.Tensors.Cpu;
using Hadal.Tensors.Operations;

namespace Hadal.Tensors.Tests.Cpu;

/// <summary>A weight joined of public matrices multiplies with the bits of those matrices by themselves: its blocks are theirs, whatever their width.</summary>
public sealed class JoinedWeightTests
{
    static readonly ProductFormat Format = new(QuantizationFormat.Tiles(), QuantizationFormat.Blocks(), Accumulation.Promoted);

    [Theory]
    [InlineData(1)]
    [InlineData(33)]
    [InlineData(96)]
    [InlineData(128)]
    [InlineData(150)]
    [InlineData(352)]
    [Implements("public checkpoints", "In training, blocks of 128×128 are those of the public matrices, gate and up by themselves, at any width")]
    public void Gate_over_up_has_the_bits_of_gate_and_up(int width)
    {
        foreach (InstructionSet set in InstructionSets.Available)
        {
            using var backend = new CpuBackend(new CpuOptions(2, set));
            using var arena = new TensorArena(backend);
            IQuantizationOperations quantization = backend.Operations.Quantization;
            const int Rows = 37, Inputs = 200;
            Tensor weight = Random(arena, 1, 2 * width, Inputs), x = Random(arena, 2, Rows, Inputs), dy = Random(arena, 3, Rows, 2 * width);
            Tensor y = arena.Allocate(DType.F32, Rows, 2 * width), dx = arena.Allocate(DType.F32, Rows, Inputs);
            using PreparedWeight joined = quantization.Prepare([weight], ProductUses.Training, Format.Right, width);
            using PreparedWeight gate = quantization.Prepare([weight.Slice(0, width)], ProductUses.Training, Format.Right);
            using PreparedWeight up = quantization.Prepare([weight.Slice(width, width)], ProductUses.Training, Format.Right);
            quantization.Forward(x, joined, Format, y);
            quantization.BackwardInput(dy, joined, Format, dx);

            Tensor separate = arena.Allocate(DType.F32, Rows, 2 * width), dSeparate = arena.Allocate(DType.F32, Rows, Inputs);
            quantization.Forward(x, gate, Format, separate.SliceColumns(0, width));
            quantization.Forward(x, up, Format, separate.SliceColumns(width, width));
            quantization.BackwardInput(dy.SliceColumns(0, width), gate, Format, dSeparate);
            quantization.BackwardInput(dy.SliceColumns(width, width), up, Format, dSeparate, accumulate: true);
            Assert.Equal(separate.AsSpan<float>().ToArray(), y.AsSpan<float>().ToArray());
            Assert.Equal(dSeparate.AsSpan<float>().ToArray(), dx.AsSpan<float>().ToArray());
        }
    }

    [Fact]
    public void Rows_that_do_not_divide_the_outputs_are_refused()
    {
        using var backend = new CpuBackend(new CpuOptions(1, InstructionSets.Best));
        using var arena = new TensorArena(backend);
        Tensor weight = Random(arena, 1, 10, 4);
        Assert.Contains("cannot be joined", Assert.Throws<ArgumentException>(() => backend.Operations.Quantization.Prepare([weight], ProductUses.Training, Format.Right, 4)).Message, StringComparison.Ordinal);
    }

    /// <summary>Rows differ in size, so that a block of other rows has another scale.</summary>
    static Tensor Random(TensorArena arena, ulong seed, int rows, int columns)
    {
        Tensor tensor = arena.Allocate(DType.F32, rows, columns);
        var random = new CounterRandom(seed, RandomPurpose.TestData, 0);
        Span<float> values = tensor.AsSpan<float>();
        for (int i = 0; i < values.Length; i++) values[i] = (float)(random.Normal((ulong)i) * Math.Pow(2, i / columns % 7));
        return tensor;
    }
}
