using Hadal.Kernels.Library.Cases;

namespace Hadal.Kernels.Tests;

/// <summary>Every small case of the library, run by the interpreter.</summary>
public sealed class CaseTests
{
    public static TheoryData<string> Names() => [.. KernelCases.Conformance().Select(c => c.Name)];

    [Theory]
    [MemberData(nameof(Names))]
    public void The_interpreter_computes_what_the_case_defines(string name)
    {
        CaseResult result = KernelCases.Conformance().Single(c => string.Equals(c.Name, name, StringComparison.Ordinal)).Interpret(seed: 3);
        Assert.True(result.Passed, $"{name}: error {result.Error}, tolerance {result.Tolerance}. {result.Detail}");
    }
}
