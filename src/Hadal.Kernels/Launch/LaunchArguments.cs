using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Launch;

/// <summary>A two-dimensional row-major tensor in global memory, as a tensor map describes it.</summary>
/// <param name="Address">Global address, a multiple of 16.</param>
/// <param name="Element">Element type.</param>
/// <param name="Rows">Rows.</param>
/// <param name="Columns">Columns, in elements.</param>
/// <param name="RowStrideBytes">Bytes from one row to the next, a multiple of 16.</param>
public sealed record TensorDescription(ulong Address, ElementType Element, long Rows, long Columns, long RowStrideBytes);

/// <summary>One argument of a launch.</summary>
public abstract record LaunchArgument
{
    /// <summary>A scalar or a global address, as its bits.</summary>
    public sealed record Bits(ulong Value) : LaunchArgument;

    /// <summary>A tensor, passed as a tensor map with the box and swizzle that the kernel's parameter declares.</summary>
    public sealed record Tensor(TensorDescription Description) : LaunchArgument;

    /// <summary>A word.</summary>
    public static implicit operator LaunchArgument(uint value) => new Bits(value);

    /// <summary>A global address.</summary>
    public static implicit operator LaunchArgument(ulong value) => new Bits(value);

    /// <summary>A number.</summary>
    public static implicit operator LaunchArgument(float value) => new Bits(BitConverter.SingleToUInt32Bits(value));

    /// <summary>A tensor map.</summary>
    public static implicit operator LaunchArgument(TensorDescription value) => new Tensor(value);
}

/// <summary>Compares arguments with the parameters of a kernel before anything runs.</summary>
static class LaunchCheck
{
    public static void Arguments(Kernel kernel, IReadOnlyList<LaunchArgument> arguments)
    {
        if (arguments.Count != kernel.Parameters.Count)
            throw new ArgumentException($"Kernel {kernel.Name} was given {arguments.Count} arguments and takes {kernel.Parameters.Count}: {string.Join(", ", kernel.Parameters.Select(p => p.Name))}.");
        for (int i = 0; i < arguments.Count; i++)
        {
            KernelParameter parameter = kernel.Parameters[i];
            bool isMap = parameter is TensorMapParameter;
            if (isMap != arguments[i] is LaunchArgument.Tensor)
                throw new ArgumentException($"Kernel {kernel.Name}, argument {i} ({parameter.Name}): given {(isMap ? "bits" : "a tensor")}, expected {(isMap ? "a tensor" : "bits")}.");
            if (parameter is TensorMapParameter map && arguments[i] is LaunchArgument.Tensor tensor) Tensor(kernel, map, tensor.Description);
        }
    }

    static void Tensor(Kernel kernel, TensorMapParameter map, TensorDescription tensor)
    {
        string who = $"Kernel {kernel.Name}, tensor {map.Name}";
        if (tensor.Element != map.Element) throw new ArgumentException($"{who}: given {tensor.Element}, expected {map.Element}.");
        if (tensor.Address % 16 != 0) throw new ArgumentException($"{who}: address 0x{tensor.Address:x} is not a multiple of 16; align the allocation or the view.");
        if (tensor.RowStrideBytes % 16 != 0) throw new ArgumentException($"{who}: row stride of {tensor.RowStrideBytes} bytes is not a multiple of 16; pad the rows.");
        if (tensor.Rows < 1 || tensor.Columns < 1) throw new ArgumentException($"{who}: {tensor.Rows} rows by {tensor.Columns} columns; a map needs at least one of each.");
        if (tensor.RowStrideBytes < tensor.Columns * Names.BytesOf(tensor.Element))
            throw new ArgumentException($"{who}: row stride of {tensor.RowStrideBytes} bytes is less than the {tensor.Columns} columns of a row.");
    }
}
