using Hadal.Kernels.Interpreter;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Library.Calibration;

namespace Hadal.Kernels.Tests.Calibration;

/// <summary>The calibration kernel computes C + A·Bᵀ of its tiles, every output in its place.</summary>
public sealed class CalibrationKernelTests
{
    [Fact]
    public void Every_shape_of_tile_is_computed_as_the_plain_loop_says()
    {
        foreach (IGrouping<(int Columns, int Steps), CalibrationTile> shape in CalibrationTiles.All().Where(t => t.Family.StartsWith("normal", StringComparison.Ordinal)).GroupBy(t => (t.Columns, t.Steps)))
        {
            CalibrationTile[] tiles = [.. shape.Take(2)];
            CalibrationTile.Run(tiles, Interpret);
            foreach (CalibrationTile tile in tiles)
            {
                for (int row = 0; row < CalibrationTile.Rows; row++)
                {
                    for (int column = 0; column < tile.Columns; column++)
                    {
                        // One rounding an instruction, as the interpreter's exact arithmetic has it.
                        float sum = tile.C[(row * tile.Columns) + column];
                        for (int step = 0; step < tile.Steps; step++)
                        {
                            double exact = sum;
                            for (int k = 32 * step; k < 32 * (step + 1); k++)
                                exact += (double)new Numerics.E4M3(tile.A[(row * tile.Depth) + k]).ToSingle() * new Numerics.E4M3(tile.B[(column * tile.Depth) + k]).ToSingle();
                            sum = (float)exact;
                        }

                        Assert.Equal(sum, tile.D[(row * tile.Columns) + column]);
                    }
                }
            }
        }
    }

    [Fact]
    public void A_dump_comes_back_from_its_file()
    {
        CalibrationTile[] tiles = [.. CalibrationTiles.All().Where(t => t.Family is "specials" or "cancellation")];
        CalibrationTile.Run([.. tiles.Where(t => t.Steps == 1)], (_, count, _, _, c) => [.. c.Select((value, i) => value + i)]);
        var file = new MemoryStream();
        new CalibrationDump("a card, a driver", tiles).Write(file);
        file.Position = 0;
        CalibrationDump read = CalibrationDump.Read(file);
        Assert.Equal("a card, a driver", read.Device);
        Assert.Equal(tiles.Length, read.Tiles.Count);
        for (int i = 0; i < tiles.Length; i++)
        {
            Assert.Equal((tiles[i].Family, tiles[i].Columns, tiles[i].Steps), (read.Tiles[i].Family, read.Tiles[i].Columns, read.Tiles[i].Steps));
            Assert.Equal(tiles[i].A, read.Tiles[i].A);
            Assert.Equal(tiles[i].B, read.Tiles[i].B);
            Assert.Equal(tiles[i].C.Select(BitConverter.SingleToInt32Bits), read.Tiles[i].C.Select(BitConverter.SingleToInt32Bits));
            Assert.Equal(tiles[i].D.Select(BitConverter.SingleToInt32Bits), read.Tiles[i].D.Select(BitConverter.SingleToInt32Bits));
        }
    }

    [Fact]
    public void A_damaged_dump_is_refused()
    {
        var file = new MemoryStream();
        new CalibrationDump("x", [.. CalibrationTiles.All().Take(1)]).Write(file);
        byte[] whole = file.ToArray();
        Assert.Throws<InvalidDataException>(() => CalibrationDump.Read(new MemoryStream(whole[..^300])));
        Assert.Throws<InvalidDataException>(() => CalibrationDump.Read(new MemoryStream([1, 2, 3, 10, 4])));
    }

    [Fact]
    public void Tiles_hold_what_their_families_promise()
    {
        IReadOnlyList<CalibrationTile> tiles = CalibrationTiles.All();
        Assert.Contains(tiles, t => t.C.Any(float.IsNaN));
        Assert.Contains(tiles, t => t.C.Any(float.IsSubnormal));
        Assert.Contains(tiles, t => t.C.Any(float.IsInfinity));
        Assert.All(tiles.Where(t => !string.Equals(t.Family, "specials", StringComparison.Ordinal)), t => Assert.DoesNotContain(t.A.Concat(t.B), code => (code & 0x7F) == 0x7F));
    }

    static float[] Interpret(Kernel kernel, int tiles, byte[] a, byte[] b, float[] c)
    {
        var memory = new SimulatedMemory();
        ulong d = memory.Allocate(4L * c.Length);
        KernelInterpreter.Run(kernel, tiles, memory, [memory.Upload<byte>(a), memory.Upload<byte>(b), memory.Upload<float>(c), d], new InterpreterOptions { Seed = 5 });
        return memory.Download<float>(d, c.Length);
    }
}
