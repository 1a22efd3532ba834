namespace Hadal.Kernels.Library.Calibration;

/// <summary>Inputs of one block of <see cref="WgmmaCalibrationKernel"/>, and what the hardware made of them.</summary>
/// <param name="Family">What the tile is meant to find.</param>
/// <param name="Columns">Columns of D.</param>
/// <param name="Steps">Chained instructions of K = 32.</param>
/// <param name="A">E4M3 codes [64, 32·steps].</param>
/// <param name="B">E4M3 codes [columns, 32·steps].</param>
/// <param name="C">Accumulators before, [64, columns].</param>
/// <param name="D">Accumulators after, [64, columns]; zeros until the hardware has run.</param>
public sealed record CalibrationTile(string Family, int Columns, int Steps, byte[] A, byte[] B, float[] C, float[] D)
{
    /// <summary>Rows of a tile.</summary>
    public const int Rows = WgmmaCalibrationKernel.Rows;

    /// <summary>K of a tile.</summary>
    public int Depth => 32 * Steps;

    /// <summary>
    /// Runs tiles of one shape through <see cref="WgmmaCalibrationKernel"/> and fills their <see cref="D"/>.
    /// </summary>
    /// <param name="tiles">Of one number of columns and steps.</param>
    /// <param name="launch">Uploads a, b and c, runs the kernel with one block a tile and returns d; layouts as the kernel says.</param>
    public static void Run(IReadOnlyList<CalibrationTile> tiles, CalibrationLaunch launch)
    {
        ArgumentNullException.ThrowIfNull(tiles);
        ArgumentNullException.ThrowIfNull(launch);
        int columns = tiles[0].Columns, steps = tiles[0].Steps, outputs = Rows * columns;
        var a = new byte[tiles.Count * Rows * WgmmaCalibrationKernel.RowBytes];
        var b = new byte[tiles.Count * columns * WgmmaCalibrationKernel.RowBytes];
        var c = new float[tiles.Count * outputs];

        // What must not be read is a NaN.
        a.AsSpan().Fill(0x7F);
        b.AsSpan().Fill(0x7F);
        for (int t = 0; t < tiles.Count; t++)
        {
            CalibrationTile tile = tiles[t];
            if (tile.Columns != columns || tile.Steps != steps)
                throw new ArgumentException($"Tile {t} has {tile.Columns} columns and {tile.Steps} steps, tile 0 has {columns} and {steps}: one launch takes one shape.", nameof(tiles));
            Spread(tile.A, a.AsSpan(t * Rows * WgmmaCalibrationKernel.RowBytes), tile.Depth);
            Spread(tile.B, b.AsSpan(t * columns * WgmmaCalibrationKernel.RowBytes), tile.Depth);
            tile.C.CopyTo(c.AsSpan(t * outputs));
        }

        float[] d = launch(WgmmaCalibrationKernel.Build(columns, steps), tiles.Count, a, b, c);
        for (int t = 0; t < tiles.Count; t++) d.AsSpan(t * outputs, outputs).CopyTo(tiles[t].D);
    }

    static void Spread(byte[] rows, Span<byte> destination, int depth)
    {
        for (int row = 0; row < rows.Length / depth; row++) rows.AsSpan(row * depth, depth).CopyTo(destination[(row * WgmmaCalibrationKernel.RowBytes)..]);
    }
}

/// <summary>Runs a calibration kernel: uploads the operands, launches one block a tile, returns D.</summary>
/// <param name="kernel">The kernel.</param>
/// <param name="tiles">Blocks.</param>
/// <param name="a">Parameter a.</param>
/// <param name="b">Parameter b.</param>
/// <param name="c">Parameter c; d has its length.</param>
public delegate float[] CalibrationLaunch(Ir.Kernel kernel, int tiles, byte[] a, byte[] b, float[] c);
