#if SERVER
using System.CommandLine;
using Hadal.Cli.Framework;
using Hadal.Server.Accounts;
using Hadal.Training;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal serve outbox</c>: the mail of a server that has no mail server.</summary>
static class ServeOutboxVerb
{
    public static Verb Create(Context context)
    {
        Option<string> home = new("--home") { Description = "Folder of the server's state; HADAL_HOME when it is left out." };
        Option<int> count = Options.Integer("--last", "Show at most this many, the newest last.", 5, 1);
        Option<bool> json = new("--json") { Description = "One JSON object on standard output." };
        var verb = new Verb("outbox", "Shows the codes that a server without a mail server would have mailed. Only who may read the server's folder sees them.",
            "hadal serve outbox", "hadal serve outbox --last 1 --json")
        {
            home, count, json,
        };
        verb.SetAction(line =>
        {
            string folder = line.GetValue(home) ?? HadalHome.Folder;
            OutboxMail[] mails = [.. Outbox.Read(folder).TakeLast(line.GetValue(count))];
            if (line.GetValue(json))
            {
                context.Terminal.WriteJson(writer =>
                {
                    writer.WriteStartArray("mails");
                    foreach (OutboxMail mail in mails)
                    {
                        writer.WriteStartObject();
                        writer.WriteString("time", mail.Time);
                        writer.WriteString("recipient", mail.Recipient);
                        writer.WriteString("subject", mail.Subject);
                        writer.WriteString("body", mail.Body);
                        writer.WriteEndObject();
                    }

                    writer.WriteEndArray();
                });
                return ExitCode.Fine;
            }

            if (mails.Length == 0) context.Terminal.Error.WriteLine($"The outbox {Outbox.File(folder)} is empty.");
            foreach (OutboxMail mail in mails)
                context.Terminal.Output.WriteLine($"{mail.Time.ToLocalTime():yyyy-MM-dd HH:mm:ss}  {mail.Recipient}\n  {mail.Subject}\n");
            return ExitCode.Fine;
        });
        return verb;
    }
}
#endif
