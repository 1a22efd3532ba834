namespace Hadal.Numerics;

/// <summary>Span conversions between IEEE binary16 (<see cref="Half"/>) and binary32. Rounding to nearest even, overflow to infinity, as <see cref="Half"/> defines.</summary>
public static class F16
{
    /// <summary>Encodes <paramref name="source"/> into <paramref name="destination"/> (at least as long).</summary>
    public static void FromSingle(ReadOnlySpan<float> source, Span<Half> destination)
    {
        SpanCheck.Fits(source.Length, destination.Length);
        for (int i = 0; i < source.Length; i++) destination[i] = (Half)source[i];
    }

    /// <summary>Decodes <paramref name="source"/> into <paramref name="destination"/> (at least as long), exactly.</summary>
    public static void ToSingle(ReadOnlySpan<Half> source, Span<float> destination)
    {
        SpanCheck.Fits(source.Length, destination.Length);
        for (int i = 0; i < source.Length; i++) destination[i] = (float)source[i];
    }
}
