using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Hadal.Numerics;
using Hadal.Tensors.Cpu.Matrix;
using Hadal.Tensors.Operations;

namespace Hadal.Tensors.Cpu.Quantized;

/// <summary>
/// Weights quantised and packed into column panels of code values in binary32, for y = x·Wᵀ and for dx = dy·W (blocks of 128×128 serve both ways), with the scales of
/// their blocks [groups, tiles of the outputs, ⌈inputs/128⌉].
/// </summary>
sealed unsafe class ScaledWeight : PreparedWeight
{
    const int Tile = TileQuantizer.Tile;
    readonly HostMemory? _forward, _backwardInput, _scales, _columnScales;
    readonly HostMemory _state;

    public ScaledWeight(ReadOnlySpan<Tensor> groups, ProductUses uses, QuantizationFormat format, int matrixRows, Tensor maxima, InstructionSet set)
        : base(groups, uses)
    {
        foreach (Tensor group in groups)
            if (group.DType != DType.F32 || !group.IsHost) throw new ArgumentException($"The CPU quantises weights of F32 in host memory; {group} was given.", nameof(groups));
        if (format.Fault is { } fault || (fault = format.Granularity == Granularity.Tile ? "a weight's scales serve its transpose too, so they are of blocks or of the tensor" : null) is not null)
            throw new ArgumentException($"A weight cannot be prepared as {format}: {fault}.", nameof(format));
        Format = format;

        // Only blocks are counted; one scale serves everything it covers.
        OutputTiles = Sections.Of(Outputs, format.Granularity == Granularity.Block ? matrixRows : 0);
        MatrixKernels* kernels = MatrixKernels.For(set, bfloat16: false);
        int width = kernels->ColumnsPerPanel;
        ForwardPanels = (Outputs + width - 1) / width;
        BackwardInputPanels = (Inputs + width - 1) / width;
        if (uses.HasFlag(ProductUses.Forward)) _forward = new HostMemory(sizeof(float) * (long)groups.Length * ForwardPanels * width * Inputs);
        if (uses.HasFlag(ProductUses.BackwardInput)) _backwardInput = new HostMemory(sizeof(float) * (long)groups.Length * BackwardInputPanels * width * Outputs);
        (BlockRows, BlockColumns) = format.Granularity switch
        {
            Granularity.Block => (OutputTiles.Count, TileQuantizer.TileCount(Inputs)),
            Granularity.Tensor => (1, 1),
            _ => (0, 0),
        };
        if (BlockRows > 0) _scales = new HostMemory(sizeof(float) * (long)groups.Length * BlockRows * BlockColumns);
        // A panel of columns has one scale, unless a matrix begins inside it.
        if (_forward is not null && OutputTiles.Section < Outputs && OutputTiles.Section % width != 0)
            _columnScales = new HostMemory(sizeof(float) * (long)groups.Length * BlockColumns * Outputs);
        _state = new HostMemory(sizeof(State) + (groups.Length * (sizeof(nint) + sizeof(nint))));
        var state = (State*)_state.Address;
        *state = new State
        {
            Groups = groups.Length, Outputs = Outputs, Inputs = Inputs, Width = width, ForwardPanels = ForwardPanels, BackwardInputPanels = BackwardInputPanels,
            BlockRows = BlockRows, BlockColumns = BlockColumns, Tiles = OutputTiles, Format = format, Forward = _forward is null ? null : (float*)_forward.Address,
            BackwardInput = _backwardInput is null ? null : (float*)_backwardInput.Address, Scales = _scales is null ? null : (float*)_scales.Address,
            ColumnScales = _columnScales is null ? null : (float*)_columnScales.Address,
            Maxima = format.Origin == ScaleOrigin.Delayed && !maxima.IsEmpty ? maxima.Pointer<float>() : null,
            Values = (float**)(state + 1), Strides = (nint*)((float**)(state + 1) + groups.Length),
        };
        for (int g = 0; g < groups.Length; g++)
        {
            state->Values[g] = groups[g].Pointer<float>();
            state->Strides[g] = (nint)groups[g].RowStride;
        }
    }

    /// <summary>How the values are quantised.</summary>
    public QuantizationFormat Format { get; }

    /// <summary>Column panels of one group for y = x·Wᵀ.</summary>
    public int ForwardPanels { get; }

    /// <summary>Column panels of one group for dx = dy·W.</summary>
    public int BackwardInputPanels { get; }

    /// <summary>Blocks along the outputs, and tiles of a contraction that runs over them.</summary>
    public Sections OutputTiles { get; }

    /// <summary>Rows of the table of scales; 0 without scales.</summary>
    public int BlockRows { get; }

    /// <summary>Columns of the table of scales.</summary>
    public int BlockColumns { get; }

    /// <summary>Panels of group <paramref name="group"/>.</summary>
    public float* Panels(int group, bool forward)
    {
        HostMemory memory = (forward ? _forward : _backwardInput)
            ?? throw new InvalidOperationException($"The weight was prepared for {Uses}, not for {(forward ? ProductUses.Forward : ProductUses.BackwardInput)}.");
        int width = ((State*)_state.Address)->Width;
        return (float*)memory.Address + ((long)group * width * (forward ? (long)ForwardPanels * Inputs : (long)BackwardInputPanels * Outputs));
    }

    /// <summary>Scales of group <paramref name="group"/>, or null.</summary>
    public float* Scales(int group) => _scales is null ? null : (float*)_scales.Address + ((long)group * BlockRows * BlockColumns);

    /// <summary>Scales of group <paramref name="group"/> for each output by itself, [⌈inputs/128⌉, outputs]; null where panels have one scale.</summary>
    public float* ColumnScales(int group) => _columnScales is null ? null : (float*)_columnScales.Address + ((long)group * BlockColumns * Outputs);

    /// <summary>Quantises and packs. Only one thread at a time.</summary>
    public void Refresh(CpuThreads threads)
    {
        var state = (State*)_state.Address;
        if (state->Scales != null) threads.Run(state->Groups * (Format.Granularity == Granularity.Block ? BlockRows : 1), &FindScales, state);
        int panels = (state->Forward == null ? 0 : ForwardPanels) + (state->BackwardInput == null ? 0 : BackwardInputPanels);
        threads.Run(state->Groups * panels, &PackPanel, state);
        GC.KeepAlive(this);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (!disposing) return;
        _forward?.Dispose();
        _backwardInput?.Dispose();
        _scales?.Dispose();
        _columnScales?.Dispose();
        _state.Dispose();
    }

    static void FindScales(void* context, int item)
    {
        var state = (State*)context;
        bool blocks = state->Format.Granularity == Granularity.Block;
        int group = blocks ? item / state->BlockRows : item, firstBlock = blocks ? item % state->BlockRows : 0;
        int row = blocks ? state->Tiles.Start(firstBlock) : 0, end = blocks ? row + state->Tiles.Extent(firstBlock) : state->Outputs;
        for (int block = 0; block < state->BlockColumns; block++)
        {
            int column = block * Tile, columns = blocks ? Math.Min(Tile, state->Inputs - column) : state->Inputs;
            float largest = 0;
            for (int r = row; r < end; r++)
                largest = Math.Max(largest, TileScale.LargestMagnitude(new ReadOnlySpan<float>(state->Values[group] + (r * state->Strides[group]) + column, columns)));
            if (state->Maxima != null) largest = DelayedScale.Magnitude(new Span<float>(state->Maxima + (2 * group), 2), largest);
            float scale = TileScale.ForE4M3(largest, state->Format.Scale);
            state->Scales[((((long)group * state->BlockRows) + firstBlock) * state->BlockColumns) + block] = scale;
            if (state->ColumnScales != null) new Span<float>(state->ColumnScales + ((((long)group * state->BlockColumns) + block) * state->Outputs) + row, end - row).Fill(scale);
        }
    }

    static void PackPanel(void* context, int item)
    {
        var state = (State*)context;
        int forward = state->Forward == null ? 0 : state->Groups * state->ForwardPanels;
        if (item < forward) PackForward(state, item / state->ForwardPanels, item % state->ForwardPanels);
        else PackBackwardInput(state, (item - forward) / state->BackwardInputPanels, (item - forward) % state->BackwardInputPanels);
    }

    [SkipLocalsInit]
    static void PackForward(State* state, int group, int panel)
    {
        float* codes = stackalloc float[32 * Tile];
        int width = state->Width, first = panel * width, rows = Math.Min(width, state->Outputs - first);
        float* to = state->Forward + ((((long)group * state->ForwardPanels) + panel) * width * state->Inputs);
        for (int start = 0; start < state->Inputs; start += Tile)
        {
            int length = Math.Min(Tile, state->Inputs - start);
            for (int r = 0; r < rows; r++) Quantize(state, group, first + r, start, length, codes + (r * Tile));
            MatrixPacking.Transpose(codes, Tile, rows, length, to + ((long)start * width), width);
        }
    }

    static void PackBackwardInput(State* state, int group, int panel)
    {
        int width = state->Width, first = panel * width, columns = Math.Min(width, state->Inputs - first);
        float* to = state->BackwardInput + ((((long)group * state->BackwardInputPanels) + panel) * width * state->Outputs);
        for (int row = 0; row < state->Outputs; row++, to += width)
        {
            Quantize(state, group, row, first, columns, to);
            for (int c = columns; c < width; c++) to[c] = 0;
        }
    }

    /// <summary>Code values of part of a row that lies in one block.</summary>
    static void Quantize(State* state, int group, int row, int column, int length, float* codes)
    {
        var source = new ReadOnlySpan<float>(state->Values[group] + (row * state->Strides[group]) + column, length);
        var to = new Span<float>(codes, length);
        if (state->Format.Number == NumberFormat.E4M3) GridRounding.ToE4M3(source, state->Scale(group, row, column), to);
        else if (state->Format.Number == NumberFormat.BF16) GridRounding.ToBF16(source, to);
        else source.CopyTo(to);
    }

    [StructLayout(LayoutKind.Auto)]
    struct State
    {
        public int Groups, Outputs, Inputs, Width, ForwardPanels, BackwardInputPanels, BlockRows, BlockColumns;
        public Sections Tiles;
        public QuantizationFormat Format;
        public float* Forward, BackwardInput, Scales, ColumnScales, Maxima;
        public float** Values;
        public nint* Strides;

        public readonly float Scale(int group, int row, int column) => Format.Granularity == Granularity.Block
            ? Scales[((((long)group * BlockRows) + Tiles.TileOf(row)) * BlockColumns) + (column / Tile)]
            : Scales[group];
    }
}
