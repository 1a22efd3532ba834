namespace Hadal.Training.Tests;

public sealed class RunConfigurationTests
{
    [Fact]
    public void What_is_written_is_read_again()
    {
        var run = new RunConfiguration { Seed = 7, Budget = new BudgetConfiguration { Minutes = 2.5 }, Output = "x" };
        var warnings = new List<string>();
        Assert.Equal(run.ToJson(), RunConfiguration.Parse(run.ToJson(), "run.json", warnings).ToJson());
        Assert.Empty(warnings);
    }

    [Fact]
    public void Defaults_are_filled_in_and_unknown_keys_warn()
    {
        var warnings = new List<string>();
        RunConfiguration run = RunConfiguration.Parse("""{ "budget": { "steps": 5 }, /* a remark */ "data": { "sequence_lenght": 4 }, "speed": 1, }""", "run.json", warnings);
        Assert.Equal(new RunConfiguration { Budget = new BudgetConfiguration { Steps = 5 } }.ToJson(), run.ToJson());
        Assert.Collection(warnings, w => Assert.Contains("'data.sequence_lenght' is not known", w, StringComparison.Ordinal), w => Assert.Contains("'speed'", w, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("""{"optimizer": {"beta1": 1.5}}""", "'optimizer.beta1' is 1.5; expected a number from 0 to")]
    [InlineData("""{"optimizer": {"beta1": "x"}}""", "'optimizer.beta1' is \"x\"; expected a number")]
    [InlineData("""{"batch": {"rows": 0}}""", "'batch.rows' is 0; expected an integer from 1")]
    [InlineData("""{"batch": {"rows": 2.5}}""", "'batch.rows' is 2.5; expected an integer")]
    [InlineData("""{"data": {"documents": "page"}}""", "expected one of file, blank-line")]
    [InlineData("""{"data": {"sources": []}}""", "'data.sources' is empty")]
    [InlineData("""{"budget": {"steps": 5, "minutes": 1}}""", "'budget' is 2 of steps, tokens and minutes; expected exactly one")]
    [InlineData("""{"budget": {}}""", "'budget' is 0 of")]
    [InlineData("""{"model": {"preset": "nano", "config": "c.json"}}""", "both a preset and a config")]
    [InlineData("""{"learning_rate": {"constant_until": 0.9, "cosine_until": 0.5}}""", "expected ascending values")]
    [InlineData("""[1]""", "holds no object")]
    [InlineData("""{"seed": """, "is not JSON")]
    public void Impossible_values_are_refused_with_key_value_and_expectation(string json, string expected)
    {
        var exception = Assert.Throws<RunConfigurationException>(() => RunConfiguration.Parse(json, "run.json", []));
        Assert.Contains(expected, exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Paths_are_relative_to_the_file()
    {
        using var folder = new TemporaryFolder();
        string file = folder.File("run.json", """{ "data": { "sources": ["texts", "bundled:kjv"] }, "output": "out" }""");
        RunConfiguration run = RunConfiguration.Load(file, []);
        Assert.Equal([Path.Combine(folder.Path, "texts"), "bundled:kjv"], run.Data.Sources, StringComparer.Ordinal);
        Assert.Equal(Path.Combine(folder.Path, "out"), run.Output);
        Assert.Throws<RunConfigurationException>(() => RunConfiguration.Load(folder.File("none.json"), []));
    }
}
