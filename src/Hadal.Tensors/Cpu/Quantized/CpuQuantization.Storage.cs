using Hadal.Numerics;
using Hadal.Tensors.Operations;
using Hadal.Tensors.Operations.Checks;

namespace Hadal.Tensors.Cpu.Quantized;

/// <content>Stored formats: rows (blocks of 128 rows) are shared among threads.</content>
sealed unsafe partial class CpuQuantization
{
    public void Encode(Tensor x, QuantizationFormat format, Tensor codes, Tensor scales, Tensor rowCount)
    {
        QuantizationChecks.Stored(x, format, codes, scales, rowCount);
        StorageJob job = Job(x, format, codes, scales, rowCount);
        if (format.Granularity == Granularity.Tensor) *job.Scales = OperandScales.Whole(context.Threads, job.X, job.XStride, job.Rows, job.Columns, format, []);
        context.Threads.Run(Items(ref job), &EncodeBody, &job);
    }

    public void Decode(Tensor codes, Tensor scales, QuantizationFormat format, Tensor y, Tensor rowCount)
    {
        QuantizationChecks.Stored(y, format, codes, scales, rowCount);
        StorageJob job = Job(y, format, codes, scales, rowCount);
        context.Threads.Run(Items(ref job), &DecodeBody, &job);
    }

    public void Round(Tensor x, NumberFormat format, Tensor y)
    {
        Require.Shape(y, x.Rows, x.Columns);
        Require.That(format is NumberFormat.F32 or NumberFormat.BF16, $"Values are rounded to F32 or BF16; {format} was asked.");
        var job = new StorageJob { X = F32(x), XStride = (nint)x.RowStride, Codes = (byte*)F32(y), CodeStride = (nint)y.RowStride, Rows = x.Rows, Columns = x.Columns };
        job.Format = new QuantizationFormat(format);
        context.Threads.Run(Items(ref job), &RoundBody, &job);
    }

    static StorageJob Job(Tensor x, QuantizationFormat format, Tensor codes, Tensor scales, Tensor rowCount) => new()
    {
        X = F32(x), XStride = (nint)x.RowStride, Codes = (byte*)codes.Address, CodeStride = (nint)(codes.RowStride * codes.DType.Size()), Scales = scales.IsEmpty ? null : F32(scales),
        ScaleStride = (nint)scales.RowStride, Rows = rowCount.IsEmpty ? x.Rows : Math.Clamp(*rowCount.Pointer<int>(), 0, x.Rows), Columns = x.Columns, Format = format,
    };

    int Items(ref StorageJob job)
    {
        job.Granule = job.Format.Granularity == Granularity.Block ? Tile : 1;
        int granules = (job.Rows + job.Granule - 1) / job.Granule;
        return job.Parts = (int)Math.Clamp(Math.Min(granules, (long)job.Rows * job.Columns / 8192), 1, context.Threads.Count * 4);
    }

    static void EncodeBody(void* context, int part)
    {
        var job = (StorageJob*)context;
        (int row, int end) = CpuThreads.Part(job->Rows, part, job->Parts, job->Granule);
        if (row == end) return;
        int tiles = TileQuantizer.TileCount(job->Columns);
        if (job->Format.Granularity == Granularity.Block)
        {
            for (; row < end; row += Tile) EncodeBlocks(job, row, Math.Min(Tile, end - row));
            return;
        }

        for (; row < end; row++)
        {
            var x = new ReadOnlySpan<float>(job->X + (row * job->XStride), job->Columns);
            byte* to = job->Codes + (row * job->CodeStride);
            switch (job->Format.Number)
            {
                case NumberFormat.F32: x.CopyTo(new Span<float>(to, x.Length)); break;
                case NumberFormat.BF16: BF16.FromSingle(x, new Span<BF16>(to, x.Length)); break;
                case NumberFormat.E5M6:
                    TileQuantizer.QuantizeRowsE5M6(x, 1, x.Length, x.Length, new Span<byte>(to, TileQuantizer.E5M6RowLength(x.Length)), new Span<float>(job->Scales + (row * job->ScaleStride), tiles));
                    break;
                default:
                    var codes = new Span<E4M3>(to, x.Length);
                    if (job->Format.Granularity == Granularity.Tensor) TileQuantizer.EncodeScaled(x, *job->Scales, codes);
                    else TileQuantizer.QuantizeRows(x, 1, x.Length, x.Length, job->Format.Scale, codes, new Span<float>(job->Scales + (row * job->ScaleStride), tiles));
                    break;
            }
        }
    }

    static void EncodeBlocks(StorageJob* job, int row, int rows)
    {
        for (int column = 0; column < job->Columns; column += Tile)
        {
            int columns = Math.Min(Tile, job->Columns - column);
            float largest = 0;
            for (int r = row; r < row + rows; r++) largest = Math.Max(largest, TileScale.LargestMagnitude(new ReadOnlySpan<float>(job->X + (r * job->XStride) + column, columns)));
            float scale = TileScale.ForE4M3(largest, job->Format.Scale);
            job->Scales[(row / Tile * job->ScaleStride) + (column / Tile)] = scale;
            for (int r = row; r < row + rows; r++)
                TileQuantizer.EncodeScaled(new ReadOnlySpan<float>(job->X + (r * job->XStride) + column, columns), scale, new Span<E4M3>(job->Codes + (r * job->CodeStride) + column, columns));
        }
    }

    static void DecodeBody(void* context, int part)
    {
        var job = (StorageJob*)context;
        (int row, int end) = CpuThreads.Part(job->Rows, part, job->Parts, job->Granule);
        int tiles = TileQuantizer.TileCount(job->Columns);
        for (; row < end; row++)
        {
            var y = new Span<float>(job->X + (row * job->XStride), job->Columns);
            byte* from = job->Codes + (row * job->CodeStride);
            switch (job->Format.Number)
            {
                case NumberFormat.F32: new ReadOnlySpan<float>(from, y.Length).CopyTo(y); break;
                case NumberFormat.BF16: BF16.ToSingle(new ReadOnlySpan<BF16>(from, y.Length), y); break;
                case NumberFormat.E5M6:
                    TileQuantizer.DequantizeRowsE5M6(new ReadOnlySpan<byte>(from, TileQuantizer.E5M6RowLength(y.Length)), new ReadOnlySpan<float>(job->Scales + (row * job->ScaleStride), tiles), 1, y.Length, y, y.Length);
                    break;
                default:
                    var codes = new ReadOnlySpan<E4M3>(from, y.Length);
                    if (job->Format.Granularity == Granularity.Tensor)
                    {
                        TileQuantizer.DecodeScaled(codes, *job->Scales, y);
                        break;
                    }

                    float* scales = job->Scales + ((job->Format.Granularity == Granularity.Block ? row / Tile : row) * job->ScaleStride);
                    TileQuantizer.DequantizeRows(codes, new ReadOnlySpan<float>(scales, tiles), 1, y.Length, y, y.Length);
                    break;
            }
        }
    }

    static void RoundBody(void* context, int part)
    {
        var job = (StorageJob*)context;
        (int row, int end) = CpuThreads.Part(job->Rows, part, job->Parts);
        for (; row < end; row++)
        {
            var x = new ReadOnlySpan<float>(job->X + (row * job->XStride), job->Columns);
            var y = new Span<float>((float*)job->Codes + (row * job->CodeStride), job->Columns);
            if (job->Format.Number == NumberFormat.BF16) GridRounding.ToBF16(x, y);
            else x.CopyTo(y);
        }
    }

    struct StorageJob
    {
        public float* X, Scales;
        public byte* Codes;
        public nint XStride, CodeStride, ScaleStride;
        public int Rows, Columns, Parts, Granule;
        public QuantizationFormat Format;
    }
}
