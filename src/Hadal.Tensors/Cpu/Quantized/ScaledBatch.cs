using System.Runtime.CompilerServices;
using Hadal.Numerics;
using Hadal.Tensors.Cpu.Matrix;
using Hadal.Tensors.Operations;

namespace Hadal.Tensors.Cpu.Quantized;

/// <summary>Tasks that run together: operands are quantised into panels, then tiles are computed, both shared by the threads.</summary>
unsafe struct ScaledBatch
{
    const int Tile = TileQuantizer.Tile;

    public ScaledTask* Tasks;
    public int Count;
    public MatrixKernels* Kernels;
    public delegate*<ScaledEpilogue.Job*, void> Epilogue;
    public int PackUnits;
    public int PackItems;

    /// <summary>Packs the share <paramref name="item"/> of all panels.</summary>
    public static void Pack(void* context, int item)
    {
        var batch = (ScaledBatch*)context;
        (int unit, int end) = CpuThreads.Part(batch->PackUnits, item, batch->PackItems);
        for (int index = 0; unit < end; unit++)
        {
            while (unit >= batch->Tasks[index].FirstPackUnit + batch->Tasks[index].PackUnits) index++;
            PackPanel(batch->Kernels, batch->Tasks + index, unit - batch->Tasks[index].FirstPackUnit);
        }
    }

    static void PackPanel(MatrixKernels* kernels, ScaledTask* task, int panel)
    {
        if (panel >= task->RowPanels)
        {
            panel -= task->RowPanels;
            int width = kernels->ColumnsPerPanel, column = panel * width;
            MatrixPacking.Copy(task->BSource + column, task->BStride, Math.Min(width, task->Columns - column), task->Depth, task->B + ((long)panel * task->Depth * width), width);
            return;
        }

        int row = task->PanelRow(panel), rows = task->PanelRow(panel + 1) - row;
        float* to = task->PackedA + ((long)row * task->Depth);
        if (task->DepthMajor) MatrixPacking.Copy(task->A + row, task->AStride, rows, task->Depth, to, rows);
        else QuantizeRows(task, row, rows, to);
    }

    /// <summary>Quantises the rows of a panel, a tile of the contraction at a time, and transposes them into it.</summary>
    [SkipLocalsInit]
    static void QuantizeRows(ScaledTask* task, int row, int rows, float* to)
    {
        float* codes = stackalloc float[MatrixKernels.MostRows * Tile];
        Sections contraction = task->Contraction;
        int chunks = contraction.Count;
        for (int chunk = 0; chunk < chunks; chunk++)
        {
            int start = contraction.Start(chunk), length = contraction.Extent(chunk);
            for (int r = 0; r < rows; r++)
            {
                var source = new ReadOnlySpan<float>(task->A + ((row + r) * task->AStride) + start, length);
                var code = new Span<float>(codes + (r * Tile), length);
                switch (task->Left.Number)
                {
                    case NumberFormat.E4M3:
                        float scale = task->Left.Granularity switch
                        {
                            Granularity.Tile => TileScale.ForE4M3(TileScale.LargestMagnitude(source), task->Left.Scale),
                            Granularity.Block => task->GivenScales[((row + r) / Tile * chunks) + chunk],
                            _ => *task->GivenScales,
                        };
                        task->RowScales[(chunk * task->RowScaleStride) + row + r] = scale;
                        GridRounding.ToE4M3(source, scale, code);
                        break;
                    case NumberFormat.BF16:
                        GridRounding.ToBF16(source, code);
                        break;
                    default:
                        source.CopyTo(code);
                        break;
                }
            }

            MatrixPacking.Transpose(codes, Tile, rows, length, to + ((long)start * rows), rows);
        }
    }

    /// <summary>Computes tile <paramref name="item"/>.</summary>
    public static void Multiply(void* context, int item)
    {
        var batch = (ScaledBatch*)context;
        int low = 0, high = batch->Count - 1;
        while (low < high)
        {
            int middle = (low + high + 1) / 2;
            if (batch->Tasks[middle].FirstTile <= item) low = middle;
            else high = middle - 1;
        }

        ScaledTask* task = batch->Tasks + low;
        int tile = item - task->FirstTile;
        (int firstRow, int endRow) = CpuThreads.Part(task->RowPanels, tile / task->ColumnBlocks, task->RowBlocks);
        (int column, int endColumn) = CpuThreads.Part(task->ColumnPanels, tile % task->ColumnBlocks, task->ColumnBlocks);
        for (; column < endColumn; column++) MultiplyPanels(batch, task, firstRow, endRow, column);
    }

    [SkipLocalsInit]
    static void MultiplyPanels(ScaledBatch* batch, ScaledTask* task, int firstRow, int endRow, int column)
    {
        MatrixKernels* kernels = batch->Kernels;
        int width = kernels->ColumnsPerPanel, first = column * width, valid = Math.Min(width, task->Columns - first);
        float* partial = stackalloc float[MatrixKernels.MostRows * 32];
        float* b = task->B + ((long)column * task->Depth * width);
        var job = new ScaledEpilogue.Job { Partial = partial, Width = width, CStride = task->CStride, Columns = valid, ColumnScale = 1, Overwrites = !task->Continues };
        int chunks = task->Promotes ? task->Contraction.Count : Math.Min(task->Depth, 1);
        for (int chunk = 0; chunk < chunks; chunk++)
        {
            int from = task->Promotes ? task->Contraction.Start(chunk) : 0, depth = task->Promotes ? task->Contraction.Extent(chunk) : task->Depth;
            if (task->BlockScales != null) job.ColumnScale = task->BlockScales[(chunk * task->BlockChunkStride) + (task->ColumnTiles.TileOf(first) * task->BlockColumnStride)];
            if (task->ColumnScales != null) job.ColumnScales = task->ColumnScales + (chunk * task->ColumnScaleStride) + first;
            for (int panel = firstRow; panel < endRow; panel++)
            {
                int row = task->PanelRow(panel), rows = task->PanelRow(panel + 1) - row;
                float* a = task->PackedA + ((long)row * task->Depth) + ((long)from * rows);
                if (task->TensorCore) TensorCoreTile(a, rows, b + ((long)from * width), width, valid, depth, partial);
                else kernels->MultiplyPacked(rows, depth, a, (byte*)(b + ((long)from * width)), partial, width, continues: false);
                job.Rows = rows;
                job.C = task->C + (row * task->CStride) + first;
                job.RowScales = task->RowScales == null ? null : task->RowScales + (chunk * task->RowScaleStride) + row;
                batch->Epilogue(&job);
            }

            job.Overwrites = false;
        }

        int start = task->PanelRow(firstRow), end = task->PanelRow(endRow);
        for (int row = start; row < end; row++)
        {
            var output = new Span<float>(task->C + (row * task->CStride) + first, valid);
            if (task->Depth == 0 && !task->Continues) output.Clear();
            if (task->Rounds) GridRounding.ToBF16(output, output);
        }
    }

    /// <summary>partial[r, j] = Σ as the tensor core adds, instructions of 32.</summary>
    static void TensorCoreTile(float* a, int rows, float* b, int width, int valid, int depth, float* partial)
    {
        const int Instruction = 32;
        Span<E4M3> left = stackalloc E4M3[Instruction], right = stackalloc E4M3[Instruction];
        for (int r = 0; r < rows; r++)
        {
            for (int j = 0; j < valid; j++)
            {
                float sum = 0;
                for (int start = 0; start < depth; start += Instruction)
                {
                    left.Clear();
                    right.Clear();
                    for (int i = 0; i < Math.Min(Instruction, depth - start); i++)
                    {
                        left[i] = E4M3.FromSingle(a[((start + i) * rows) + r]);
                        right[i] = E4M3.FromSingle(b[((start + i) * width) + j]);
                    }

                    sum = TensorCoreAccumulation.Hopper.Accumulate(sum, left, right);
                }

                partial[(r * width) + j] = sum;
            }
        }
    }
}
