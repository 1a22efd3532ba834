using Hadal.Numerics;

namespace Hadal.Kernels.Library.Cases;

/// <summary>What the numbers of a case are like.</summary>
public enum CaseValues
{
    /// <summary>Standard normal.</summary>
    Normal,

    /// <summary>Normal, with one element of 97 two to the tenth times larger.</summary>
    Outliers,

    /// <summary>All elements are the same.</summary>
    AllEqual,

    /// <summary>All zeros, of both signs.</summary>
    Zeros,

    /// <summary>Normal times 1e-6, most of them below the scale's floor; some subnormal in binary32.</summary>
    Tiny,

    /// <summary>Normal, with a NaN and an infinity in a few places.</summary>
    NotFinite,
}

/// <summary>Deterministic inputs, made in parallel.</summary>
static class CaseData
{
    /// <summary>A row-major matrix, element i a function of (seed, i) alone.</summary>
    public static float[] Matrix(long rows, int columns, CaseValues values, ulong seed)
    {
        var random = new CounterRandom(seed, RandomPurpose.TestData);
        var result = new float[rows * columns];
        long block = 1 << 16;
        Parallel.For(0, (result.LongLength + block - 1) / block, b =>
        {
            long first = b * block, end = Math.Min(first + block, result.LongLength);
            Span<float> part = result.AsSpan((int)first, (int)(end - first));
            if (values is not (CaseValues.AllEqual or CaseValues.Zeros)) random.FillNormal(part, 1, (ulong)first);
            for (int i = 0; i < part.Length; i++)
            {
                long index = first + i;
                part[i] = values switch
                {
                    CaseValues.AllEqual => 0.7109375f,
                    CaseValues.Zeros => (index & 1) == 0 ? 0f : -0f,
                    CaseValues.Outliers => index % 97 == 13 ? part[i] * 1024 : part[i],
                    CaseValues.Tiny => index % 11 == 3 ? part[i] * 1e-39f : part[i] * 1e-6f,
                    CaseValues.NotFinite => index % 4099 == 77 ? float.NaN : index % 5003 == 901 ? float.NegativeInfinity : part[i],
                    _ => part[i],
                };
            }
        });
        return result;
    }

    /// <summary>The matrix rounded to BF16, as codes.</summary>
    public static ushort[] BFloat16(ReadOnlySpan<float> matrix)
    {
        var result = new ushort[matrix.Length];
        for (int i = 0; i < result.Length; i++) result[i] = BF16.FromSingle(matrix[i]).Bits;
        return result;
    }

    /// <summary>Rows quantised to E4M3 in tiles of 1×128: codes [rows, columns], scales [⌈columns/128⌉, stride] with row r's at r.</summary>
    public static (byte[] Codes, float[] Scales) Quantize(float[] matrix, int rows, int columns, int stride)
    {
        int tiles = TileQuantizer.TileCount(columns);
        var codes = new byte[(long)rows * columns];
        var scales = new float[(long)tiles * stride];
        Parallel.For(0, rows, row =>
        {
            Span<E4M3> code = stackalloc E4M3[TileQuantizer.Tile];
            for (int tile = 0; tile < tiles; tile++)
            {
                int first = tile * TileQuantizer.Tile, length = Math.Min(TileQuantizer.Tile, columns - first);
                scales[(long)tile * stride + row] = TileQuantizer.QuantizeTile(matrix.AsSpan((int)((long)row * columns + first), length), ScaleKind.Plain, code);
                for (int i = 0; i < length; i++) codes[(long)row * columns + first + i] = code[i].Bits;
            }
        });
        return (codes, scales);
    }
}
