using Hadal.Tensors;

namespace Hadal.Model;

/// <summary>YaRN context extension [model spec §3; V3 §4.3].</summary>
/// <param name="Factor">Extension factor s, e.g. 40.</param>
/// <param name="OriginalPositions">Context the model was trained with, e.g. 4096.</param>
/// <param name="BetaFast">Rotations above which a frequency is left alone, 32.</param>
/// <param name="BetaSlow">Rotations below which a frequency is fully interpolated, 1.</param>
/// <param name="MagnitudeScale"><c>mscale</c>; null when the file does not say.</param>
/// <param name="MagnitudeScaleAllDim"><c>mscale_all_dim</c>; null when the file does not say.</param>
public sealed record YarnShape(double Factor, int OriginalPositions, double BetaFast, double BetaSlow, double? MagnitudeScale, double? MagnitudeScaleAllDim)
{
    /// <summary>0.1·m·ln(s) + 1 for s &gt; 1, otherwise 1.</summary>
    public static double Magnitude(double factor, double scale) => factor <= 1 ? 1 : (0.1 * scale * Math.Log(factor)) + 1;

    /// <summary>Factor on cos and sin: the ratio of both magnitudes when both are given, otherwise the magnitude with scale 1.</summary>
    public double RotationMagnitude => MagnitudeScale is double m && MagnitudeScaleAllDim is double all && m != 0 && all != 0
        ? Magnitude(Factor, m) / Magnitude(Factor, all)
        : Magnitude(Factor, 1);

    /// <summary>Factor on the softmax scale: m² with m from <c>mscale_all_dim</c>; 1 when absent or zero.</summary>
    public double SoftmaxMagnitude => MagnitudeScaleAllDim is double all && all != 0 ? Math.Pow(Magnitude(Factor, all), 2) : 1;
}

/// <summary>Angles of the rotary embedding: dims (2j, 2j+1) turn by position·f_j, f_j = base^(−2j/dim), interpolated by YaRN where asked.</summary>
public static class RotaryTable
{
    /// <summary>The dim/2 frequencies in radians per position.</summary>
    public static double[] Frequencies(int dim, double theta, YarnShape? yarn)
    {
        var frequencies = new double[dim / 2];
        for (int j = 0; j < frequencies.Length; j++) frequencies[j] = Math.Pow(theta, -2.0 * j / dim);
        if (yarn is null) return frequencies;

        // 1. Dimension at which a wave makes the given number of rotations over the original context.
        double Correction(double rotations) => dim * Math.Log(yarn.OriginalPositions / (rotations * 2 * Math.PI)) / (2 * Math.Log(theta));
        double low = Math.Max(Math.Floor(Correction(yarn.BetaFast)), 0);
        double high = Math.Min(Math.Ceiling(Correction(yarn.BetaSlow)), dim - 1);
        if (low == high) high += 0.001;

        // 2. Below low: as trained; above high: stretched by the factor; a linear ramp between.
        for (int j = 0; j < frequencies.Length; j++)
        {
            double ramp = Math.Clamp((j - low) / (high - low), 0, 1);
            frequencies[j] = (frequencies[j] / yarn.Factor * ramp) + (frequencies[j] * (1 - ramp));
        }

        return frequencies;
    }

    /// <summary>Writes [positions, dim]: cos at 2j, sin at 2j+1. The table is F32 or F64 in host memory.</summary>
    public static void Fill(Tensor table, double theta, YarnShape? yarn)
    {
        int dim = table.Columns;
        double[] frequencies = Frequencies(dim, theta, yarn);
        double magnitude = yarn?.RotationMagnitude ?? 1;
        for (int position = 0; position < table.Rows; position++)
        {
            for (int j = 0; j < dim / 2; j++)
            {
                (double sin, double cos) = Math.SinCos(position * frequencies[j]);
                if (table.DType == DType.F64)
                {
                    table.Row<double>(position)[2 * j] = cos * magnitude;
                    table.Row<double>(position)[(2 * j) + 1] = sin * magnitude;
                }
                else
                {
                    table.Row<float>(position)[2 * j] = (float)(cos * magnitude);
                    table.Row<float>(position)[(2 * j) + 1] = (float)(sin * magnitude);
                }
            }
        }
    }
}
