using Xunit.v3;

namespace Hadal.Tests;

/// <summary>
/// The test proves a statement of tests/conformance-statements.tsv. The test report carries it as the trait <c>implements</c>, and docs/conformance.md is made from the report.
/// </summary>
/// <param name="source">Where the statement comes from, as the list has it.</param>
/// <param name="statement">The statement, word for word.</param>
[AttributeUsage(AttributeTargets.Method, AllowMultiple = true)]
sealed class ImplementsAttribute(string source, string statement) : Attribute, ITraitAttribute
{
    /// <inheritdoc/>
    public IReadOnlyCollection<KeyValuePair<string, string>> GetTraits() => [new("implements", $"{source} | {statement}")];
}
