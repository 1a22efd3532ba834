using Hadal.Numerics;

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
                Span<BF16> brains = tensor.Row<BF16>(row);
                for (int i = 0; i < values.Length; i++) values[i] = brains[i].ToSingle();
                break;
            case DType.E4M3:
                Span<E4M3> fine = tensor.Row<E4M3>(row);
                for (int i = 0; i < values.Length; i++) values[i] = fine[i].ToSingle();
                break;
            case DType.E5M2:
                Span<E5M2> coarse = tensor.Row<E5M2>(row);
                for (int i = 0; i < values.Length; i++) values[i] = coarse[i].ToSingle();
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
                Span<BF16> brains = tensor.Row<BF16>(row);
                for (int i = 0; i < values.Length; i++) brains[i] = BF16.FromDouble(values[i]);
                break;
            case DType.E4M3:
                Span<E4M3> fine = tensor.Row<E4M3>(row);
                for (int i = 0; i < values.Length; i++) fine[i] = E4M3.FromDouble(values[i]);
                break;
            case DType.E5M2:
                Span<E5M2> coarse = tensor.Row<E5M2>(row);
                for (int i = 0; i < values.Length; i++) coarse[i] = E5M2.FromDouble(values[i]);
                break;
            default:
                throw Unsupported(tensor);
        }
    }

    static ArgumentException Unsupported(Tensor tensor) => new($"{tensor} does not hold real numbers.");
}
