using System.Globalization;
using System.Text;

namespace Hadal.ConformancePage;

/// <summary>One row: where it comes from and what it says.</summary>
sealed record Statement(string Source, string Text)
{
    public string Key => $"{Source} | {Text}";

    public static Statement[] Read(IEnumerable<string> lines)
    {
        var list = new List<Statement>();
        foreach (string line in lines)
        {
            if (line.Length == 0 || line.StartsWith('#')) continue;
            string[] parts = line.Split('\t');
            if (parts.Length != 2) throw new InvalidDataException($"A statement is a source, a tab and a text; found '{line}'.");
            list.Add(new Statement(parts[0].Trim(), parts[1].Trim()));
        }

        if (list.GroupBy(s => s.Key, StringComparer.Ordinal).FirstOrDefault(g => g.Count() > 1) is { } twice) throw new InvalidDataException($"A statement stands twice: {twice.Key}.");
        return [.. list];
    }
}

/// <summary>The page, and what is wrong with the reports behind it.</summary>
sealed record Page(string Text, int Proved, int Planned, IReadOnlyList<string> Problems)
{
    const string Header = "| source | statement | status | tests |";

    /// <param name="statements">All rows, in order.</param>
    /// <param name="report">What ran.</param>
    /// <param name="taken">Tests of rows (by key) that count as they stand on the page when the report has none of them.</param>
    public static Page Make(Statement[] statements, TestReport report, IReadOnlyDictionary<string, string> taken)
    {
        var problems = new List<string>();
        foreach (string unknown in report.Keys.Except(statements.Select(s => s.Key), StringComparer.Ordinal))
            problems.Add($"A test implements a statement that is not in the list: {unknown}");
        int proved = 0;
        var rows = new StringBuilder();
        foreach (Statement statement in statements)
        {
            string[] failed = report.Of(statement.Key, passed: false), passed = report.Of(statement.Key, passed: true);
            foreach (string test in failed) problems.Add($"{test} failed, which implements: {statement.Key}");
            string tests = string.Join(", ", passed.Select(t => $"`{t}`"));
            bool isProved = passed.Length > 0 && failed.Length == 0;
            if (failed.Length == 0 && taken.TryGetValue(statement.Key, out string? before) && passed.All(t => before.Contains($"`{t}`", StringComparison.Ordinal)))
                (isProved, tests) = (true, before);
            if (isProved) proved++;
            rows.Append(CultureInfo.InvariantCulture, $"| {statement.Source} | {statement.Text} | {(isProved ? "proved" : "planned")} | {(isProved ? tests : "")} |\n");
        }

        int planned = statements.Length - proved;
        string text = $"""
            # Conformance

            What the DeepSeek-V3 technical report (arXiv 2412.19437) and the public files say of the system, statement by statement, and whether a test proves it here. A row is proved by the
            tests named in it, which passed; the other rows are planned. `tests/conformance-statements.tsv` lists the statements, tests carry them as `[Implements(source, statement)]`, and this
            page is made from the test reports by `tools/Hadal.ConformancePage`; `./test.sh` fails when it is stale.

            {proved} proved, {planned} planned.

            {Header}
            |---|---|---|---|

            """.ReplaceLineEndings("\n");
        return new Page(text + rows, proved, planned, problems);
    }

    /// <summary>Tests of the proved rows of a page, by key.</summary>
    public static IReadOnlyDictionary<string, string> ProvedRows(string page)
    {
        var rows = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (string line in page.Split('\n'))
        {
            string[] cells = line.Split('|');
            if (cells.Length == 6 && string.Equals(cells[3].Trim(), "proved", StringComparison.Ordinal)) rows[$"{cells[1].Trim()} | {cells[2].Trim()}"] = cells[4].Trim();
        }

        return rows;
    }

    public static string FirstDifference(string old, string made)
    {
        string[] before = old.Split('\n'), after = made.Split('\n');
        for (int i = 0; i < Math.Max(before.Length, after.Length); i++)
        {
            string left = i < before.Length ? before[i] : "", right = i < after.Length ? after[i] : "";
            if (!string.Equals(left, right, StringComparison.Ordinal)) return $"line {i + 1} is '{left}' and would be '{right}'.";
        }

        return "nothing differs.";
    }
}
