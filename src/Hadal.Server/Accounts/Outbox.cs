using System.Text.Json;
using Hadal.Server.Database;

namespace Hadal.Server.Accounts;

/// <summary>One mail that lies in the outbox.</summary>
/// <param name="Time">When it was written.</param>
/// <param name="Recipient">For whom.</param>
/// <param name="Subject">What about.</param>
/// <param name="Body">Its text, with the code.</param>
public sealed record OutboxMail(DateTimeOffset Time, string Recipient, string Subject, string Body);

/// <summary>Mail of a server without a mail server: a file that only the account that runs the server can read.</summary>
public static class Outbox
{
    const int Most = 200;
    static readonly Lock Gate = new();

    /// <summary>Where it lies below the folder of the server's state.</summary>
    public static string File(string home) => Path.Combine(home, "outbox.jsonl");

    /// <summary>What lies in it, oldest first; at most the last 200.</summary>
    /// <exception cref="InvalidDataException">A line of the file is none of ours.</exception>
    public static IReadOnlyList<OutboxMail> Read(string home)
    {
        string file = File(home);
        if (!System.IO.File.Exists(file)) return [];
        var mails = new List<OutboxMail>();
        foreach (string line in System.IO.File.ReadLines(file))
        {
            if (line.Length == 0) continue;
            try
            {
                mails.Add(JsonSerializer.Deserialize<OutboxMail>(line) ?? throw new JsonException("null"));
            }
            catch (JsonException exception)
            {
                throw new InvalidDataException($"The outbox {file} holds a line that is no mail ({exception.Message}); delete the file, codes can be sent again.", exception);
            }
        }

        return mails;
    }

    internal static void Add(string home, OutgoingMail mail)
    {
        string line = JsonSerializer.Serialize(new OutboxMail(DateTimeOffset.UtcNow, mail.Recipient, mail.Subject, mail.Body)) + "\n";
        lock (Gate)
        {
            string file = File(home);
            string[] lines = System.IO.File.Exists(file) ? System.IO.File.ReadAllLines(file) : [];
            if (lines.Length >= Most) PrivateFiles.Write(file, string.Join('\n', lines[^(Most / 2)..]) + "\n" + line);
            else PrivateFiles.Append(file, line);
        }
    }

    /// <summary>Removes all mail to an address; lines that are no mail stay.</summary>
    internal static void Remove(string home, string recipient)
    {
        lock (Gate)
        {
            string file = File(home);
            if (!System.IO.File.Exists(file)) return;
            string[] lines = System.IO.File.ReadAllLines(file), kept = [.. lines.Where(line => !IsTo(line, recipient))];
            if (kept.Length < lines.Length) PrivateFiles.Write(file, string.Concat(kept.Select(line => line + "\n")));
        }
    }

    static bool IsTo(string line, string recipient)
    {
        try
        {
            return JsonSerializer.Deserialize<OutboxMail>(line) is OutboxMail mail && string.Equals(mail.Recipient, recipient, StringComparison.OrdinalIgnoreCase);
        }
        catch (JsonException)
        {
            return false;
        }
    }
}
