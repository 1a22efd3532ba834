using System.Runtime.CompilerServices;

namespace Hadal.Tensors.Cpu.Matrix;

/// <summary>Tasks that run together: first their operands are packed, then their tiles are computed, both shared by the threads.</summary>
unsafe struct MatrixBatch
{
    /// <summary>
    /// Steps of the contraction a tile walks before it goes to the next panel: a column panel of them (128 KiB at 512 bits) stays in the second-level cache,
    /// which is near enough, and outputs are rarely put down and taken up again.
    /// </summary>
    public const int DepthBlock = 1024;

    /// <summary>Bytes of row panels a tile may keep in the second-level cache.</summary>
    public const int RowBlockBytes = 384 << 10;

    /// <summary>How far ahead operands are asked for: a step takes about 24 cycles at 512 bits, main memory a few hundred.</summary>
    const int StepsAhead = 24;

    public MatrixTask* Tasks;
    public int Count;
    public MatrixKernels* Kernels;
    public int PackUnits;
    public int PackItems;

    /// <summary>Packs the share <paramref name="item"/> of <see cref="PackItems"/> of all panels.</summary>
    public static void Pack(void* context, int item)
    {
        var batch = (MatrixBatch*)context;
        (int unit, int end) = CpuThreads.Part(batch->PackUnits, item, batch->PackItems);
        int index = 0;
        for (; unit < end; unit++)
        {
            while (unit >= batch->Tasks[index].FirstPackUnit + batch->Tasks[index].PackUnits) index++;
            PackPanel(batch->Kernels, batch->Tasks + index, unit - batch->Tasks[index].FirstPackUnit);
        }
    }

    /// <summary>Computes tile <paramref name="item"/>.</summary>
    public static void Multiply(void* context, int item)
    {
        var batch = (MatrixBatch*)context;
        int low = 0, high = batch->Count - 1;
        while (low < high)
        {
            int middle = (low + high + 1) / 2;
            if (batch->Tasks[middle].FirstTile <= item) low = middle;
            else high = middle - 1;
        }

        MatrixTask* task = batch->Tasks + low;
        int tile = item - task->FirstTile;
        (int firstRow, int endRow) = CpuThreads.Part(task->RowPanels, tile / task->ColumnBlocks, task->RowBlocks);
        if (task->FewRows)
        {
            int together = batch->Kernels->PanelsAtOnce(task->Rows);
            (int first, int end) = CpuThreads.Part(task->ColumnPanels, tile % task->ColumnBlocks, task->ColumnBlocks, together);
            MultiplyFewRows(batch->Kernels, task, first, end, together);
        }
        else
        {
            (int first, int end) = CpuThreads.Part(task->ColumnPanels, tile % task->ColumnBlocks, task->ColumnBlocks);
            MultiplyPanels(batch->Kernels, task, firstRow, endRow, first, end);
        }
    }

    static void PackPanel(MatrixKernels* kernels, MatrixTask* task, int panel)
    {
        if (task->PackedA != null)
        {
            if (panel < task->RowPanels)
            {
                int row = task->PanelRow(panel), rows = task->PanelRow(panel + 1) - row;
                MatrixPacking.Transpose(task->A + (row * task->ARow), task->ARow, rows, task->Depth, task->PackedA + ((long)row * task->Depth), rows);
                return;
            }

            panel -= task->RowPanels;
        }

        int width = kernels->ColumnsPerPanel, column = panel * width;
        MatrixPacking.Copy(
            task->BSource + column, task->BStride, Math.Min(width, task->Columns - column), task->Depth, (float*)(task->B + (panel * task->PanelBytes)), width);
    }

    static void MultiplyPanels(MatrixKernels* kernels, MatrixTask* task, int firstRow, int endRow, int firstColumn, int endColumn)
    {
        int rows = task->PanelRow(endRow) - task->PanelRow(firstRow);
        int blocks = Math.Max(1, (task->Depth + DepthBlock - 1) / DepthBlock);
        if ((long)rows * task->Depth * sizeof(float) <= RowBlockBytes)
        {
            // All of the row block stays in the second-level cache, so every column panel is read once, from end to end.
            for (int column = firstColumn; column < endColumn; column++)
            {
                for (int block = 0; block < blocks; block++) MultiplyColumnPanel(kernels, task, firstRow, endRow, column, block, blocks);
            }
        }
        else
        {
            for (int block = 0; block < blocks; block++)
            {
                for (int column = firstColumn; column < endColumn; column++) MultiplyColumnPanel(kernels, task, firstRow, endRow, column, block, blocks);
            }
        }
    }

    [SkipLocalsInit]
    static void MultiplyColumnPanel(MatrixKernels* kernels, MatrixTask* task, int firstRow, int endRow, int column, int block, int blocks)
    {
        (int from, int to) = CpuThreads.Part(task->Depth, block, blocks);
        int width = kernels->ColumnsPerPanel, valid = Math.Min(width, task->Columns - (column * width));
        byte* b = task->B + (column * task->PanelBytes) + (from * task->BStep);
        bool continues = task->Continues || from > 0;
        int row = task->PanelRow(firstRow);
        float* corner = stackalloc float[MatrixKernels.MostRows * 32];
        for (int panel = firstRow; panel < endRow; panel++)
        {
            int next = task->PanelRow(panel + 1), rows = next - row;
            bool packed = task->PackedA != null;
            float* a = packed ? task->PackedA + ((long)row * task->Depth) + ((long)from * rows) : task->A + (row * task->ARow) + (from * task->AStep);
            nint aRow = packed ? 1 : task->ARow, aStep = packed ? rows : task->AStep;
            float* c = task->C + (row * task->CStride) + (column * width);

            // Operands that lie step after step are wanted a few steps ahead; rows one after the other, the next panel's while this one is computed.
            byte* ahead = (byte*)(aStep == 1 ? a + (rows * aRow) : a + (StepsAhead * aStep));
            nint aheadStep = sizeof(float) * (aStep == 1 ? rows : aStep);
            if (valid == width || valid * 2 == width)
            {
                (valid == width ? kernels->Panel(rows) : kernels->Half(rows))(to - from, a, aRow, aStep, b, task->BStep, c, task->CStride, continues, ahead, aheadStep);
            }
            else
            {
                if (continues) CopyCorner(c, task->CStride, corner, width, rows, valid);
                (valid <= width / 2 ? kernels->Half(rows) : kernels->Panel(rows))(to - from, a, aRow, aStep, b, task->BStep, corner, width, continues, ahead, aheadStep);
                CopyCorner(corner, width, c, task->CStride, rows, valid);
            }

            row = next;
        }
    }

    [SkipLocalsInit]
    static void MultiplyFewRows(MatrixKernels* kernels, MatrixTask* task, int column, int endColumn, int together)
    {
        int width = kernels->ColumnsPerPanel, full = task->Columns / width;
        float* corner = stackalloc float[MatrixKernels.FewRows * 32];
        while (column < endColumn)
        {
            byte* b = task->B + (column * task->PanelBytes);
            float* c = task->C + (column * width);
            if (column >= full)
            {
                int valid = task->Columns - (column * width);
                if (task->Continues) CopyCorner(c, task->CStride, corner, width, task->Rows, valid);
                kernels->Few(task->Rows, 1)(task->Depth, task->A, task->ARow, b, task->PanelBytes, corner, width, task->Continues);
                CopyCorner(corner, width, c, task->CStride, task->Rows, valid);
                return;
            }

            int count = together;
            while (count > 1 && column + count > Math.Min(endColumn, full)) count /= 2;
            kernels->Few(task->Rows, count)(task->Depth, task->A, task->ARow, b, task->PanelBytes, c, task->CStride, task->Continues);
            column += count;
        }
    }

    static void CopyCorner(float* from, nint fromStride, float* to, nint toStride, int rows, int columns)
    {
        for (int i = 0; i < rows; i++, from += fromStride, to += toStride)
        {
            for (int j = 0; j < columns; j++) to[j] = from[j];
        }
    }
}
