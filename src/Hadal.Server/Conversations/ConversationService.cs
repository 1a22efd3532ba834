using System.Security.Cryptography;
using System.Text.RegularExpressions;
using Hadal.Inference.Serving;
using Hadal.Server.Database;
using Hadal.Server.Web;
using Microsoft.EntityFrameworkCore;

namespace Hadal.Server.Conversations;

/// <summary>The conversations of one person. What is another's is as absent as what never was.</summary>
sealed partial class ConversationService(HadalDatabase database, AnswerService answers, ChatEngines engines, TimeProvider clock)
{
    const int ExcerptRadius = 48;

    /// <summary>A page of the list, newest first; with a search, those whose title or text holds every word of it.</summary>
    /// <param name="before">Continues after a page: its <see cref="ConversationPage.Next"/>.</param>
    public async Task<ConversationPage> ListAsync(Guid personId, string? search, long? before, CancellationToken cancellationToken)
    {
        IQueryable<Conversation> query = database.Conversations.AsNoTracking().Where(conversation => conversation.PersonId == personId);
        string sought = StoredText.Clean(StoredText.Clean(search).Trim().ToLowerInvariant(), ConversationLimits.LongestSearch);
        string[] words = sought.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        foreach (string word in words)
        {
            query = query.Where(conversation => conversation.Title.ToLower().Contains(word)
                || database.Messages.Any(message => message.ConversationId == conversation.Id && message.Text.ToLower().Contains(word)));
        }

        if (before is { } time)
        {
            DateTimeOffset limit = DateTimeOffset.FromUnixTimeMilliseconds(Math.Clamp(time, 0, 253_402_300_799_999));
            query = query.Where(conversation => conversation.Updated < limit);
        }

        List<Conversation> found = await query.OrderByDescending(conversation => conversation.Updated).Take(ConversationLimits.PageSize + 1).ToListAsync(cancellationToken);
        long? next = found.Count > ConversationLimits.PageSize ? found[ConversationLimits.PageSize - 1].Updated.ToUnixTimeMilliseconds() : null;
        if (next is not null) found.RemoveAt(found.Count - 1);
        Dictionary<Guid, string> excerpts = words.Length > 0 ? await ExcerptsAsync(found, words[0], cancellationToken) : [];
        return new ConversationPage([.. found.Select(conversation => new ConversationSummary(conversation.Id, conversation.Title, conversation.Created, conversation.Updated,
            excerpts.GetValueOrDefault(conversation.Id)))], next);
    }

    /// <summary>One conversation, whole.</summary>
    public async Task<ConversationView> GetAsync(Guid personId, Guid id, CancellationToken cancellationToken)
    {
        Conversation conversation = await FindAsync(personId, id, cancellationToken);
        return View(conversation, await MessagesAsync(id, cancellationToken));
    }

    /// <summary>Says something: at the end of a new conversation (<paramref name="id"/> null) or after the message <paramref name="parentId"/>.</summary>
    public async Task<ConversationView> SendAsync(Guid personId, Guid? id, Guid? parentId, string? text, bool deepThink, CancellationToken cancellationToken)
    {
        text = Text(text);
        DateTimeOffset now = clock.GetUtcNow();
        Conversation conversation;
        List<Message> messages;
        if (id is { } known)
        {
            conversation = await FindAsync(personId, known, cancellationToken);
            messages = await MessagesAsync(known, cancellationToken);
        }
        else
        {
            conversation = new Conversation { Id = Guid.CreateVersion7(), PersonId = personId, Title = TitleOf(text), Created = now };
            messages = [];
            parentId = null;
        }

        if (messages.Count > 0)
        {
            Message? parent = messages.Find(message => message.Id == parentId);
            if (parent is not { Role: MessageRole.Assistant }) throw new AppException(StatusCode.Conflict, "This conversation was continued elsewhere. Reload it.");
        }
        else
        {
            parentId = null;
        }

        Message question = Question(conversation.Id, parentId, text, deepThink);
        if (id is null) database.Conversations.Add(conversation);
        return await AnswerAsync(conversation, messages, question, question.Id, deepThink, cancellationToken);
    }

    /// <summary>Says a question in other words: a version beside the one before.</summary>
    public async Task<ConversationView> EditAsync(Guid personId, Guid id, Guid messageId, string? text, bool deepThink, CancellationToken cancellationToken)
    {
        text = Text(text);
        Conversation conversation = await FindAsync(personId, id, cancellationToken);
        List<Message> messages = await MessagesAsync(id, cancellationToken);
        Message before = messages.Find(message => message.Id == messageId && message.Role == MessageRole.User) ?? throw AppException.NotFound("message");
        Message question = Question(id, before.ParentId, text, deepThink);
        return await AnswerAsync(conversation, messages, question, question.Id, deepThink, cancellationToken);
    }

    /// <summary>Writes an answer again: a version beside the one before.</summary>
    public async Task<ConversationView> RegenerateAsync(Guid personId, Guid id, Guid messageId, bool deepThink, CancellationToken cancellationToken)
    {
        Conversation conversation = await FindAsync(personId, id, cancellationToken);
        List<Message> messages = await MessagesAsync(id, cancellationToken);
        Message before = messages.Find(message => message.Id == messageId && message.Role == MessageRole.Assistant) ?? throw AppException.NotFound("answer");
        return await AnswerAsync(conversation, messages, question: null, before.ParentId!.Value, deepThink, cancellationToken);
    }

    /// <summary>Shows another version: from it down to the newest message of its branch.</summary>
    public async Task<ConversationView> SelectAsync(Guid personId, Guid id, Guid messageId, CancellationToken cancellationToken)
    {
        Conversation conversation = await FindAsync(personId, id, cancellationToken);
        List<Message> messages = await MessagesAsync(id, cancellationToken);
        if (messages.TrueForAll(message => message.Id != messageId)) throw AppException.NotFound("message");
        Guid leaf = messageId;
        while (messages.FindLast(message => message.ParentId == leaf) is { } child) leaf = child.Id;
        conversation.LeafId = leaf;
        await SaveAsync(conversation, cancellationToken);
        return View(conversation, messages);
    }

    /// <summary>Stops the answer that is being written; what there is of it stays.</summary>
    public async Task StopAsync(Guid personId, Guid id, Guid messageId, CancellationToken cancellationToken)
    {
        await FindAsync(personId, id, cancellationToken);
        if (answers.Find(messageId) is not { } answer || answer.ConversationId != id) return; // it has ended already
        answer.Stop();
        try
        {
            await answer.Completion.Task.WaitAsync(TimeSpan.FromSeconds(10), cancellationToken);
        }
        catch (TimeoutException)
        {
            // It ends as soon as the engine and the database let it; whoever reads it hears of the end.
        }
    }

    /// <summary>Gives a conversation another title.</summary>
    public async Task RenameAsync(Guid personId, Guid id, string? title, CancellationToken cancellationToken)
    {
        Conversation conversation = await FindAsync(personId, id, cancellationToken);
        string clean = Spaces().Replace(StoredText.Clean(title), " ").Trim();
        if (clean.Length is 0 or > ConversationLimits.LongestTitle) throw new AppException(StatusCode.BadRequest, $"A title has 1 to {ConversationLimits.LongestTitle} characters.", "title");
        conversation.Title = clean;
        await SaveAsync(conversation, cancellationToken);
    }

    /// <summary>Deletes a conversation.</summary>
    public async Task DeleteAsync(Guid personId, Guid id, CancellationToken cancellationToken)
    {
        await FindAsync(personId, id, cancellationToken);
        answers.StopAll(answer => answer.ConversationId == id);
        await database.Messages.Where(message => message.ConversationId == id).ExecuteDeleteAsync(cancellationToken);
        await database.Conversations.Where(conversation => conversation.Id == id).ExecuteDeleteAsync(cancellationToken);
        answers.StopAll(answer => answer.ConversationId == id); // one that was begun in the meantime
    }

    /// <summary>Deletes every conversation of a person.</summary>
    public async Task DeleteAllAsync(Guid personId, CancellationToken cancellationToken)
    {
        answers.StopAll(answer => answer.PersonId == personId);
        await database.Messages.Where(message => database.Conversations.Any(conversation => conversation.Id == message.ConversationId && conversation.PersonId == personId)).ExecuteDeleteAsync(cancellationToken);
        await database.Conversations.Where(conversation => conversation.PersonId == personId).ExecuteDeleteAsync(cancellationToken);
    }

    /// <summary>Everything of a person, for the export of an account.</summary>
    public async Task<List<ConversationView>> ExportAllAsync(Guid personId, CancellationToken cancellationToken)
    {
        var views = new List<ConversationView>();
        foreach (Conversation conversation in await database.Conversations.AsNoTracking().Where(conversation => conversation.PersonId == personId).OrderBy(conversation => conversation.Created).ToListAsync(cancellationToken))
            views.Add(View(conversation, await MessagesAsync(conversation.Id, cancellationToken)));
        return views;
    }

    /// <summary>The message as it is kept, if it is this person's.</summary>
    public async Task<MessageView> MessageAsync(Guid personId, Guid id, Guid messageId, CancellationToken cancellationToken)
    {
        await FindAsync(personId, id, cancellationToken);
        Message message = await database.Messages.AsNoTracking().SingleOrDefaultAsync(row => row.Id == messageId && row.ConversationId == id, cancellationToken) ?? throw AppException.NotFound("message");
        return MessageView.Of(message);
    }

    async Task<ConversationView> AnswerAsync(Conversation conversation, List<Message> messages, Message? question, Guid parentId, bool deepThink, CancellationToken cancellationToken)
    {
        if (messages.Count >= ConversationLimits.MostMessages) throw new AppException(StatusCode.Conflict, "This conversation is as long as one can be. Begin a new one.");
        if (question is not null) messages.Add(question);
        ServedModel model = engines.For(deepThink).Model;
        List<Message> branch = Branch(messages, parentId);
        ChatPrompt prompt = PromptBuilder.Build(model, branch, deepThink, out int needed)
            ?? throw new AppException(StatusCode.BadRequest, $"This message is too long for the model: {needed} tokens, and it can read {model.MaxPositions - 1}. Shorten it.", "text");
        DateTimeOffset now = clock.GetUtcNow();
        var message = new Message
        {
            Id = Guid.CreateVersion7(),
            ConversationId = conversation.Id,
            ParentId = parentId,
            Role = MessageRole.Assistant,
            DeepThink = deepThink,
            State = MessageState.Running,
            Model = model.Name,
            Seed = BitConverter.ToInt64(RandomNumberGenerator.GetBytes(8)),
            IsTrimmed = prompt.IsTrimmed,
            PromptTokens = prompt.Tokens.Length,
            Created = now,
        };
        RunningAnswer answer = answers.Reserve(conversation.PersonId, conversation.Id, message.Id);
        try
        {
            conversation.LeafId = message.Id;
            conversation.Updated = now;
            if (question is not null) database.Messages.Add(question);
            database.Messages.Add(message);
            await SaveAsync(conversation, cancellationToken);
            database.Entry(message).State = EntityState.Detached; // from here on it belongs to its writer
        }
        catch
        {
            answers.Release(answer);
            throw;
        }

        messages.Add(message);
        ConversationView view = View(conversation, messages);
        answers.Begin(answer, message, prompt);
        return view;
    }

    async Task<Conversation> FindAsync(Guid personId, Guid id, CancellationToken cancellationToken) =>
        await database.Conversations.SingleOrDefaultAsync(conversation => conversation.Id == id && conversation.PersonId == personId, cancellationToken)
        ?? throw AppException.NotFound("conversation");

    // Other windows may delete the conversation, or the account, between the reading and the writing.
    async Task SaveAsync(Conversation conversation, CancellationToken cancellationToken)
    {
        bool isNew = database.Entry(conversation).State == EntityState.Added;
        try
        {
            await database.SaveChangesAsync(cancellationToken);
        }
        catch (DbUpdateException)
        {
            bool isThere = isNew
                ? await database.Users.AnyAsync(person => person.Id == conversation.PersonId, cancellationToken)
                : await database.Conversations.AnyAsync(row => row.Id == conversation.Id, cancellationToken);
            if (isThere) throw;
            throw AppException.NotFound(isNew ? "account" : "conversation");
        }
    }

    // Identifiers are made in order of time: this is the order of versions as well.
    async Task<List<Message>> MessagesAsync(Guid conversationId, CancellationToken cancellationToken)
    {
        List<Message> messages = await database.Messages.AsNoTracking().Where(message => message.ConversationId == conversationId).ToListAsync(cancellationToken);
        messages.Sort((a, b) => a.Created != b.Created ? a.Created.CompareTo(b.Created) : a.Role != b.Role ? a.Role.CompareTo(b.Role) : a.Id.CompareTo(b.Id));
        return messages;
    }

    async Task<Dictionary<Guid, string>> ExcerptsAsync(List<Conversation> found, string word, CancellationToken cancellationToken)
    {
        Guid[] ids = [.. found.Select(conversation => conversation.Id)];
        var texts = await database.Messages.AsNoTracking().Where(message => ids.Contains(message.ConversationId) && message.Text.ToLower().Contains(word))
            .OrderBy(message => message.Created).Select(message => new { message.ConversationId, message.Text }).Take(400).ToListAsync(cancellationToken);
        var excerpts = new Dictionary<Guid, string>();
        foreach (var text in texts) excerpts.TryAdd(text.ConversationId, Excerpt(text.Text, word));
        return excerpts;
    }

    static string Excerpt(string text, string word)
    {
        string flat = Spaces().Replace(text, " ");
        int at = Math.Max(0, flat.ToLowerInvariant().IndexOf(word, StringComparison.Ordinal));
        int start = Math.Max(0, at - ExcerptRadius), end = Math.Min(flat.Length, at + word.Length + ExcerptRadius);
        if (start > 0 && char.IsLowSurrogate(flat[start])) start--;
        if (end < flat.Length && char.IsLowSurrogate(flat[end])) end++;
        return (start > 0 ? "…" : "") + flat[start..end].Trim() + (end < flat.Length ? "…" : "");
    }

    Message Question(Guid conversationId, Guid? parentId, string text, bool deepThink) => new()
    {
        Id = Guid.CreateVersion7(),
        ConversationId = conversationId,
        ParentId = parentId,
        Role = MessageRole.User,
        Text = text,
        DeepThink = deepThink,
        State = MessageState.Complete,
        Created = clock.GetUtcNow(),
    };

    internal static List<Message> Branch(List<Message> messages, Guid leaf)
    {
        Dictionary<Guid, Message> byId = messages.ToDictionary(message => message.Id);
        var branch = new List<Message>();
        for (Guid? at = leaf; at is { } id && byId.TryGetValue(id, out Message? message) && branch.Count <= messages.Count; at = message.ParentId) branch.Add(message);
        branch.Reverse();
        return branch;
    }

    /// <summary>The beginning of the first question, cut between words.</summary>
    internal static string TitleOf(string text)
    {
        const int longest = 60;
        string flat = Spaces().Replace(text, " ").Trim();
        if (flat.Length <= longest) return flat;
        int cut = flat.LastIndexOf(' ', longest);
        if (cut < longest / 2) cut = char.IsLowSurrogate(flat[longest]) ? longest - 1 : longest;
        return flat[..cut].TrimEnd(' ', ',', ';', ':', '.') + "…";
    }

    static string Text(string? text)
    {
        string clean = StoredText.Clean(text).Replace("\r\n", "\n", StringComparison.Ordinal).Trim();
        if (clean.Length == 0) throw new AppException(StatusCode.BadRequest, "Write something first.", "text");
        return clean.Length <= ConversationLimits.LongestText ? clean : throw new AppException(StatusCode.BadRequest, $"A message can have up to {ConversationLimits.LongestText} characters; this one has {clean.Length}.", "text");
    }

    static ConversationView View(Conversation conversation, List<Message> messages) =>
        new(conversation.Id, conversation.Title, conversation.Created, conversation.Updated, conversation.LeafId, [.. messages.Select(MessageView.Of)]);

    [GeneratedRegex(@"\s+")]
    private static partial Regex Spaces();
}
