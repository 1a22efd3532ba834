using System.Numerics;

namespace Hadal.Numerics;

/// <summary>
/// The measures of difference used in this project's tests and reports, in double precision, summed in ascending order. NaN anywhere gives NaN, so that a comparison
/// written as <c>difference &lt; limit</c> fails.
/// </summary>
public static class RelativeDifference
{
    /// <summary>
    /// 1 − 2·Σxy / (Σx² + Σy²): 0 for equal vectors, 1 for orthogonal ones, 2 for opposite ones; about half the square of the relative Frobenius error. (DeepGEMM's
    /// measure for FP8 products, where 0.001 is the usual limit.) Two zero vectors give 0.
    /// </summary>
    public static double Cosine<T>(ReadOnlySpan<T> x, ReadOnlySpan<T> y) where T : struct, INumberBase<T>
    {
        SameLength(x.Length, y.Length);
        double products = 0, squares = 0;
        for (int i = 0; i < x.Length; i++)
        {
            double a = double.CreateTruncating(x[i]), b = double.CreateTruncating(y[i]);
            products += a * b;
            squares += a * a + b * b;
        }
        return squares == 0 ? 0 : 1 - 2 * products / squares;
    }

    /// <summary>‖x − reference‖ / ‖reference‖ in the Frobenius norm. A zero reference gives 0 when x is zero too and infinity otherwise.</summary>
    public static double Frobenius<T>(ReadOnlySpan<T> x, ReadOnlySpan<T> reference) where T : struct, INumberBase<T>
    {
        SameLength(x.Length, reference.Length);
        double difference = 0, size = 0;
        for (int i = 0; i < x.Length; i++)
        {
            double a = double.CreateTruncating(x[i]), b = double.CreateTruncating(reference[i]);
            difference += (a - b) * (a - b);
            size += b * b;
        }
        return difference == 0 ? 0 : Math.Sqrt(difference / size);
    }

    /// <summary><see cref="Frobenius{T}"/> of a float result against a double reference.</summary>
    public static double Frobenius(ReadOnlySpan<float> x, ReadOnlySpan<double> reference)
    {
        SameLength(x.Length, reference.Length);
        double difference = 0, size = 0;
        for (int i = 0; i < x.Length; i++)
        {
            double b = reference[i];
            difference += (x[i] - b) * (x[i] - b);
            size += b * b;
        }
        return difference == 0 ? 0 : Math.Sqrt(difference / size);
    }

    static void SameLength(int x, int y)
    {
        if (x != y) throw new ArgumentException($"The vectors have {x} and {y} elements; compare vectors of one length.");
    }
}
