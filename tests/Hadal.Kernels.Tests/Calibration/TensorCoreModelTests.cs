using Hadal.Kernels.Interpreter;
using Hadal.Kernels.Library.Calibration;
using Hadal.Numerics;

namespace Hadal.Kernels.Tests.Calibration;

/// <summary>
/// The model of the tensor core against what an H100 computed (calibration.bin: <see cref="CalibrationTiles"/> run there by <see cref="CalibrationDump.Make"/>): every bit of
/// every output, and every rival hypothesis refuted by the same data.
/// </summary>
public sealed class TensorCoreModelTests
{
    static readonly CalibrationDump Dump = Read();

    public static TheoryData<string, TensorCoreAccumulation> Rivals() => new()
    {
        { "12 bits kept", new() { FractionBits = 12 } },
        { "14 bits kept", new() { FractionBits = 14 } },
        { "a result of 14 bits", new() { ResultFractionBits = 14 } },
        { "a result of 23 bits", new() { ResultFractionBits = 23 } },
        { "alignment cuts downwards", new() { Alignment = AlignmentRounding.Downward } },
        { "the accumulator is added afterwards", new() { AlignsAccumulator = false } },
        { "two groups of 16", new() { GroupSize = 16 } },
        { "zero products take part in the alignment", new() { ZerosTakePart = true } },
        { "products are normalised first", new() { NormalizesProducts = true } },
    };

    [Fact]
    public void The_dump_is_of_a_Hopper_card_and_of_the_tiles_of_this_program()
    {
        Assert.Matches("H100|H200|H800|GH200", Dump.Device);
        IReadOnlyList<CalibrationTile> tiles = CalibrationTiles.All();
        Assert.Equal(tiles.Count, Dump.Tiles.Count);
        for (int i = 0; i < tiles.Count; i++)
        {
            Assert.Equal(tiles[i].Family, Dump.Tiles[i].Family);
            Assert.Equal(tiles[i].A, Dump.Tiles[i].A);
            Assert.Equal(tiles[i].B, Dump.Tiles[i].B);
            Assert.Equal(tiles[i].C.Select(BitConverter.SingleToInt32Bits), Dump.Tiles[i].C.Select(BitConverter.SingleToInt32Bits));
        }
    }

    [Fact]
    [Implements("V3 §3.3.2", "Tensor cores keep about 14 bits when they add FP8 products; the model equals an H100 bit for bit")]
    public void The_model_equals_the_hardware_in_every_bit_of_every_output()
    {
        int outputs = 0;
        foreach (CalibrationTile tile in Dump.Tiles)
        {
            foreach ((int row, int column, float model) in Outputs(tile, TensorCoreAccumulation.Hopper))
            {
                float hardware = tile.D[(row * tile.Columns) + column];
                outputs++;
                Assert.True(BitConverter.SingleToInt32Bits(model) == BitConverter.SingleToInt32Bits(hardware),
                    $"{tile.Family}, {tile.Steps} steps, [{row}, {column}]: from {tile.C[(row * tile.Columns) + column]:R} the hardware made {hardware:R}, the model {model:R}.");
            }
        }

        Assert.True(outputs > 60_000, $"only {outputs} outputs were compared");
    }

    [Theory]
    [MemberData(nameof(Rivals))]
    [Implements("V3 §3.3.2", "Tensor cores keep about 14 bits when they add FP8 products; the model equals an H100 bit for bit")]
    public void The_dump_refutes_every_rival(string hypothesis, TensorCoreAccumulation rival)
    {
        int differences = Dump.Tiles.Sum(tile => Outputs(tile, rival).Count(o => BitConverter.SingleToInt32Bits(o.Value) != BitConverter.SingleToInt32Bits(tile.D[(o.Row * tile.Columns) + o.Column])));
        Assert.True(differences > 0, $"Nothing in the dump speaks against '{hypothesis}'.");
    }

    [Fact]
    [Implements("V3 §3.3.2", "A loop that adds 32 an instruction stops growing at 16,384")]
    public void A_loop_that_adds_32_a_step_stops_growing_at_16384()
    {
        var model = new TensorCoreArithmetic();
        float[] ones = [.. Enumerable.Repeat(1f, 32)];
        float sum = 0;
        for (int step = 0; step < 1000; step++) sum = model.Accumulate(sum, ones, ones);
        Assert.Equal(16384, sum);
    }

    [Fact]
    [Implements("V3 §3.3.2", "Without promotion a product of depth 4096 errs by percents, with promotion every 128 by less than a thousandth")]
    public void Without_promotion_a_product_of_depth_4096_errs_by_percents_and_with_it_by_less_than_a_thousandth()
    {
        const int Depth = 4096, Size = 6;
        var random = new CounterRandom(1, RandomPurpose.TestData);
        E4M3[] a = Codes(random, 0, Size * Depth), b = Codes(random, 1UL << 32, Size * Depth);
        double worst = 0, worstPromoted = 0;
        for (int m = 0; m < Size; m++)
        {
            for (int n = 0; n < Size; n++)
            {
                float sum = 0, partial = 0, promoted = 0;
                double exact = 0;
                for (int k = 0; k < Depth; k += 32)
                {
                    ReadOnlySpan<E4M3> left = a.AsSpan((m * Depth) + k, 32), right = b.AsSpan((n * Depth) + k, 32);
                    sum = TensorCoreAccumulation.Hopper.Accumulate(sum, left, right);
                    partial = TensorCoreAccumulation.Hopper.Accumulate(partial, left, right);
                    for (int i = 0; i < 32; i++) exact += (double)left[i].ToSingle() * right[i].ToSingle();
                    if ((k + 32) % 128 != 0) continue;
                    promoted += partial;
                    partial = 0;
                }

                worst = Math.Max(worst, Math.Abs(sum - exact) / exact);
                worstPromoted = Math.Max(worstPromoted, Math.Abs(promoted - exact) / exact);
            }
        }

        // The sign of the error is systematic (truncation), so operands of one sign show it; the figure depends on their distribution.
        Assert.InRange(worst, 0.02, 0.2);
        Assert.InRange(worstPromoted, 0, 0.001);
    }

    static E4M3[] Codes(CounterRandom random, ulong first, int count)
    {
        float[] values = new float[count];
        random.FillNormal(values, 60, first);
        return [.. values.Select(v => E4M3.FromSingle(Math.Abs(v)))];
    }

    static IEnumerable<(int Row, int Column, float Value)> Outputs(CalibrationTile tile, TensorCoreAccumulation model)
    {
        E4M3[] a = [.. tile.A.Select(code => new E4M3(code))], b = [.. tile.B.Select(code => new E4M3(code))];
        for (int row = 0; row < CalibrationTile.Rows; row++)
        {
            for (int column = 0; column < tile.Columns; column++)
            {
                float sum = tile.C[(row * tile.Columns) + column];
                for (int step = 0; step < tile.Steps; step++)
                    sum = model.Accumulate(sum, a.AsSpan((row * tile.Depth) + (32 * step), 32), b.AsSpan((column * tile.Depth) + (32 * step), 32));
                yield return (row, column, sum);
            }
        }
    }

    static CalibrationDump Read()
    {
        using Stream file = typeof(TensorCoreModelTests).Assembly.GetManifestResourceStream("calibration.bin") ?? throw new InvalidOperationException("The dump is not embedded.");
        return CalibrationDump.Read(file);
    }
}
