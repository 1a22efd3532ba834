using System.Xml;
using System.Xml.Linq;

namespace Hadal.ConformancePage;

/// <summary>The tests that carry a statement, from reports in xUnit's XML; the cases of a theory are one test, which passed when all of them did.</summary>
sealed class TestReport
{
    readonly Dictionary<string, SortedDictionary<string, bool>> _tests = new(StringComparer.Ordinal);

    public IEnumerable<string> Keys => _tests.Keys;

    public static TestReport Read(IEnumerable<string> files)
    {
        var report = new TestReport();
        foreach (string file in files)
        {
            using var reader = XmlReader.Create(file, new XmlReaderSettings { DtdProcessing = DtdProcessing.Prohibit, CheckCharacters = false });
            foreach (XElement test in XDocument.Load(reader).Descendants("test"))
            {
                string result = test.Attribute("result")?.Value ?? "";
                if (result is "Skip" or "NotRun") continue;
                foreach (XElement trait in test.Elements("traits").Elements("trait").Where(t => string.Equals(t.Attribute("name")?.Value, "implements", StringComparison.Ordinal)))
                    report.Add(trait.Attribute("value")!.Value, $"{Class(test.Attribute("type")!.Value)}.{test.Attribute("method")!.Value}", string.Equals(result, "Pass", StringComparison.Ordinal));
            }
        }

        return report;
    }

    public string[] Of(string key, bool passed) =>
        _tests.TryGetValue(key, out SortedDictionary<string, bool>? tests) ? [.. tests.Where(t => t.Value == passed).Select(t => t.Key)] : [];

    void Add(string key, string test, bool passed)
    {
        if (!_tests.TryGetValue(key, out SortedDictionary<string, bool>? tests)) _tests[key] = tests = new(StringComparer.Ordinal);
        tests[test] = passed && (!tests.TryGetValue(test, out bool before) || before);
    }

    static string Class(string name) => name[(name.LastIndexOf('.') + 1)..];
}
