using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Text;

namespace Hadal.Tensors;

/// <summary>
/// A view of memory: element type, one to four dimensions, row-major. All leading dimensions together are the <see cref="Rows"/>,
/// the last dimension the <see cref="Columns"/>; rows may lie <see cref="RowStride"/> elements apart, so a slice of columns is a view too.
/// A tensor owns nothing and is cheap to copy; <c>default</c> is the absent tensor (<see cref="IsEmpty"/>).
/// </summary>
[SuppressMessage("Usage", "MA0077", Justification = "Views are compared by nobody.")]
public readonly struct Tensor
{
    readonly TensorMemory? _memory;
    readonly long _byteOffset;
    readonly int _d0, _d1, _d2, _d3;

    /// <summary>Element type.</summary>
    public DType DType { get; }

    /// <summary>Number of dimensions, 1 to 4; 0 for the absent tensor.</summary>
    public int Rank { get; }

    /// <summary>Elements from one row to the next; at least <see cref="Columns"/>.</summary>
    public long RowStride { get; }

    Tensor(TensorMemory? memory, long byteOffset, DType type, int rank, int d0, int d1, int d2, int d3, long rowStride)
    {
        _memory = memory;
        _byteOffset = byteOffset;
        DType = type;
        Rank = rank;
        _d0 = d0;
        _d1 = d1;
        _d2 = d2;
        _d3 = d3;
        RowStride = rowStride;
    }

    /// <summary>A contiguous view of <paramref name="memory"/> from <paramref name="byteOffset"/>.</summary>
    /// <exception cref="ArgumentException">The shape has no or more than four dimensions, or the view does not fit the memory.</exception>
    public static Tensor View(TensorMemory memory, long byteOffset, DType type, params ReadOnlySpan<int> shape)
    {
        if (shape.Length is < 1 or > 4) throw new ArgumentException($"A tensor has 1 to 4 dimensions; {shape.Length} were given.", nameof(shape));
        long elements = 1;
        foreach (int extent in shape)
        {
            if (extent < 0) throw new ArgumentException($"A dimension is negative: {extent}.", nameof(shape));
            elements = checked(elements * extent);
        }

        if (byteOffset < 0 || checked(byteOffset + (elements * type.Size())) > memory.Bytes)
            throw new ArgumentException($"A view of {elements} {type} elements at byte {byteOffset} does not fit {memory.Bytes} bytes.", nameof(byteOffset));
        return new Tensor(memory, byteOffset, type, shape.Length, shape[0], shape.Length > 1 ? shape[1] : 1, shape.Length > 2 ? shape[2] : 1,
            shape.Length > 3 ? shape[3] : 1, shape[^1]);
    }

    /// <summary>True for the absent tensor (an optional argument that was not given).</summary>
    public bool IsEmpty => Rank == 0;

    /// <summary>Extent of dimension <paramref name="axis"/>.</summary>
    public int this[int axis] => axis < Rank
        ? axis switch { 0 => _d0, 1 => _d1, 2 => _d2, 3 => _d3, _ => throw new ArgumentOutOfRangeException(nameof(axis)) }
        : throw new ArgumentOutOfRangeException(nameof(axis), axis, $"The tensor has {Rank} dimensions.");

    /// <summary>Extent of the last dimension (a vector is one row).</summary>
    public int Columns => Rank == 0 ? 0 : this[Rank - 1];

    /// <summary>Product of all dimensions but the last; 1 for a vector.</summary>
    public int Rows => Rank switch { 0 => 0, 1 => 1, 2 => _d0, 3 => checked(_d0 * _d1), _ => checked(_d0 * _d1 * _d2) };

    /// <summary>Number of elements.</summary>
    public long Length => (long)Rows * Columns;

    /// <summary>True when rows follow each other without gaps.</summary>
    public bool IsContiguous => RowStride == Columns || Rows <= 1;

    /// <summary>True when the CPU may read the elements.</summary>
    public bool IsHost => _memory is { IsHost: true };

    /// <summary>Address of the first element (host or device).</summary>
    public nint Address => _memory is null ? 0 : _memory.Address + (nint)_byteOffset;

    /// <summary>The same elements with other dimensions; the last dimension may change only when contiguous.</summary>
    /// <exception cref="ArgumentException">Element counts differ, or rows have gaps and the last dimension would change.</exception>
    public Tensor Reshape(params ReadOnlySpan<int> shape)
    {
        if (shape.Length is < 1 or > 4) throw new ArgumentException($"A tensor has 1 to 4 dimensions; {shape.Length} were given.", nameof(shape));
        long elements = 1;
        foreach (int extent in shape) elements = checked(elements * extent);
        bool sameColumns = shape[^1] == Columns;
        if (elements != Length || (!sameColumns && !IsContiguous))
            throw new ArgumentException($"{this} cannot be viewed as [{string.Join(", ", shape.ToArray())}].", nameof(shape));
        return new Tensor(_memory, _byteOffset, DType, shape.Length, shape[0], shape.Length > 1 ? shape[1] : 1, shape.Length > 2 ? shape[2] : 1,
            shape.Length > 3 ? shape[3] : 1, sameColumns ? RowStride : shape[^1]);
    }

    /// <summary>Entries <paramref name="start"/> to <paramref name="start"/>+<paramref name="count"/> of the first dimension.</summary>
    public Tensor Slice(int start, int count)
    {
        if (Rank == 0 || start < 0 || count < 0 || start > _d0 - count)
            throw new ArgumentOutOfRangeException(nameof(start), $"Entries {start} to {(long)start + count} are not inside {this}.");
        long perEntry = Rank == 1 ? 1 : Rank == 2 ? RowStride : Rank == 3 ? _d1 * RowStride : (long)_d1 * _d2 * RowStride;
        return new Tensor(_memory, _byteOffset + (start * perEntry * DType.Size()), DType, Rank, count, _d1, _d2, _d3, Rank == 1 ? count : RowStride);
    }

    /// <summary>Entry <paramref name="index"/> of the first dimension, with that dimension dropped.</summary>
    public Tensor Select(int index)
    {
        if (Rank < 2) throw new InvalidOperationException($"{this} has no entries to select.");
        Tensor one = Slice(index, 1);
        return new Tensor(one._memory, one._byteOffset, DType, Rank - 1, _d1, _d2, _d3, 1, RowStride);
    }

    /// <summary>Columns <paramref name="start"/> to <paramref name="start"/>+<paramref name="count"/> of every row.</summary>
    public Tensor SliceColumns(int start, int count)
    {
        if (Rank == 0 || start < 0 || count < 0 || start > Columns - count)
            throw new ArgumentOutOfRangeException(nameof(start), $"Columns {start} to {(long)start + count} are not inside {this}.");
        Span<int> shape = [_d0, _d1, _d2, _d3];
        shape[Rank - 1] = count;
        return new Tensor(_memory, _byteOffset + ((long)start * DType.Size()), DType, Rank, shape[0], shape[1], shape[2], shape[3], RowStride);
    }

    /// <summary>Host pointer to the first element; the caller checks <see cref="DType"/> by the type argument.</summary>
    /// <exception cref="InvalidOperationException">The tensor is not in host memory, or <typeparamref name="T"/> has another size than the elements.</exception>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public unsafe T* Pointer<T>()
        where T : unmanaged
    {
        if (!IsHost || sizeof(T) != DType.Size()) ThrowNotReadable(sizeof(T));
        return (T*)Address;
    }

    /// <summary>One row of a host tensor.</summary>
    public unsafe Span<T> Row<T>(int row)
        where T : unmanaged
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)row, (uint)Rows);
        return new Span<T>(Pointer<T>() + (row * RowStride), Columns);
    }

    /// <summary>All elements of a contiguous host tensor.</summary>
    /// <exception cref="InvalidOperationException">Rows have gaps.</exception>
    public unsafe Span<T> AsSpan<T>()
        where T : unmanaged
    {
        if (!IsContiguous) throw new InvalidOperationException($"{this} has gaps between its rows (stride {RowStride}); take it row by row.");
        return new Span<T>(Pointer<T>(), checked((int)Length));
    }

    /// <summary>For example <c>F32[2, 96, 320]</c>.</summary>
    public override string ToString()
    {
        if (IsEmpty) return "absent";
        var text = new StringBuilder().Append(DType).Append('[');
        for (int axis = 0; axis < Rank; axis++) text.Append(axis > 0 ? ", " : "").Append(this[axis]);
        return text.Append(']').ToString();
    }

    [DoesNotReturn]
    void ThrowNotReadable(int size) =>
        throw new InvalidOperationException($"{this} ({(IsHost ? "host" : "device")} memory) cannot be read as elements of {size} bytes by the CPU.");
}
