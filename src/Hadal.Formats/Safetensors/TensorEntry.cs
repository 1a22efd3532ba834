namespace Hadal.Formats;

/// <summary>Where a tensor lies and what it is.</summary>
/// <param name="Name">Its public name, such as <c>model.layers.0.self_attn.o_proj.weight</c>.</param>
/// <param name="Type">Element type; <see cref="ElementType.Unknown"/> when <paramref name="TypeName"/> is not a known one.</param>
/// <param name="TypeName">The element type as the file names it.</param>
/// <param name="Shape">Dimensions, outermost first (row-major). Empty for a scalar.</param>
/// <param name="File">Path of the file that holds it.</param>
/// <param name="Offset">First byte, counted from the beginning of the file.</param>
/// <param name="Length">Bytes.</param>
public sealed record TensorEntry(string Name, ElementType Type, string TypeName, long[] Shape, string File, long Offset, long Length)
{
    /// <summary>Number of elements: the product of the dimensions, 1 for a scalar.</summary>
    public long ElementCount
    {
        get
        {
            long count = 1;
            foreach (long dimension in Shape) count *= dimension;
            return count;
        }
    }

    /// <inheritdoc/>
    public override string ToString() => $"{Name} {TypeName} [{string.Join(", ", Shape)}]";
}

/// <summary>A tensor that is going to be written.</summary>
/// <param name="Name">Its public name.</param>
/// <param name="Type">Element type.</param>
/// <param name="Shape">Dimensions, outermost first. Empty for a scalar.</param>
public sealed record TensorDeclaration(string Name, ElementType Type, long[] Shape)
{
    /// <summary>Bytes of the tensor.</summary>
    /// <exception cref="ArgumentException">A dimension is negative or the product overflows.</exception>
    public long Length
    {
        get
        {
            long length = Type.Size();
            try
            {
                foreach (long dimension in Shape)
                {
                    if (dimension < 0) throw new ArgumentException($"Tensor '{Name}' has the shape [{string.Join(", ", Shape)}]: dimensions are not negative.");
                    length = checked(length * dimension);
                }
            }
            catch (OverflowException error)
            {
                throw new ArgumentException($"Tensor '{Name}' has the shape [{string.Join(", ", Shape)}]: its size in bytes exceeds 2^63.", error);
            }
            return length;
        }
    }
}
