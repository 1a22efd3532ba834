#if SERVER
using System.CommandLine;
using Hadal.Cli.Framework;
using Hadal.Server.Accounts;
using Hadal.Training;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal serve grant-operator EMAIL</c>: the only way to operator's rights.</summary>
static class ServeGrantOperatorVerb
{
    public static Verb Create(Context context)
    {
        Argument<string> email = new("EMAIL") { Description = "Address of an account." };
        Option<string> home = new("--home") { Description = "Folder of the server's state; HADAL_HOME when it is left out." };
        Option<string> database = new("--database") { Description = "PostgreSQL's connection string, as the server has it; HADAL_DATABASE when it is left out." };
        Option<bool> revoke = new("--revoke") { Description = "Takes the right back." };
        var verb = new Verb("grant-operator", "Lets a person see the operator's page: load, cache, experts, queue. It counts at once; the server may be running.",
            "hadal serve grant-operator ada@example.org", "hadal serve grant-operator ada@example.org --revoke")
        {
            email, home, database, revoke,
        };
        verb.SetAction(line => RunAsync(context, line.GetRequiredValue(email), line.GetValue(home) ?? HadalHome.Folder,
            line.GetValue(database) ?? Environment.GetEnvironmentVariable("HADAL_DATABASE"), !line.GetValue(revoke), context.Cancellation).GetAwaiter().GetResult());
        return verb;
    }

    static async Task<int> RunAsync(Context context, string email, string home, string? database, bool granted, CancellationToken cancellation)
    {
        if (!await Operators.SetAsync(home, database, email, granted, cancellation))
            throw CommandError.Failed($"Nobody has an account with the address {email}.", "the address of an account of this server", "sign up in the web app first, or name the server's folder with --home (or its --database)");
        context.Terminal.Error.WriteLine(granted ? $"{email} is an operator now." : $"{email} is no operator any more.");
        return ExitCode.Fine;
    }
}
#endif
