using Hadal.Cli.Framework;

namespace Hadal.Cli.Tests;

/// <summary>Help, examples and wrong use, for every verb there is.</summary>
public sealed class HelpTests
{
    static Verb[] Verbs()
    {
        using var interruption = new Interruption();
        return [.. CommandLine.Create(new Context(new Terminal(), interruption)).Subcommands.OfType<Verb>().SelectMany(verb => verb.WithInner())];
    }

    static string[] Path(Verb verb)
    {
        var names = new Stack<string>();
        for (System.CommandLine.Symbol? at = verb; at is Verb step; at = step.Parents.FirstOrDefault()) names.Push(step.Name);
        return [.. names];
    }

    public static TheoryData<string> Lines()
    {
        var data = new TheoryData<string>();
        foreach (Verb verb in Verbs()) data.Add(string.Join(' ', Path(verb)));
        return data;
    }

    [Theory]
    [MemberData(nameof(Lines))]
    public void Help_shows_usage_examples_and_exit_codes(string line)
    {
        Outcome outcome = HadalProcess.Inside([.. line.Split(' '), "--help"]);
        Assert.True(outcome.Code == 0, outcome.ToString());
        Assert.Contains($"hadal {line}", outcome.Output, StringComparison.Ordinal);
        Assert.Contains("Example", outcome.Output, StringComparison.Ordinal);
        Assert.Contains("130 interrupted", outcome.Output, StringComparison.Ordinal);
        Assert.Empty(outcome.Error);

        // Each default once, and no record of the program's inside.
        Assert.All(outcome.Output.Split('\n'), one => Assert.InRange(one.Split("[default:").Length, 1, 2));
        Assert.DoesNotContain(" { ", outcome.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Every_example_is_a_command_line_that_the_parser_takes()
    {
        using var interruption = new Interruption();
        System.CommandLine.RootCommand root = CommandLine.Create(new Context(new Terminal(), interruption));
        foreach (Verb verb in Verbs())
        {
            Assert.NotEmpty(verb.Examples);
            foreach (string example in verb.Examples)
            {
                string[] words = [.. System.CommandLine.Parsing.CommandLineParser.SplitCommandLine(example.Split(" | ")[^1].Split(" > ")[0].Split(" < ")[0])];
                if (words[0] is "mpirun") words = [.. words.SkipWhile(word => word is not "hadal")]; // processes that a launcher starts
                Assert.Equal("hadal", words[0]);
                System.CommandLine.ParseResult parsed = root.Parse(words[1..]);
                Assert.True(parsed.Errors.Count == 0, $"{example}: {string.Join("; ", parsed.Errors.Select(error => error.Message))}");
            }
        }
    }

    [Theory]
    [MemberData(nameof(Lines))]
    public void An_unknown_option_is_wrong_use(string line)
    {
        Outcome outcome = HadalProcess.Inside([.. line.Split(' '), "--no-such-option"]);
        Assert.True(outcome.Code == 2, outcome.ToString());
        Assert.Empty(outcome.Output);
        Assert.StartsWith($"hadal {line}: error: ", outcome.Error, StringComparison.Ordinal);
        Assert.Contains("to fix:", outcome.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", outcome.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void No_verb_and_an_unknown_verb_are_wrong_use()
    {
        Assert.Equal(2, HadalProcess.Run().Code);
        Outcome outcome = HadalProcess.Run("fly");
        Assert.Equal(2, outcome.Code);
        Assert.Contains("hadal --help", outcome.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void The_root_lists_every_verb()
    {
        Outcome outcome = HadalProcess.Run("--help");
        Assert.Equal(0, outcome.Code);
        foreach (string line in Verbs().Select(verb => Path(verb)[0]).Distinct(StringComparer.Ordinal))
            Assert.Contains("  " + line, outcome.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void A_pipe_gets_no_colour()
    {
        Outcome outcome = HadalProcess.Run("inspect", "memory", "--preset", "tiny");
        Assert.True(outcome.Code == 0, outcome.ToString());
        Assert.NotEmpty(outcome.Output);
        Assert.DoesNotContain('\u001b', outcome.Output);
    }

    [Fact]
    public void Doctor_speaks_json()
    {
        Outcome outcome = HadalProcess.Inside("doctor", "--json");
        using var json = System.Text.Json.JsonDocument.Parse(outcome.Output);
        Assert.True(json.RootElement.GetProperty("healthy").GetBoolean(), outcome.ToString());
        Assert.Contains(json.RootElement.GetProperty("checks").EnumerateArray(), check => check.GetProperty("name").GetString() is "vectors");
    }
}
