using Hadal.Numerics;
using E4M3Code = Hadal.Numerics.E4M3;

namespace Hadal.Kernels.Library.Gemm;

/// <summary>The rows of one group of a product: rows <paramref name="First"/> … of A and D meet matrix <paramref name="Group"/> of B.</summary>
sealed record GroupRows(int First, int Rows, int Group);

/// <summary>How the numbers of a test's operands are made.</summary>
enum OperandKind
{
    /// <summary>Independent N(0, 1), quantised by tiles of 1×128 and blocks of 128×128.</summary>
    Normal,

    /// <summary>Normal codes under scales between 0.5 and 1.5: the scales differ as they never do in quantised normal numbers.</summary>
    UnevenScales,

    /// <summary>Codes of N(0, 448/3), clipped, under uneven scales: a rougher imitation of quantised numbers, which costs the device a little less power.</summary>
    Clipped,

    /// <summary>Small numbers among which one in 500 is the largest, ±448.</summary>
    Outliers,

    /// <summary>One number everywhere.</summary>
    AllEqual,

    /// <summary>Codes below the smallest normal E4M3, under tiny scales.</summary>
    Subnormal,

    /// <summary>Uneven, with one NaN in A.</summary>
    OneNaN,
}

/// <summary>Operands of D[M, N] = A[M, K] · B[g][N, K]ᵀ as the kernels take them, and the definition of the product in double.</summary>
sealed class Fp8Operands
{
    const int PoolTiles = 1 << 17;
    static readonly Lazy<(E4M3Code[] Codes, float[] Scales)> RowPool = new(() => MakePool(rows: 1));
    static readonly Lazy<(E4M3Code[] Codes, float[] Scales)> BlockPool = new(() => MakePool(rows: 128));

    Fp8Operands(int m, int n, int k, int groups)
    {
        (M, N, K, Groups) = (m, n, k, groups);
        Chunks = (k + 127) / 128;
        ScaleStride = (m + 3) / 4 * 4;
        A = new byte[(long)m * k];
        B = new byte[(long)groups * n * k];
        AScale = new float[(long)Chunks * ScaleStride];
        BScale = new float[groups * ((n + 127) / 128) * Chunks];
    }

    public int M { get; }

    public int N { get; }

    public int K { get; }

    public int Groups { get; }

    public int Chunks { get; }

    /// <summary>Floats from one chunk of A's scales to the next: M padded to 4, so that rows of the tensor map are 16-byte multiples.</summary>
    public int ScaleStride { get; }

    public byte[] A { get; }

    public byte[] B { get; }

    public float[] AScale { get; }

    public float[] BScale { get; }

    public static Fp8Operands Make(OperandKind kind, int m, int n, int k, int groups, ulong seed)
    {
        var made = new Fp8Operands(m, n, k, groups);
        if (kind == OperandKind.Normal) made.FillNormal(seed);
        else made.FillHostile(kind, seed);
        return made;
    }

    /// <summary>Row i of the product in double, and the sums of the terms' magnitudes.</summary>
    public void Row(int row, int group, Span<double> result, Span<double> magnitude)
    {
        var a = new double[K];
        for (int x = 0; x < K; x++) a[x] = (double)new E4M3Code(A[(long)row * K + x]).ToSingle() * AScale[(long)(x / 128) * ScaleStride + row];
        var values = new double[256];
        for (int c = 0; c < 256; c++) values[c] = new E4M3Code((byte)c).ToSingle();
        int blocks = (N + 127) / 128;
        for (int j = 0; j < N; j++)
        {
            ReadOnlySpan<byte> b = B.AsSpan((group * N + j) * K, K);
            double sum = 0, size = 0;
            for (int chunk = 0; chunk < Chunks; chunk++)
            {
                double part = 0, partSize = 0;
                int end = Math.Min(K, 128 * (chunk + 1));
                for (int x = 128 * chunk; x < end; x++)
                {
                    double term = a[x] * values[b[x]];
                    part += term;
                    partSize += Math.Abs(term);
                }

                double scale = BScale[(group * blocks + j / 128) * Chunks + chunk];
                sum += part * scale;
                size += partSize * scale;
            }

            (result[j], magnitude[j]) = (sum, size);
        }
    }

    /// <summary>B[group]ᵀ · x in double, scales applied: what every row of A is multiplied with to check all of D at once.</summary>
    public double[] Project(int group, ReadOnlyMemory<double> x)
    {
        var result = new double[K];
        int blocks = (N + 127) / 128;
        Parallel.For(0, Chunks, chunk =>
        {
            int begin = 128 * chunk, end = Math.Min(K, begin + 128);
            for (int j = 0; j < N; j++)
            {
                double factor = x.Span[j] * BScale[(group * blocks + j / 128) * Chunks + chunk];
                long at = ((long)group * N + j) * K;
                for (int i = begin; i < end; i++) result[i] += factor * new E4M3Code(B[at + i]).ToSingle();
            }
        });
        return result;
    }

    /// <summary>Row i of A in double, scales applied, times a vector.</summary>
    public double RowTimes(int row, ReadOnlySpan<double> vector)
    {
        double sum = 0;
        for (int chunk = 0; chunk < Chunks; chunk++)
        {
            double part = 0;
            int end = Math.Min(K, 128 * (chunk + 1));
            for (int x = 128 * chunk; x < end; x++) part += new E4M3Code(A[(long)row * K + x]).ToSingle() * vector[x];
            sum += part * AScale[(long)chunk * ScaleStride + row];
        }

        return sum;
    }

    // Tiles and blocks are drawn from pools of quantised normal numbers: the machine that measures makes gigabytes in a second.
    void FillNormal(ulong seed)
    {
        (E4M3Code[] tiles, float[] tileScales) = RowPool.Value;
        (E4M3Code[] blocks, float[] blockScales) = BlockPool.Value;
        Parallel.For(0, M, row =>
        {
            for (int chunk = 0; chunk < Chunks; chunk++)
            {
                int tile = (int)(((ulong)row * (ulong)Chunks + (ulong)chunk + seed * 7919) % PoolTiles);
                int length = Math.Min(128, K - 128 * chunk);
                for (int i = 0; i < length; i++) A[(long)row * K + 128 * chunk + i] = tiles[tile * 128 + i].Bits;
                AScale[(long)chunk * ScaleStride + row] = tileScales[tile];
            }
        });
        int blockRows = (N + 127) / 128;
        Parallel.For(0, Groups * blockRows, at =>
        {
            int group = at / blockRows, first = at % blockRows * 128;
            for (int chunk = 0; chunk < Chunks; chunk++)
            {
                int block = (int)(((ulong)at * (ulong)Chunks + (ulong)chunk + seed * 104729) % (PoolTiles / 128));
                int length = Math.Min(128, K - 128 * chunk);
                for (int r = 0; r < Math.Min(128, N - first); r++)
                    for (int i = 0; i < length; i++) B[((long)group * N + first + r) * K + 128 * chunk + i] = blocks[(block * 128 + r) * 128 + i].Bits;
                BScale[at * Chunks + chunk] = blockScales[block];
            }
        });
    }

    void FillHostile(OperandKind kind, ulong seed)
    {
        var random = new CounterRandom(seed, RandomPurpose.TestData);
        Codes(kind, random, 0, A);
        Codes(kind, random, 1UL << 40, B);
        float low = kind == OperandKind.Subnormal ? 1e-30f : 0.5f, high = kind == OperandKind.Subnormal ? 2e-30f : 1.5f;
        random.FillUniform(AScale, low, high, 2UL << 40);
        random.FillUniform(BScale, low == 0.5f ? 0.5f : 1e-5f, low == 0.5f ? 1.5f : 2e-5f, 3UL << 40);
        if (kind == OperandKind.AllEqual)
        {
            AScale.AsSpan().Fill(0.25f);
            BScale.AsSpan().Fill(3f);
        }

        if (kind == OperandKind.OneNaN) A[(long)(M / 2) * K + K / 3] = 0x7F;
    }

    static void Codes(OperandKind kind, CounterRandom random, ulong first, byte[] codes) => Parallel.For(0, (codes.Length + 65535) / 65536, part =>
    {
        int end = Math.Min(codes.Length, 65536 * (part + 1));
        for (int i = 65536 * part; i < end; i++)
        {
            ulong at = first + (ulong)i;
            codes[i] = kind switch
            {
                OperandKind.AllEqual => E4M3Code.FromSingle(1.25f).Bits,
                OperandKind.Subnormal => (byte)((random.UInt32(at) & 7) | (random.UInt32(at) >> 24 & 0x80)),
                OperandKind.Clipped => E4M3Code.FromSingle((float)Math.Clamp(448.0 / 3 * random.Normal(at), -448, 448)).Bits,
                OperandKind.Outliers when random.UInt32(at) % 500 == 0 => (byte)(random.UInt32(at) / 500 % 2 == 0 ? 0x7E : 0xFE),
                OperandKind.Outliers => E4M3Code.FromSingle((float)random.Normal(at)).Bits,
                _ => E4M3Code.FromSingle((float)Math.Clamp(60 * random.Normal(at), -448, 448)).Bits,
            };
        }
    });

    static (E4M3Code[] Codes, float[] Scales) MakePool(int rows)
    {
        var random = new CounterRandom(2026, RandomPurpose.TestData, (uint)rows);
        var codes = new E4M3Code[PoolTiles * 128];
        int elements = rows * 128;
        var scales = new float[codes.Length / elements];
        Parallel.For(0, scales.Length, at =>
        {
            var values = new float[elements];
            random.FillNormal(values, 1, (ulong)at * (ulong)elements);
            float most = 0;
            foreach (float value in values) most = Math.Max(most, Math.Abs(value));
            scales[at] = most / E4M3Code.MaxValue;
            TileQuantizer.EncodeScaled(values, scales[at], codes.AsSpan(at * elements, elements));
        });
        return (codes, scales);
    }
}
