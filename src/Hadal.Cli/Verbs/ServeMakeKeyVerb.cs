#if SERVER
using System.CommandLine;
using Hadal.Cli.Framework;
using Hadal.Server.Keys;
using Hadal.Training;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal serve make-key</c>: a key of the host, with limits if wanted.</summary>
static class ServeMakeKeyVerb
{
    public static Verb Create(Context context)
    {
        Argument<string> name = new("NAME") { Description = "What you will know it by." };
        Option<int?> perMinute = Options.OptionalInteger("--requests-per-minute", "Most requests in a minute; without it as many as there are.", 1);
        Option<int?> perDay = Options.OptionalInteger("--tokens-per-day", "Most tokens, read and written, in a day of UTC; without it as many as there are.", 1);
        Option<string?> home = Options.Text("--home", "DIR", "Folder of the server's state; HADAL_HOME when it is left out.");
        Option<string?> database = Options.Text("--database", "CONNECTION", "PostgreSQL's connection string, as the server has it; HADAL_DATABASE when it is left out.");
        var verb = new Verb("make-key", "Makes an API key and prints it once; only its hash is kept. It counts at once; the server may be running.",
            "hadal serve make-key laptop", "hadal serve make-key students --requests-per-minute 20 --tokens-per-day 100000")
        {
            name, perMinute, perDay, home, database,
        };
        verb.SetAction(line =>
        {
            string secret = HostKeys.MakeAsync(line.GetValue(home) ?? HadalHome.Folder, line.GetValue(database) ?? Environment.GetEnvironmentVariable("HADAL_DATABASE"),
                line.GetRequiredValue(name), line.GetValue(perMinute), line.GetValue(perDay), context.Cancellation).GetAwaiter().GetResult();
            context.Terminal.Output.WriteLine(secret);
            return ExitCode.Fine;
        });
        return verb;
    }
}
#endif
