using System.Diagnostics.CodeAnalysis;

namespace Hadal.Numerics;

/// <summary>Length checks whose failure names both lengths.</summary>
static class SpanCheck
{
    internal static void Fits(int needed, int given)
    {
        if (given < needed) ThrowShort(needed, given);
    }

    internal static void Fits(long needed, int given, string what)
    {
        if (given < needed) ThrowShort(needed, given, what);
    }

    [DoesNotReturn]
    static void ThrowShort(long needed, int given, string what = "The other span") =>
        throw new ArgumentException($"{what} needs {needed} elements and has {given}.");
}
