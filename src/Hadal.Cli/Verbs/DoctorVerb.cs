using System.CommandLine;
using Hadal.Cli.Diagnosis;
using Hadal.Cli.Framework;
using Spectre.Console;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal doctor</c>: what this machine has, and proof that the backends run on it.</summary>
static class DoctorVerb
{
    public static Verb Create(Context context)
    {
        Option<bool> json = Options.Json();
        var verb = new Verb("doctor", "Looks at this machine, runs every operation of every backend against its definition, and says what works.",
            "hadal doctor", "hadal doctor --json")
        {
            json,
        };
        verb.SetAction(line => Run(context, line.GetValue(json)));
        return verb;
    }

    static int Run(Context context, bool json)
    {
        Check[] checks = [.. Doctor.Examine(context.Cancellation)];
        bool healthy = checks.All(check => check.State != CheckState.Bad);
        if (json) WriteJson(context.Terminal, checks, healthy);
        else WriteTable(context.Terminal, checks, healthy);
        return healthy ? ExitCode.Fine : ExitCode.Failed;
    }

    static void WriteJson(Terminal terminal, Check[] checks, bool healthy) => terminal.WriteJson(json =>
    {
        json.WriteBoolean("healthy", healthy);
        json.WriteStartArray("checks");
        foreach (Check check in checks)
        {
            json.WriteStartObject();
            json.WriteString("name", check.Name);
            json.WriteString("state", Word(check.State));
            json.WriteString("detail", check.Detail);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    });

    static void WriteTable(Terminal terminal, Check[] checks, bool healthy)
    {
        Table table = new Table().Border(TableBorder.None).HideHeaders().AddColumn("").AddColumn("").AddColumn("");
        foreach (Check check in checks)
            table.AddRow(new Markup($"[{Colour(check.State)}]{Word(check.State)}[/]"), Terminal.Plain(check.Name), Terminal.Plain(check.Detail));
        terminal.Screen.Write(table);
        terminal.Screen.WriteLine(healthy ? "Everything that was tried works." : "Something does not work: see the lines marked bad.");
    }

    static string Word(CheckState state) => state switch
    {
        CheckState.Note => "note",
        CheckState.Good => "good",
        CheckState.Warning => "warning",
        _ => "bad",
    };

    static string Colour(CheckState state) => state switch
    {
        CheckState.Note => "grey",
        CheckState.Good => "green",
        CheckState.Warning => "yellow",
        _ => "red",
    };
}
