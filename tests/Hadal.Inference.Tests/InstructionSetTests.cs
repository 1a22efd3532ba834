using System.Diagnostics;

namespace Hadal.Inference.Tests;

/// <summary>The sampler's tests again in a child process in which the runtime hides instructions: the twin computes one number at a time, so the bits are the same for every width.</summary>
[Trait("tier", "full")]
public sealed class InstructionSetTests
{
    [Theory]
    [InlineData("DOTNET_EnableAVX512")]
    [InlineData("DOTNET_EnableHWIntrinsic")]
    public async Task Choices_have_the_same_bits_with_narrower_vectors(string variable)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!, ["--no-ansi", "--progress", "off", "--filter-method", $"{typeof(SamplerTests).FullName}.{nameof(SamplerTests.Choices_and_distributions_are_those_of_the_slow_twin)}", "--filter-method", $"{typeof(SamplerTests).FullName}.{nameof(SamplerTests.Large_vocabularies_have_the_choices_of_the_slow_twin)}"])
        {
            UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true,
        };
        start.Environment[variable] = "0";
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = await process.StandardOutput.ReadToEndAsync() + await error;
        await process.WaitForExitAsync();
        Assert.True(process.ExitCode == 0, output);
        Assert.Contains("failed: 0", output, StringComparison.Ordinal);
        Assert.DoesNotContain("succeeded: 0", output, StringComparison.Ordinal);
    }
}
