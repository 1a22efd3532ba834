using Hadal.Kernels.Library.Gemm;

namespace Hadal.Kernels.Library.Cases;

/// <summary>All cases of the library's kernels. A new family adds its two lists here.</summary>
public static class KernelCases
{
    /// <summary>Small shapes with tails, hostile values and every kind of grouping: seconds in the interpreter, milliseconds on a device. Checked completely.</summary>
    public static IEnumerable<KernelCase> Conformance() =>
    [
        .. Fp8GemmCases.Conformance(),
        .. GradientCases.Conformance(),
        .. Bf16GemmCases.Conformance(),
        .. QuantizeCases.Conformance(),
        .. Ladder.LadderRung.Conformance(),
    ];

    /// <summary>What a sanitizer runs: the small cases, and a few tiles of every configuration that is chosen for the model's shapes. Checked completely.</summary>
    public static IEnumerable<KernelCase> Sanitized() =>
    [
        .. Conformance(),
        .. ChosenCases.All(),
    ];

    /// <summary>These, and shapes with tails of many tiles in several configurations, for a device only. Checked completely.</summary>
    public static IEnumerable<KernelCase> DeviceConformance() =>
    [
        .. Sanitized(),
        .. Fp8GemmCases.DeviceConformance(),
    ];

    /// <summary>Kernels with parts left out, wholes beside them, and rivals of the chosen, for a device: where the time goes.</summary>
    public static IEnumerable<KernelCase> Diagnostics() =>
    [
        .. Fp8GemmCases.Diagnostics(),
        .. GradientCases.Diagnostics(),
        .. Bf16GemmCases.Diagnostics(),
        .. QuantizeCases.Rivals(),
    ];

    /// <summary>The shapes that matter, with the library's choice of configuration and its rivals. Checked by samples.</summary>
    public static IEnumerable<KernelCase> Benchmarks() =>
    [
        .. Fp8GemmCases.Benchmarks(),
        .. GradientCases.Benchmarks(),
        .. Bf16GemmCases.Benchmarks(),
        .. QuantizeCases.Benchmarks(),
        .. Ladder.LadderRung.Benchmarks(),
    ];
}
