using System.Text.RegularExpressions;

namespace Hadal.Architecture.Tests;

/// <summary>What can be seen of docs/conformance.md without running the tests it names: tools/Hadal.ConformancePage compares it with their report.</summary>
public sealed partial class ConformancePageTests
{
    static (string Source, string Text)[] Statements() =>
        [.. Repository.Read("tests/conformance-statements.tsv").Split('\n').Where(l => l.Length > 0 && !l.StartsWith('#')).Select(l => (l.Split('\t')[0], l.Split('\t')[1]))];

    static (string Source, string Text, string Status, string Tests)[] Rows() =>
        [.. Row().Matches(Repository.Read("docs/conformance.md")).Select(m => (m.Groups["source"].Value, m.Groups["text"].Value, m.Groups["status"].Value, m.Groups["tests"].Value.Trim()))];

    [Fact]
    public void Every_statement_has_its_row_in_order()
    {
        Assert.Equal(Statements(), Rows().Select(r => (r.Source, r.Text)));
        Assert.All(Rows(), r => Assert.True(r.Status is "proved" or "planned", $"'{r.Text}' has the status '{r.Status}'."));
    }

    [Fact]
    public void Every_mark_of_a_test_names_a_statement()
    {
        (string, string)[] statements = Statements();
        int marks = 0;
        foreach (string path in Repository.CSharp("tests/"))
        {
            foreach (Match mark in Mark().Matches(Repository.Read(path)))
            {
                (string Source, string Text) named = (mark.Groups["source"].Value, mark.Groups["text"].Value.Replace("\\\"", "\"", StringComparison.Ordinal));
                Assert.True(statements.Contains(named), $"{path} implements '{named.Source} | {named.Text}', which tests/conformance-statements.tsv does not list.");
                marks++;
            }
        }

        Assert.True(marks > 45, $"only {marks} marks were found");
    }

    [Fact]
    public void At_least_45_rows_are_proved_by_tests_that_exist()
    {
        (string Source, string Text, string Status, string Tests)[] proved = [.. Rows().Where(r => r.Status is "proved")];
        Assert.True(proved.Length >= 45, $"{proved.Length} rows are proved.");
        string[] sources = [.. Repository.CSharp("tests/").Select(Repository.Read)];
        foreach ((string _, string text, string _, string tests) in proved)
        {
            Match[] named = Test().Matches(tests).ToArray();
            Assert.True(named.Length > 0, $"'{text}' is proved by no test.");
            foreach (Match test in named)
            {
                Assert.True(sources.Any(s => s.Contains($"class {test.Groups["class"].Value}", StringComparison.Ordinal) && s.Contains($" {test.Groups["method"].Value}(", StringComparison.Ordinal)),
                    $"'{text}' names the test {test.Value}, which does not exist.");
            }
        }
    }

    [GeneratedRegex(@"^\| (?<source>[^|]+) \| (?<text>[^|]+) \| (?<status>proved|planned) \|(?<tests>[^|]*)\|$", RegexOptions.Multiline)]
    private static partial Regex Row();

    [GeneratedRegex("""\[Implements\("(?<source>[^"]+)", "(?<text>(?:[^"\\]|\\.)+)"\)\]""")]
    private static partial Regex Mark();

    [GeneratedRegex(@"`(?<class>\w+)\.(?<method>\w+)`")]
    private static partial Regex Test();
}
