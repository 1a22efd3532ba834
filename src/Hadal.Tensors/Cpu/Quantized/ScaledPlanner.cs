using System.Runtime.InteropServices;
using Hadal.Tensors.Cpu.Matrix;

namespace Hadal.Tensors.Cpu.Quantized;

/// <summary>
/// Gathers products, gives them scratch memory, and runs them: packing, then tiles. Scratch is kept between calls, so after the largest shapes were seen once nothing
/// is allocated. Not thread safe.
/// </summary>
sealed unsafe class ScaledPlanner : IDisposable
{
    /// <summary>Bytes of row panels a tile may keep in the second-level cache.</summary>
    const int RowBlockBytes = 384 << 10;
    const double FlopsPerTile = 1.5e6;
    const int TilesPerThread = 8;

    readonly CpuContext _context;
    readonly MatrixKernels* _kernels;
    ScaledTask* _tasks;
    int _capacity;
    ScaledBatch _batch;
    float* _scratch;
    long _scratchCapacity, _used;

    public ScaledPlanner(CpuContext context)
    {
        _context = context;
        _kernels = MatrixKernels.For(context.InstructionSet, bfloat16: false);
    }

#pragma warning disable MA0055 // Scratch lies outside the garbage-collected heap.
    ~ScaledPlanner() => Free();
#pragma warning restore MA0055

    /// <summary>Columns of a panel.</summary>
    public int Width => _kernels->ColumnsPerPanel;

    /// <summary>Starts a batch whose products take at most this many floats of scratch together.</summary>
    public void Begin(long floats)
    {
        _batch = new ScaledBatch { Kernels = _kernels, Epilogue = ScaledEpilogue.For(_context.InstructionSet) };
        _used = 0;
        if (floats <= _scratchCapacity) return;
        NativeMemory.AlignedFree(_scratch);
        _scratch = null;
        _scratchCapacity = 0;
        _scratch = (float*)NativeMemory.AlignedAlloc((nuint)floats * sizeof(float), 64);
        _scratchCapacity = floats;
    }

    /// <summary>Floats that <see cref="Take"/> hands out for a request.</summary>
    public static long Rounded(long floats) => (floats + 31) / 16 * 16;

    /// <summary>Scratch for the batch.</summary>
    public float* Take(long floats)
    {
        float* memory = _scratch + _used;
        _used += Rounded(floats);
        if (_used > _scratchCapacity) throw new InvalidOperationException($"The batch takes {_used} floats of scratch; {_scratchCapacity} were announced.");
        return memory;
    }

    /// <summary>Adds a product.</summary>
    public void Add(ScaledTask task)
    {
        if (task.Rows == 0 || task.Columns == 0) return;
        if (_batch.Count == _capacity)
        {
            _capacity = Math.Max(64, 2 * _capacity);
            _tasks = (ScaledTask*)NativeMemory.Realloc(_tasks, (nuint)_capacity * (nuint)sizeof(ScaledTask));
        }

        task.RowPanels = (task.Rows + _kernels->RowsPerPanel - 1) / _kernels->RowsPerPanel;
        task.ColumnPanels = (task.Columns + Width - 1) / Width;
        task.PackedA = Take((long)task.Rows * task.Depth);
        if (task.BSource != null) task.B = Take((long)task.ColumnPanels * Width * task.Depth);
        task.FirstPackUnit = _batch.PackUnits;
        _batch.PackUnits += task.PackUnits;
        _tasks[_batch.Count++] = task;
    }

    /// <summary>Runs what was added.</summary>
    public void Run()
    {
        if (_batch.Count == 0) return;
        int threads = _context.Threads.Count;
        _batch.Tasks = _tasks;
        _batch.PackItems = _used < 8192 ? 1 : Math.Min(_batch.PackUnits, threads * TilesPerThread);
        fixed (ScaledBatch* batch = &_batch) _context.Threads.Run(_batch.PackItems, &ScaledBatch.Pack, batch);
        double total = 1;
        for (int i = 0; i < _batch.Count; i++) total += Cost(_tasks + i);
        double target = threads == 1 ? 1 : Math.Clamp(total / FlopsPerTile, 1, threads * TilesPerThread);
        int tiles = 0;
        for (int i = 0; i < _batch.Count; i++)
        {
            _tasks[i].FirstTile = tiles;
            tiles += Cut(_tasks + i, (int)Math.Ceiling(target * Cost(_tasks + i) / total));
        }

        fixed (ScaledBatch* batch = &_batch) _context.Threads.Run(tiles, &ScaledBatch.Multiply, batch);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    static double Cost(ScaledTask* task) => 2.0 * task->Rows * task->Columns * Math.Max(task->Depth, 1) * (task->TensorCore ? 1000 : 1);

    int Cut(ScaledTask* task, int tiles)
    {
        int blockPanels = Math.Max(1, RowBlockBytes / sizeof(float) / Math.Max(1, Math.Min(task->Depth, 1024)) / _kernels->RowsPerPanel);
        task->RowBlocks = (task->RowPanels + blockPanels - 1) / blockPanels;
        task->ColumnBlocks = Math.Clamp((tiles + task->RowBlocks - 1) / task->RowBlocks, 1, task->ColumnPanels);
        if (task->RowBlocks * task->ColumnBlocks < tiles) task->RowBlocks = Math.Min(task->RowPanels, (tiles + task->ColumnBlocks - 1) / task->ColumnBlocks);
        return checked(task->RowBlocks * task->ColumnBlocks);
    }

    void Free()
    {
        NativeMemory.Free(_tasks);
        NativeMemory.AlignedFree(_scratch);
        _tasks = null;
        _scratch = null;
        _capacity = 0;
        _scratchCapacity = 0;
    }
}
