using System.Diagnostics;
using System.Globalization;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Tests;

/// <summary>
/// The vector paths that this machine would not take: the tests of conversions and quantisation run again in a child process in which the runtime hides instructions.
/// </summary>
public sealed class InstructionSetTests
{
    /// <summary>Set in a child to the bits its vectors may have.</summary>
    const string Expected = "HADAL_TEST_VECTOR_BITS";

    static int Bits => Vector512.IsHardwareAccelerated ? 512 : Vector256.IsHardwareAccelerated ? 256 : Vector128.IsHardwareAccelerated ? 128 : 0;

    [Theory]
    [InlineData(256, "DOTNET_EnableAVX512=0 DOTNET_EnableAVX512F=0")]
    [InlineData(128, "DOTNET_EnableAVX=0")]
    [InlineData(0, "DOTNET_EnableHWIntrinsic=0")]
    public async Task Conversions_and_quantisation_pass_with_narrower_vectors(int bits, string variables)
    {
        Assert.False(Environment.GetEnvironmentVariable(Expected) is not null, "A child does not start children.");
        string[] classes = [nameof(BF16Tests), nameof(FloatFormatTests), nameof(SpanConversionTests), nameof(TileQuantizerTests), nameof(VectorFunctionTests), nameof(VectorWidthTests)];
        var start = new ProcessStartInfo(Environment.ProcessPath!, ["--no-ansi", "--progress", "off", .. classes.SelectMany(name => new[] { "--filter-class", $"{typeof(InstructionSetTests).Namespace}.{name}" })])
        {
            UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true,
        };
        foreach (string variable in variables.Split(' ')) start.Environment[variable[..variable.IndexOf('=')]] = variable[(variable.IndexOf('=') + 1)..];
        start.Environment[Expected] = Math.Min(bits, Bits).ToString(CultureInfo.InvariantCulture);
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = await process.StandardOutput.ReadToEndAsync() + await error;
        await process.WaitForExitAsync();
        Assert.True(process.ExitCode == 0, output);
        Assert.Contains("failed: 0", output, StringComparison.Ordinal);
        Assert.DoesNotContain("succeeded: 0", output, StringComparison.Ordinal);
    }
}

/// <summary>The width of vectors that the other tests of this process run with.</summary>
public sealed class VectorWidthTests
{
    [Fact]
    public void Vectors_have_the_width_that_was_asked_for()
    {
        int actual = Vector512.IsHardwareAccelerated ? 512 : Vector256.IsHardwareAccelerated ? 256 : Vector128.IsHardwareAccelerated ? 128 : 0;
        int expected = Environment.GetEnvironmentVariable("HADAL_TEST_VECTOR_BITS") is { } asked ? int.Parse(asked, CultureInfo.InvariantCulture)
            : System.Runtime.Intrinsics.X86.Avx512BW.IsSupported ? 512 : System.Runtime.Intrinsics.X86.Avx2.IsSupported ? 256 : 128;
        Assert.Equal(expected, actual);
    }
}
