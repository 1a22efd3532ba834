using System.Globalization;
using System.Text;

namespace Hadal.Server.Conversations;

/// <summary>A conversation as a file that other programs read.</summary>
static class Export
{
    /// <summary>The branch that is shown, as Markdown.</summary>
    public static string Markdown(ConversationView conversation)
    {
        var byId = conversation.Messages.ToDictionary(message => message.Id);
        var branch = new List<MessageView>();
        for (Guid? at = conversation.LeafId; at is { } id && byId.TryGetValue(id, out MessageView? message) && branch.Count <= byId.Count; at = message.ParentId) branch.Add(message);
        branch.Reverse();
        var text = new StringBuilder();
        text.Append("# ").Append(conversation.Title).Append("\n\n*").Append(conversation.Created.UtcDateTime.ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture)).Append(" UTC*\n");
        foreach (MessageView message in branch)
        {
            text.Append("\n## ").Append(message.Role is "user" ? "You" : message.DeepThink ? "Answer (DeepThink)" : "Answer").Append("\n\n");
            if (!string.IsNullOrEmpty(message.Reasoning))
            {
                foreach (string line in message.Reasoning.Split('\n')) text.Append("> ").Append(line).Append('\n');
                text.Append('\n');
            }

            text.Append(message.Text).Append('\n');
        }

        return text.ToString();
    }

    /// <summary>A name for the file: of the title, letters and digits only.</summary>
    public static string FileName(ConversationView conversation, string extension)
    {
        string name = string.Join('-', new string([.. conversation.Title.Select(c => char.IsAsciiLetterOrDigit(c) ? char.ToLowerInvariant(c) : ' ')]).Split(' ', StringSplitOptions.RemoveEmptyEntries));
        if (name.Length == 0) name = "conversation";
        return (name.Length > 50 ? name[..50].TrimEnd('-') : name) + "." + extension;
    }
}
