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
    const int TilesPerThread = 8;

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
        if (task.BSource == null && !task.DepthMajor && task.Rows <= MatrixKernels.FewRows)
        {
            Gather(task, 0, 0);
            return;
        }

        int rowsPerPanel = _batch.Kernels->RowsPerPanel, width = _batch.Kernels->ColumnsPerPanel;
        int depthChunks = Math.Max(1, (task.Depth + DepthChunk - 1) / DepthChunk);
        for (int chunk = 0; chunk < depthChunks; chunk++)
        {
            (int from, int to) = CpuThreads.Part(task.Depth, chunk, depthChunks);
            int depth = Math.Max(to - from, 1);
            int rowLimit = (int)Math.Clamp(ScratchFloats / depth / rowsPerPanel * rowsPerPanel, rowsPerPanel, task.Rows + rowsPerPanel);
            int columnLimit = task.BSource == null
                ? task.Columns
                : (int)Math.Clamp(ScratchFloats / depth / width * width, width, task.Columns + width);
            if (from > 0) Flush(); // continues outputs of the chunk before
            for (int column = 0; column < task.Columns; column += columnLimit)
            {
                for (int row = 0; row < task.Rows; row += rowLimit)
                {
                    MatrixTask piece = task;
                    piece.Rows = Math.Min(rowLimit, task.Rows - row);
                    piece.Columns = Math.Min(columnLimit, task.Columns - column);
                    piece.Depth = to - from;
                    piece.A += task.DepthMajor ? (from * task.AStride) + row : (row * task.AStride) + from;
                    if (task.BSource != null) piece.BSource += (from * task.BStride) + column;
                    else piece.B += (nint)from * _batch.Kernels->StepBytes;
                    piece.C += (row * task.CStride) + column;
                    piece.Continues |= from > 0;
                    long columns = (piece.Columns + width - 1) / width * width;
                    Gather(piece, (long)piece.Rows * piece.Depth, task.BSource == null ? 0 : columns * piece.Depth);
                }
            }
        }
    }

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
        bool packRows = task.BSource != null || task.DepthMajor || task.Rows > MatrixKernels.FewRows;
        task.RowPanels = packRows ? (task.Rows + kernels->RowsPerPanel - 1) / kernels->RowsPerPanel : 1;
        task.ColumnPanels = (task.Columns + kernels->ColumnsPerPanel - 1) / kernels->ColumnsPerPanel;
        task.FirstPackUnit = _batch.PackUnits;
        task.PackUnits = (packRows ? task.RowPanels : 0) + (task.BSource != null ? task.ColumnPanels : 0);
        // Scratch may still grow and move: offsets now, addresses when the batch runs. One is added so that the first is not null.
        task.PackedA = packRows ? (float*)(_aFloats + 1) : null;
        if (task.BSource != null)
        {
            task.PanelBytes = (nint)task.Depth * kernels->StepBytes;
            task.B = (byte*)_bFloats;
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
            if (task->BSource != null) task->B = (byte*)(_bScratch + (long)task->B);
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
        2.0 * task->Rows * task->Columns * task->Depth / FlopsPerNanosecond, (double)task->ColumnPanels * task->PanelBytes / BytesPerNanosecond);

    /// <summary>Cuts into about <paramref name="tiles"/> tiles, more when row blocks would not stay in the second-level cache.</summary>
    int Cut(MatrixTask* task, int tiles)
    {
        task->RowBlocks = 1;
        int columnUnits = task->ColumnPanels;
        if (task->PackedA != null)
        {
            long blockRows = MatrixBatch.RowBlockBytes / sizeof(float) / Math.Max(1, Math.Min(task->Depth, MatrixBatch.DepthBlock));
            int panels = (int)Math.Max(1, blockRows / _batch.Kernels->RowsPerPanel);
            task->RowBlocks = (task->RowPanels + panels - 1) / panels;
        }
        else
        {
            int together = _batch.Kernels->PanelsAtOnce(task->Rows);
            columnUnits = (columnUnits + together - 1) / together;
        }

        task->ColumnBlocks = Math.Clamp((tiles + task->RowBlocks - 1) / task->RowBlocks, 1, columnUnits);
        if (task->RowBlocks * task->ColumnBlocks < tiles)
            task->RowBlocks = Math.Min(task->RowPanels, (tiles + task->ColumnBlocks - 1) / task->ColumnBlocks);
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
