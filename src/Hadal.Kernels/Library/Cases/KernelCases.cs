namespace Hadal.Kernels.Library.Cases;

/// <summary>All cases of the library's kernels. A new family adds its two lists here.</summary>
public static class KernelCases
{
    /// <summary>Small shapes with tails, hostile values and every kind of grouping: seconds in the interpreter, milliseconds on a device. Checked completely.</summary>
    public static IEnumerable<KernelCase> Conformance() => GradientCases.Conformance();

    /// <summary>The shapes that matter, with the library's choice of configuration and its rivals. Checked by samples.</summary>
    public static IEnumerable<KernelCase> Benchmarks() => GradientCases.Benchmarks();
}
