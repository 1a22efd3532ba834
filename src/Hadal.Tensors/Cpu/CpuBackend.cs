using Hadal.Tensors.Cpu.Lanes;
using Hadal.Tensors.Cpu.Matrix;
using Hadal.Tensors.Cpu.Ops;
using Hadal.Tensors.Cpu.Quantized;
using Hadal.Tensors.Operations;

namespace Hadal.Tensors.Cpu;

/// <summary>
/// All operations with SIMD and threads. Results have the same bits for any number of threads and on every instruction set; the slow twin is
/// <see cref="Reference.ReferenceBackend"/>.
/// </summary>
public sealed class CpuBackend : IBackend
{
    readonly CpuContext _context;
    readonly CpuOperations _operations;

    /// <summary>Starts the threads. Options default to the environment (<c>HADAL_THREADS</c>, <c>HADAL_ISA</c>), otherwise all processors and the widest vectors.</summary>
    public CpuBackend(CpuOptions? options = null)
    {
        options ??= CpuOptions.FromEnvironment();
        _context = new CpuContext(new CpuThreads(options.Threads), options.InstructionSet);
        var matrix = new CpuMatrix(_context);
        _operations = options.InstructionSet switch
        {
            InstructionSet.Vector512 => Create<Lanes512>(matrix),
            InstructionSet.Vector256 => Create<Lanes256>(matrix),
            InstructionSet.Vector128 => Create<Lanes128>(matrix),
            _ => Create<LanesScalar>(matrix),
        };
        Description = $"{InstructionSets.Name(options.InstructionSet)}-bit vectors, {options.Threads} {(options.Threads == 1 ? "thread" : "threads")}";
        if (options.InstructionSet == InstructionSet.Scalar) Description = Description.Replace("-bit vectors", "", StringComparison.Ordinal);
    }

    /// <inheritdoc/>
    public string Name => "cpu";

    /// <inheritdoc/>
    public string Description { get; }

    /// <inheritdoc/>
    public IOperations Operations => _operations;

    /// <inheritdoc/>
    public TensorMemory Allocate(long bytes) => new HostMemory(bytes);

    /// <inheritdoc/>
    public void Synchronize()
    {
        // CPU streams run at once.
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _operations.Products.Dispose();
        _operations.QuantizedProducts.Dispose();
        _context.Threads.Dispose();
    }

    CpuOperations Create<TLanes>(CpuMatrix matrix)
        where TLanes : struct, ILanes<TLanes> =>
        new(matrix, new CpuElementwise<TLanes>(_context), new CpuAttention<TLanes>(_context), new CpuRouting<TLanes>(_context), new CpuEmbedding<TLanes>(_context),
            new CpuOptimizer<TLanes>(_context), new CpuQuantization(_context));

    sealed record CpuOperations(CpuMatrix Products, IElementwiseOperations Elementwise, IAttentionOperations Attention, IRoutingOperations Routing,
        IEmbeddingOperations Embedding, IOptimizerOperations Optimizer, CpuQuantization QuantizedProducts) : IOperations
    {
        public IMatrixOperations Matrix => Products;

        public IQuantizationOperations Quantization => QuantizedProducts;
    }
}
