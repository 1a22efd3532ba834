namespace Hadal.Tensors.Operations;

/// <summary>The one rule of delayed scaling, for every backend on the host: which magnitude an operand's scale is taken from.</summary>
static class DelayedScale
{
    /// <summary>The magnitude for the scale; raises what was seen.</summary>
    /// <param name="maxima">As <see cref="IQuantizationOperations"/> describes; empty for a current scale.</param>
    /// <param name="current">Largest magnitude of the operand, NaN or infinite when an element is.</param>
    public static float Magnitude(Span<float> maxima, float current)
    {
        if (maxima.IsEmpty || !float.IsFinite(current)) return current;
        if (maxima.Length > 1) maxima[1] = Math.Max(maxima[1], current);
        return maxima[0] > 0 ? maxima[0] : current;
    }

    /// <summary>The maxima of an operand in host memory; empty when its scale is a current one.</summary>
    public static Span<float> Of(QuantizationFormat format, Tensor maxima) => format.Origin == ScaleOrigin.Delayed && !maxima.IsEmpty ? maxima.AsSpan<float>() : [];
}
