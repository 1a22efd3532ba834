using System.Runtime.InteropServices;

namespace Hadal.Tensors.Cpu.Matrix;

/// <summary>
/// Cuts products into pieces whose packed operands fit the scratch memory, gathers pieces that may run together, and runs them.
/// Scratch is kept between calls, so after the largest shapes were seen once nothing is allocated. Not thread safe.
/// </summary>
sealed unsafe class MatrixPlanner : IDisposable
{
    /// <summary>Floats of packed left (and as many of packed right) operands held at once: 16 MiB.</summary>
    const long ScratchFloats = 4 << 20;

    /// <summary>Longest contraction packed at once; a longer one continues from the output.</summary>
    const int DepthChunk = 8192;

    // Rough speeds of one core, only to decide into how many tiles a batch is cut.
    const double FlopsPerNanosecond = 100, BytesPerNanosecond = 15, NanosecondsPerTile = 8000;
    const int TilesPerThread = 12;

    readonly CpuContext _context;
    MatrixTask* _tasks;
    int _capacity;
    MatrixBatch _batch;
    long _aFloats, _bFloats; // used by the tasks gathered so far
    float* _aScratch, _bScratch;
    long _aCapacity, _bCapacity;

    public MatrixPlanner(CpuContext context) => _context = context;

#pragma warning disable MA0055 // Scratch lies outside the garbage-collected heap.
    ~MatrixPlanner() => Free();
#pragma warning restore MA0055

    /// <summary>Starts a batch with the kernels its panels are packed for.</summary>
    public void Begin(MatrixKernels* kernels)
    {
        _batch = new MatrixBatch { Kernels = kernels };
        _aFloats = _bFloats = 0;
    }

    /// <summary>Adds a product; it may run at once or with those that follow. Different products write different outputs.</summary>
    public void Add(in MatrixTask task)
    {
        if (task.Rows == 0 || task.Columns == 0) return;
        bool prepared = task.BSource == null;
        if (prepared && task.Rows <= MatrixKernels.FewRows)
        {
            Gather(task with { FewRows = true }, 0, 0);
            return;
        }

        int rowsPerPanel = _batch.Kernels->RowsPerPanel, width = _batch.Kernels->ColumnsPerPanel;
        bool packsRows = PacksRows(task), packsColumns = !prepared && PacksColumns(task);
        int depthChunks = packsRows || packsColumns ? Math.Max(1, (task.Depth + DepthChunk - 1) / DepthChunk) : 1;
        for (int chunk = 0; chunk < depthChunks; chunk++)
        {
            (int from, int to) = CpuThreads.Part(task.Depth, chunk, depthChunks);
            int depth = Math.Max(to - from, 1);
            int rowLimit = packsRows ? (int)Math.Clamp(ScratchFloats / depth / rowsPerPanel * rowsPerPanel, rowsPerPanel, task.Rows + rowsPerPanel) : task.Rows;
            int columnLimit = packsColumns ? (int)Math.Clamp(ScratchFloats / depth / width * width, width, task.Columns + width) : task.Columns;
            if (from > 0) Flush(); // continues outputs of the chunk before
            for (int column = 0; column < task.Columns; column += columnLimit)
            {
                for (int row = 0; row < task.Rows; row += rowLimit)
                {
                    MatrixTask piece = task;
                    piece.Rows = Math.Min(rowLimit, task.Rows - row);
                    piece.Columns = Math.Min(columnLimit, task.Columns - column);
                    piece.Depth = to - from;
                    piece.A += (row * task.ARow) + (from * task.AStep);
                    piece.PacksColumns = packsColumns;
                    if (!prepared) piece.BSource += (from * task.BStride) + column;
                    else piece.B += (nint)from * task.BStep;
                    piece.C += (row * task.CStride) + column;
                    piece.Continues |= from > 0;
                    long columns = (piece.Columns + width - 1) / width * width;
                    Gather(piece, packsRows ? (long)piece.Rows * piece.Depth : 0, packsColumns ? columns * piece.Depth : 0);
                }
            }
        }
    }

    /// <summary>
    /// Rows are read where they lie, unless their values of one step fall into the same few places of the first-level cache (rows 4 KiB apart, as far as
    /// eight-way caches of 32 KiB go) and are read often enough to pay for the copy.
    /// </summary>
    bool PacksRows(in MatrixTask task) =>
        task.AStep == 1 && task.ARow % 1024 == 0 && task.Rows >= _batch.Kernels->RowsPerPanel && task.Columns >= 16 * _batch.Kernels->ColumnsPerPanel;

    /// <summary>Columns are read where they lie, unless the last panel is not full, steps are far apart, or many row panels read them.</summary>
    bool PacksColumns(in MatrixTask task) =>
        task.Columns % _batch.Kernels->ColumnsPerPanel != 0 || task.BStride % 1024 == 0 || task.Rows >= 64 * _batch.Kernels->RowsPerPanel;

    /// <summary>Runs what was gathered and is left.</summary>
    public void Finish() => Flush();

    /// <inheritdoc/>
    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    void Gather(MatrixTask task, long aFloats, long bFloats)
    {
        if (_batch.Count > 0 && (_aFloats + aFloats > ScratchFloats || _bFloats + bFloats > ScratchFloats)) Flush();
        if (_batch.Count == _capacity)
        {
            _capacity = Math.Max(64, 2 * _capacity);
            _tasks = (MatrixTask*)NativeMemory.Realloc(_tasks, (nuint)_capacity * (nuint)sizeof(MatrixTask));
        }

        MatrixKernels* kernels = _batch.Kernels;
        bool packsRows = aFloats > 0;
        task.RowPanels = task.FewRows ? 1 : (task.Rows + kernels->RowsPerPanel - 1) / kernels->RowsPerPanel;
        task.ColumnPanels = (task.Columns + kernels->ColumnsPerPanel - 1) / kernels->ColumnsPerPanel;
        task.FirstPackUnit = _batch.PackUnits;
        task.PackUnits = (packsRows ? task.RowPanels : 0) + (task.PacksColumns ? task.ColumnPanels : 0);
        // Scratch may still grow and move: offsets now, addresses when the batch runs. One is added so that the first is not null.
        task.PackedA = packsRows ? (float*)(_aFloats + 1) : null;
        if (task.PacksColumns)
        {
            task.PanelBytes = (nint)task.Depth * kernels->StepBytes;
            task.BStep = kernels->StepBytes;
            task.B = (byte*)_bFloats;
        }
        else if (task.BSource != null)
        {
            task.PanelBytes = kernels->ColumnsPerPanel * sizeof(float);
            task.BStep = task.BStride * sizeof(float);
            task.B = (byte*)task.BSource;
        }

        _batch.PackUnits += task.PackUnits;
        _aFloats += aFloats;
        _bFloats += bFloats;
        _tasks[_batch.Count++] = task;
    }

    void Flush()
    {
        if (_batch.Count == 0) return;
        Grow(ref _aScratch, ref _aCapacity, _aFloats);
        Grow(ref _bScratch, ref _bCapacity, _bFloats);
        double total = 0;
        for (int i = 0; i < _batch.Count; i++)
        {
            MatrixTask* task = _tasks + i;
            if (task->PackedA != null) task->PackedA = _aScratch + ((long)task->PackedA - 1);
            if (task->PacksColumns) task->B = (byte*)(_bScratch + (long)task->B);
            total += Cost(task);
        }

        int threads = _context.Threads.Count;
        _batch.Tasks = _tasks;
        if (_batch.PackUnits > 0)
        {
            _batch.PackItems = _aFloats + _bFloats < 8192 ? 1 : Math.Min(_batch.PackUnits, threads * TilesPerThread);
            fixed (MatrixBatch* batch = &_batch) _context.Threads.Run(_batch.PackItems, &MatrixBatch.Pack, batch);
        }

        double target = threads == 1 ? 1 : Math.Clamp(total / NanosecondsPerTile, 1, threads * TilesPerThread);
        int tiles = 0;
        for (int i = 0; i < _batch.Count; i++)
        {
            _tasks[i].FirstTile = tiles;
            tiles += Cut(_tasks + i, (int)Math.Ceiling(target * Cost(_tasks + i) / total));
        }

        fixed (MatrixBatch* batch = &_batch) _context.Threads.Run(tiles, &MatrixBatch.Multiply, batch);
        Begin(_batch.Kernels);
    }

    static double Cost(MatrixTask* task) => 1 + Math.Max(
        2.0 * task->Rows * task->Columns * task->Depth / FlopsPerNanosecond, (double)sizeof(float) * task->Columns * task->Depth / BytesPerNanosecond);

    /// <summary>
    /// Cuts into about <paramref name="tiles"/> tiles of a form that has the operands read least: with C column blocks the left operand is read C times and
    /// the right one tiles / C times. There are more tiles when the rows of one would not stay in the second-level cache while its columns pass.
    /// </summary>
    int Cut(MatrixTask* task, int tiles)
    {
        task->RowBlocks = 1;
        if (task->FewRows)
        {
            int together = _batch.Kernels->PanelsAtOnce(task->Rows);
            task->ColumnBlocks = Math.Clamp(tiles, 1, (task->ColumnPanels + together - 1) / together);
            return task->ColumnBlocks;
        }

        double even = Math.Sqrt((double)task->Columns * tiles / task->Rows);
        task->ColumnBlocks = (int)Math.Clamp(Math.Round(even), 1, Math.Min(task->ColumnPanels, tiles));
        long rowBytes = sizeof(float) * (long)Math.Max(1, Math.Min(task->Depth, MatrixBatch.DepthBlock)) * _batch.Kernels->RowsPerPanel;
        int panels = (int)Math.Max(1, MatrixBatch.RowBlockBytes / rowBytes);
        task->RowBlocks = Math.Max((tiles + task->ColumnBlocks - 1) / task->ColumnBlocks, (task->RowPanels + panels - 1) / panels);
        task->RowBlocks = Math.Min(task->RowBlocks, task->RowPanels);
        if (task->RowBlocks * task->ColumnBlocks < tiles)
            task->ColumnBlocks = Math.Min(task->ColumnPanels, (tiles + task->RowBlocks - 1) / task->RowBlocks);
        return checked(task->RowBlocks * task->ColumnBlocks);
    }

    static void Grow(ref float* memory, ref long capacity, long floats)
    {
        floats += 16; // an empty operand has an address too
        if (floats <= capacity) return;
        NativeMemory.AlignedFree(memory);
        memory = null;
        capacity = 0;
        memory = (float*)NativeMemory.AlignedAlloc((nuint)floats * sizeof(float), 64);
        capacity = floats;
    }

    void Free()
    {
        NativeMemory.Free(_tasks);
        NativeMemory.AlignedFree(_aScratch);
        NativeMemory.AlignedFree(_bScratch);
        _tasks = null;
        _aScratch = _bScratch = null;
        _capacity = 0;
        _aCapacity = _bCapacity = 0;
    }
}
