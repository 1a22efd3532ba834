namespace Hadal.Tensors.Reference;

/// <summary>Every real element type to double and back: exact one way, one rounding to nearest even the other way.</summary>
static class ElementConversion
{
    /// <summary>Row <paramref name="row"/> of <paramref name="tensor"/> as doubles.</summary>
    public static void Load(Tensor tensor, int row, Span<double> values)
    {
        switch (tensor.DType)
        {
            case DType.F64:
                tensor.Row<double>(row).CopyTo(values);
                break;
            case DType.F32:
                Span<float> singles = tensor.Row<float>(row);
                for (int i = 0; i < values.Length; i++) values[i] = singles[i];
                break;
            case DType.F16:
                Span<Half> halves = tensor.Row<Half>(row);
                for (int i = 0; i < values.Length; i++) values[i] = (double)halves[i];
                break;
            case DType.BF16:
                Span<ushort> bits = tensor.Row<ushort>(row);
                for (int i = 0; i < values.Length; i++) values[i] = BitConverter.UInt32BitsToSingle((uint)bits[i] << 16);
                break;
            default:
                throw Unsupported(tensor);
        }
    }

    /// <summary>Doubles to row <paramref name="row"/> of <paramref name="tensor"/>.</summary>
    public static void Store(ReadOnlySpan<double> values, Tensor tensor, int row)
    {
        switch (tensor.DType)
        {
            case DType.F64:
                values.CopyTo(tensor.Row<double>(row));
                break;
            case DType.F32:
                Span<float> singles = tensor.Row<float>(row);
                for (int i = 0; i < values.Length; i++) singles[i] = (float)values[i];
                break;
            case DType.F16:
                Span<Half> halves = tensor.Row<Half>(row);
                for (int i = 0; i < values.Length; i++) halves[i] = (Half)values[i];
                break;
            case DType.BF16:
                Span<ushort> bits = tensor.Row<ushort>(row);
                for (int i = 0; i < values.Length; i++) bits[i] = ToBFloat16(values[i]);
                break;
            default:
                throw Unsupported(tensor);
        }
    }

    /// <summary>Nearest BF16, ties to even, straight from double: rounding by way of float could round twice.</summary>
    public static ushort ToBFloat16(double value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(RoundToOdd(value));
        if (double.IsNaN(value)) return (ushort)((bits >> 16) | 0x40);
        return (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }

    /// <summary>The float next to <paramref name="value"/> towards zero, its last bit set when anything was cut off; a later rounding to fewer bits is then exact.</summary>
    public static float RoundToOdd(double value)
    {
        float nearest = (float)value;
        if (nearest == value || double.IsNaN(value) || double.IsInfinity(value)) return nearest;
        uint bits = BitConverter.SingleToUInt32Bits(nearest);
        if (Math.Abs((double)nearest) > Math.Abs(value)) bits--;
        return BitConverter.UInt32BitsToSingle(bits | 1);
    }

    static ArgumentException Unsupported(Tensor tensor) => new($"{tensor} does not hold real numbers.");
}
