using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;

namespace Hadal.Tensors.Operations.Checks;

/// <summary>Checks of operands that every backend makes before it computes. Each message says what was given and what was expected.</summary>
static class Require
{
    /// <summary>The operand was given.</summary>
    public static void Present(Tensor tensor, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        if (tensor.IsEmpty) Fail($"{name} is absent; this operation needs it.", name);
    }

    /// <summary>The operand holds <paramref name="rows"/> rows of <paramref name="columns"/> real numbers.</summary>
    public static void Shape(Tensor tensor, int rows, int columns, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        if (tensor.IsEmpty || tensor.Rows != rows || tensor.Columns != columns || !tensor.DType.IsFloatingPoint())
            Fail($"{name} is {tensor}; expected {rows} rows of {columns} floating-point elements.", name);
    }

    /// <summary>As <see cref="Shape"/>, or absent.</summary>
    public static void ShapeOrAbsent(Tensor tensor, int rows, int columns, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        if (!tensor.IsEmpty) Shape(tensor, rows, columns, name);
    }

    /// <summary>The operand holds <paramref name="length"/> real numbers without gaps, whatever its dimensions.</summary>
    public static void Vector(Tensor tensor, long length, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        if (tensor.IsEmpty || tensor.Length != length || !tensor.IsContiguous || !tensor.DType.IsFloatingPoint())
            Fail($"{name} is {tensor} with row stride {tensor.RowStride}; expected {length} floating-point elements without gaps.", name);
    }

    /// <summary>As <see cref="Vector"/>, or absent.</summary>
    public static void VectorOrAbsent(Tensor tensor, long length, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        if (!tensor.IsEmpty) Vector(tensor, length, name);
    }

    /// <summary>The operand holds <paramref name="length"/> 32-bit integers without gaps.</summary>
    public static void Integers(Tensor tensor, long length, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        if (tensor.IsEmpty || tensor.Length != length || !tensor.IsContiguous || tensor.DType != DType.I32)
            Fail($"{name} is {tensor} with row stride {tensor.RowStride}; expected {length} I32 elements without gaps.", name);
    }

    /// <summary>As <see cref="Integers"/>, or absent.</summary>
    public static void IntegersOrAbsent(Tensor tensor, long length, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        if (!tensor.IsEmpty) Integers(tensor, length, name);
    }

    /// <summary>The operand has <paramref name="rank"/> dimensions.</summary>
    public static void Rank(Tensor tensor, int rank, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        if (tensor.Rank != rank) Fail($"{name} is {tensor}; expected {rank} dimensions.", name);
    }

    /// <summary>The operand has element type <paramref name="type"/>.</summary>
    public static void Type(Tensor tensor, DType type, [CallerArgumentExpression(nameof(tensor))] string name = "")
    {
        if (!tensor.IsEmpty && tensor.DType != type) Fail($"{name} is {tensor}; this backend expects {type}. Copy it to that type first.", name);
    }

    /// <summary>A condition between operands.</summary>
    public static void That([DoesNotReturnIf(false)] bool condition, [InterpolatedStringHandlerArgument(nameof(condition))] FailureMessage message)
    {
        if (!condition) throw new ArgumentException(message.ToStringAndClear());
    }

    [DoesNotReturn]
    static void Fail(string message, string name) => throw new ArgumentException(message, name);
}
