using Hadal.Numerics;
using Hadal.Tensors.Operations;

namespace Hadal.Tensors.Cpu.Quantized;

/// <summary>Largest magnitudes and scales over a whole operand, its blocks, or down its columns, shared by the threads.</summary>
static unsafe class OperandScales
{
    const int Tile = TileQuantizer.Tile, MostParts = 256;

    /// <summary>The scale of all rows together, from the current values or, delayed, from those before.</summary>
    public static float Whole(CpuThreads threads, float* x, long stride, int rows, int columns, QuantizationFormat format, Span<float> maxima) =>
        TileScale.ForE4M3(DelayedScale.Magnitude(maxima, Largest(threads, x, stride, rows, columns)), format.Scale);

    /// <summary>The largest magnitude of all rows together; NaN or infinite when an element is.</summary>
    static float Largest(CpuThreads threads, float* x, long stride, int rows, int columns)
    {
        float* largest = stackalloc float[MostParts];
        int parts = (int)Math.Clamp((long)rows * columns / 8192, 1, Math.Min(MostParts, threads.Count * 4));
        var job = new Job { X = x, Stride = (nint)stride, Rows = rows, Columns = columns, Parts = parts, Scales = largest };
        threads.Run(parts, &WholeBody, &job);
        float all = 0;
        for (int i = 0; i < parts; i++) all = Math.Max(all, largest[i]); // Math.Max lets NaN through
        return all;
    }

    /// <summary>scales [⌈rows/128⌉, tiles of the columns] of the blocks.</summary>
    public static void Blocks(CpuThreads threads, float* x, long stride, int rows, Sections columns, ScaleKind kind, float* scales)
    {
        var job = new Job { X = x, Stride = (nint)stride, Rows = rows, Columns = columns.Length, Tiles = columns, Scales = scales, Kind = kind };
        threads.Run(TileQuantizer.TileCount(rows), &BlocksBody, &job);
    }

    /// <summary>
    /// Quantises an operand whose contraction runs down its rows: code values [rows, columns] dense, and scales [⌈rows/128⌉, columns]. A tensor-wide scale is given.
    /// Formats without scales give values only.
    /// </summary>
    public static void DownColumns(CpuThreads threads, float* x, long stride, int rows, int columns, QuantizationFormat format, float whole, float* codes, float* scales)
    {
        var job = new Job { X = x, Stride = (nint)stride, Rows = rows, Columns = columns, Format = format, Kind = format.Scale, Codes = codes, Scales = scales, Whole = whole };
        int chunks = TileQuantizer.TileCount(rows);
        job.Parts = Math.Max(1, Math.Min((columns + Tile - 1) / Tile, (2 * threads.Count + chunks - 1) / Math.Max(1, chunks)));
        threads.Run(chunks * job.Parts, &DownBody, &job);
    }

    static void WholeBody(void* context, int part)
    {
        var job = (Job*)context;
        (int row, int end) = CpuThreads.Part(job->Rows, part, job->Parts);
        float largest = 0;
        for (; row < end; row++) largest = Math.Max(largest, TileScale.LargestMagnitude(new ReadOnlySpan<float>(job->X + (row * job->Stride), job->Columns)));
        job->Scales[part] = largest;
    }

    static void BlocksBody(void* context, int block)
    {
        var job = (Job*)context;
        int row = block * Tile, end = Math.Min(job->Rows, row + Tile), columns = job->Tiles.Count;
        for (int b = 0; b < columns; b++)
        {
            float largest = 0;
            for (int r = row; r < end; r++)
                largest = Math.Max(largest, TileScale.LargestMagnitude(new ReadOnlySpan<float>(job->X + (r * job->Stride) + job->Tiles.Start(b), job->Tiles.Extent(b))));
            job->Scales[((long)block * columns) + b] = TileScale.ForE4M3(largest, job->Kind);
        }
    }

    static void DownBody(void* context, int item)
    {
        var job = (Job*)context;
        int chunk = item / job->Parts, row = chunk * Tile, end = Math.Min(job->Rows, row + Tile);
        (int column, int endColumn) = CpuThreads.Part(job->Columns, item % job->Parts, job->Parts, Tile);
        int columns = endColumn - column;
        if (columns == 0) return;
        if (job->Format.Number != NumberFormat.E4M3)
        {
            for (int r = row; r < end; r++)
            {
                var source = new ReadOnlySpan<float>(job->X + (r * job->Stride) + column, columns);
                var to = new Span<float>(job->Codes + ((long)r * job->Columns) + column, columns);
                if (job->Format.Number == NumberFormat.BF16) GridRounding.ToBF16(source, to);
                else source.CopyTo(to);
            }

            return;
        }

        var scales = new Span<float>(job->Scales + ((long)chunk * job->Columns) + column, columns);
        FindColumnScales(job, row, end, column, scales);
        for (int r = row; r < end; r++)
            GridRounding.ToE4M3(new ReadOnlySpan<float>(job->X + (r * job->Stride) + column, columns), scales, new Span<float>(job->Codes + ((long)r * job->Columns) + column, columns));
    }

    static void FindColumnScales(Job* job, int row, int end, int column, Span<float> scales)
    {
        if (job->Format.Granularity == Granularity.Tensor)
        {
            scales.Fill(job->Whole);
            return;
        }

        scales.Clear();
        for (int r = row; r < end; r++) GridRounding.Largest(new ReadOnlySpan<float>(job->X + (r * job->Stride) + column, scales.Length), scales);
        if (job->Format.Granularity == Granularity.Block)
        {
            for (int b = 0; b < scales.Length; b += Tile) // parts begin at multiples of 128
            {
                Span<float> block = scales.Slice(b, Math.Min(Tile, scales.Length - b));
                block.Fill(TileScale.LargestMagnitude(block));
            }
        }

        foreach (ref float scale in scales) scale = TileScale.ForE4M3(scale, job->Kind);
    }

    struct Job
    {
        public float* X, Scales, Codes;
        public nint Stride;
        public int Rows, Columns, Parts;
        public Sections Tiles;
        public ScaleKind Kind;
        public QuantizationFormat Format;
        public float Whole;
    }
}
