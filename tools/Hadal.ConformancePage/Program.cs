using Hadal.ConformancePage;

const string Usage = """
    usage: Hadal.ConformancePage [--write] [--partial]

    Makes docs/conformance.md from tests/conformance-statements.tsv and the test reports in artifacts/test-reports, and compares it with the page in the repository.
    Run it in the root of the repository.

      --write    replace the page
      --partial  only a part of the tests has run: rows without a report are taken from the page

    exit codes: 0 the page is true, 1 it is stale or a marked test failed, 2 wrong use.
    """;
bool write = args.Contains("--write", StringComparer.Ordinal), partial = args.Contains("--partial", StringComparer.Ordinal);
if (args.Any(a => a is not ("--write" or "--partial")))
{
    Console.Error.WriteLine(Usage);
    return 2;
}

string page = Path.Combine("docs", "conformance.md"), statements = Path.Combine("tests", "conformance-statements.tsv"), reports = Path.Combine("artifacts", "test-reports");
if (!File.Exists(statements))
{
    Console.Error.WriteLine($"There is no {statements} here; run this in the root of the repository.");
    return 2;
}

try
{
    Statement[] list = Statement.Read(File.ReadLines(statements));
    TestReport report = TestReport.Read(Directory.Exists(reports) ? Directory.EnumerateFiles(reports, "*.xml") : []);
    string old = File.Exists(page) ? File.ReadAllText(page) : "";
    Page made = Page.Make(list, report, partial ? Page.ProvedRows(old) : new Dictionary<string, string>(StringComparer.Ordinal));
    foreach (string problem in made.Problems) Console.Error.WriteLine(problem);
    if (write) File.WriteAllText(page, made.Text);
    bool stale = !write && !string.Equals(old, made.Text, StringComparison.Ordinal);
    if (stale) Console.Error.WriteLine($"{page} is stale: {Page.FirstDifference(old, made.Text)} Run every test, then Hadal.ConformancePage --write.");
    Console.WriteLine($"conformance: {made.Proved} proved, {made.Planned} planned");
    return stale || made.Problems.Count > 0 ? 1 : 0;
}
catch (Exception exception) when (exception is IOException or InvalidDataException or System.Xml.XmlException)
{
    Console.Error.WriteLine(exception.Message);
    return 1;
}
