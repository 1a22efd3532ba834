using System.Net;
using System.Text.Json;

namespace Hadal.Server.Tests.Chat;

/// <summary>Conversations over HTTP, with an engine whose words and pace the test sets.</summary>
public class ConversationTests : IAsyncLifetime
{
    readonly ScriptedEngine _engine = new();
    ChatHost _host = null!;
    ChatBrowser _me = null!;

    /// <summary>Connection string of the database; null for the file.</summary>
    protected virtual string? Database => null;

    public async ValueTask InitializeAsync()
    {
        _host = await StartAsync(_engine);
        _me = await _host.SignUpAsync("me@example.org");
    }

    public async ValueTask DisposeAsync()
    {
        _me.Dispose();
        await _host.DisposeAsync();
        GC.SuppressFinalize(this);
    }

    [Fact]
    public async Task Both_modes_are_answered_in_their_templates_without_earlier_thoughts()
    {
        Talk talk = await SayAsync(null, "What is 17 + 25?", deepThink: true);
        JsonElement answer = await talk.EndAsync();
        Assert.Equal("The answer is 42.", answer.GetProperty("text").GetString());
        Assert.Equal("Let me think.", answer.GetProperty("reasoning").GetString());
        Assert.True(answer.GetProperty("reasoningMilliseconds").GetInt64() >= 0);
        Assert.Equal("complete", answer.GetProperty("state").GetString());
        talk = await SayAsync(talk, "Thank you", deepThink: false);
        await talk.EndAsync();
        string[] prompts = [.. _engine.Prompts];
        Assert.Equal("<｜begin▁of▁sentence｜><｜User｜>What is 17 + 25?<｜Assistant｜><think>\n", prompts[0]);
        Assert.Equal("<｜begin▁of▁sentence｜><｜User｜>What is 17 + 25?<｜Assistant｜>The answer is 42.<｜end▁of▁sentence｜><｜User｜>Thank you<｜Assistant｜>", prompts[1]);
        Assert.All(_engine.Requests, request => Assert.Equal(0.6, request.Sampling.Temperature));
        Assert.Single(_engine.Requests.Select(request => request.Owner).Distinct(StringComparer.Ordinal));
        JsonElement kept = await _me.GetAsync($"/app/conversations/{talk.Id}");
        Assert.Equal([true, true, false, false], kept.GetProperty("messages").EnumerateArray().Select(message => message.GetProperty("deepThink").GetBoolean()));
        Assert.Equal("What is 17 + 25?", kept.GetProperty("title").GetString());
    }

    [Fact]
    public async Task An_answer_goes_on_without_its_reader_and_is_resumed_where_it_was_left()
    {
        _engine.IsHeld = true;
        Talk talk = await SayAsync(null, "A long question", deepThink: false);
        _engine.Allow(4);
        List<(int Next, JsonElement Happened)> first = await _me.EventsAsync(talk.Events, untilText: true); // then the line is cut
        string before = Text(first);
        Assert.NotEmpty(before);
        _engine.Allow(1000);
        JsonElement answer = await talk.EndAsync();
        List<(int Next, JsonElement Happened)> rest = await _me.EventsAsync($"{talk.Events}?from={first[^1].Next}");
        Assert.Equal(answer.GetProperty("text").GetString(), before + Text(rest));
        Assert.Equal("done", rest[^1].Happened.GetProperty("kind").GetString());

        // Two pages read the same.
        Assert.Equal(answer.GetProperty("text").GetString(), Text(await _me.EventsAsync(talk.Events)));
    }

    [Fact]
    public async Task Stopping_keeps_what_was_said_and_cancels_the_engine()
    {
        _engine.IsHeld = true;
        Talk talk = await SayAsync(null, "A long question", deepThink: false);
        _engine.Allow(4);
        await _me.EventsAsync(talk.Events, untilText: true);
        await _me.PostAsync($"{talk.Message}/stop", new { });
        await _engine.CancelledAsync(1);
        JsonElement answer = await talk.EndAsync();
        Assert.Equal("stopped", answer.GetProperty("state").GetString());
        Assert.NotEmpty(answer.GetProperty("text").GetString()!);
        await _me.PostAsync($"{talk.Message}/stop", new { }); // once more is no error
    }

    [Fact]
    public async Task Regenerating_and_editing_make_versions_between_which_one_switches()
    {
        Talk talk = await SayAsync(null, "First question", deepThink: false);
        await talk.EndAsync();
        _engine.Reply = _ => "Another answer.";
        JsonElement view = await _me.PostAsync($"{talk.Message}/regenerate", new { deepThink = true });
        Talk second = new(this, view);
        await second.EndAsync();
        Guid question = view.GetProperty("messages")[0].GetProperty("id").GetGuid();
        Assert.All(view.GetProperty("messages").EnumerateArray().Skip(1), message => Assert.Equal(question, message.GetProperty("parentId").GetGuid()));

        view = await _me.PostAsync($"/app/conversations/{talk.Id}/messages/{question}/edit", new { text = "Edited question", deepThink = false });
        await new Talk(this, view).EndAsync();
        Assert.Equal(5, view.GetProperty("messages").GetArrayLength());
        Assert.Equal(2, view.GetProperty("messages").EnumerateArray().Count(message => message.GetProperty("parentId").ValueKind == JsonValueKind.Null));
        Assert.DoesNotContain("First question", _engine.Prompts.Last(), StringComparison.Ordinal);

        view = await _me.SendAsync(HttpMethod.Put, $"/app/conversations/{talk.Id}/leaf", new { messageId = question });
        Assert.Equal(second.Leaf, view.GetProperty("leafId").GetGuid());
        view = await _me.SendAsync(HttpMethod.Put, $"/app/conversations/{talk.Id}/leaf", new { messageId = talk.Leaf });
        Assert.Equal(talk.Leaf, view.GetProperty("leafId").GetGuid());

        // What is said next belongs to the branch that is shown.
        await (await SayAsync(talk, "And then?", deepThink: false)).EndAsync();
        Assert.Contains("First question", _engine.Prompts.Last(), StringComparison.Ordinal);
        Assert.Contains("The answer is 42.", _engine.Prompts.Last(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Conversations_are_searched_renamed_exported_and_deleted()
    {
        Talk one = await SayAsync(null, "Über den Äther", deepThink: true), two;
        await one.EndAsync();
        two = await SayAsync(null, "Something else 100%", deepThink: false);
        await two.EndAsync();
        Assert.Equal([two.Id, one.Id], await ListAsync(""));
        Assert.Equal([one.Id], await ListAsync("äTHER über"));
        Assert.Equal([two.Id], await ListAsync("100%"));
        Assert.Empty(await ListAsync("_____"));
        Assert.Equal([two.Id, one.Id], await ListAsync("answer"));
        Assert.Contains("answer is 42", (await _me.GetAsync("/app/conversations?search=answer")).GetProperty("conversations")[0].GetProperty("excerpt").GetString()!, StringComparison.Ordinal);

        await _me.SendAsync(HttpMethod.Patch, $"/app/conversations/{one.Id}", new { title = " Ether \n theory " });
        Assert.Equal("title", (await _me.RefusedAsync(HttpMethod.Patch, $"/app/conversations/{one.Id}", new { title = " " })).Field);
        string markdown = await _me.Client.GetStringAsync($"/app/conversations/{one.Id}/export?format=markdown");
        Assert.StartsWith("# Ether theory\n", markdown, StringComparison.Ordinal);
        Assert.Contains("> Let me think.\n\nThe answer is 42.\n", markdown, StringComparison.Ordinal);
        using HttpResponseMessage json = await _me.Client.GetAsync($"/app/conversations/{one.Id}/export?format=json");
        Assert.Equal("ether-theory.json", json.Content.Headers.ContentDisposition?.FileName);
        Assert.Equal(2, JsonDocument.Parse(await json.Content.ReadAsStringAsync()).RootElement.GetProperty("messages").GetArrayLength());
        Assert.Equal(HttpStatusCode.BadRequest, (await _me.RefusedAsync(HttpMethod.Get, $"/app/conversations/{one.Id}/export?format=pdf")).Status);

        await _me.SendAsync(HttpMethod.Delete, $"/app/conversations/{one.Id}");
        Assert.Equal([two.Id], await ListAsync(""));
        Assert.Equal(HttpStatusCode.NotFound, (await _me.RefusedAsync(HttpMethod.Get, $"/app/conversations/{one.Id}")).Status);
        await _me.SendAsync(HttpMethod.Delete, "/app/conversations");
        Assert.Empty(await ListAsync(""));
    }

    [Fact]
    public async Task Every_endpoint_refuses_strangers_and_what_is_anothers()
    {
        Talk mine = await SayAsync(null, "Mine", deepThink: false);
        await mine.EndAsync();
        using ChatBrowser other = await _host.SignUpAsync("other@example.org"), stranger = _host.Browse();
        string conversation = $"/app/conversations/{mine.Id}";
        (HttpMethod Method, string Path, object? Body)[] endpoints =
        [
            (HttpMethod.Get, conversation, null),
            (HttpMethod.Patch, conversation, new { title = "x" }),
            (HttpMethod.Delete, conversation, null),
            (HttpMethod.Get, conversation + "/export", null),
            (HttpMethod.Get, conversation + "/export?format=markdown", null),
            (HttpMethod.Put, conversation + "/leaf", new { messageId = mine.Leaf }),
            (HttpMethod.Post, conversation + "/messages", new { text = "x", parentId = mine.Leaf }),
            (HttpMethod.Post, mine.Message + "/regenerate", new { deepThink = false }),
            (HttpMethod.Post, mine.Message + "/edit", new { text = "x" }),
            (HttpMethod.Post, mine.Message + "/stop", new { }),
            (HttpMethod.Get, mine.Events, null),
        ];
        foreach ((HttpMethod method, string path, object? body) in endpoints)
        {
            Assert.Equal(HttpStatusCode.NotFound, (await other.RefusedAsync(method, path, body)).Status);
            Assert.Equal(HttpStatusCode.Unauthorized, (await stranger.RefusedAsync(method, path, body)).Status);
        }

        foreach (string path in (string[])["/app/conversations", "/app/keys", "/app/accounts/export", "/app/operator"])
            Assert.Equal(HttpStatusCode.Unauthorized, (await stranger.RefusedAsync(HttpMethod.Get, path)).Status);

        // A message of mine in a conversation of theirs does not exist either.
        JsonElement theirs = await other.PostAsync("/app/conversations", new { text = "Theirs", deepThink = false });
        Guid theirId = theirs.GetProperty("id").GetGuid();
        Assert.Equal(HttpStatusCode.NotFound, (await other.RefusedAsync(HttpMethod.Get, $"/app/conversations/{theirId}/messages/{mine.Leaf}/events")).Status);
        Assert.Equal(HttpStatusCode.NotFound, (await other.RefusedAsync(HttpMethod.Put, $"/app/conversations/{theirId}/leaf", new { messageId = mine.Leaf })).Status);
        Assert.Equal(2, (await _me.GetAsync(conversation)).GetProperty("messages").GetArrayLength());
    }

    [Fact]
    public async Task One_answer_at_a_time_in_a_conversation_and_three_of_a_person()
    {
        _engine.IsHeld = true;
        Talk talk = await SayAsync(null, "One", deepThink: false);
        Assert.Equal(HttpStatusCode.Conflict, (await _me.RefusedAsync(HttpMethod.Post, $"{talk.Message}/regenerate", new { deepThink = false })).Status);
        await SayAsync(null, "Two", deepThink: false);
        await SayAsync(null, "Three", deepThink: false);
        Assert.Equal(HttpStatusCode.TooManyRequests, (await _me.RefusedAsync(HttpMethod.Post, "/app/conversations", new { text = "Four", deepThink = false })).Status);
        Assert.Equal(3, (await ListAsync("")).Length);
        _engine.Allow(10_000);
    }

    [Fact]
    public async Task Waiting_full_and_failing_engines_are_told_in_words()
    {
        _engine.Place = 3;
        Talk talk = await SayAsync(null, "Wait", deepThink: false);
        List<(int Next, JsonElement Happened)> events = await _me.EventsAsync(talk.Events);
        Assert.Equal("queued", events[0].Happened.GetProperty("kind").GetString());
        Assert.Equal(3, events[0].Happened.GetProperty("place").GetInt32());
        Assert.Equal(12, events[0].Happened.GetProperty("seconds").GetDouble());
        _engine.Place = null;
        _engine.IsFull = true;
        JsonElement full = await (await SayAsync(talk, "Full", deepThink: false)).EndAsync();
        Assert.Equal("failed", full.GetProperty("state").GetString());
        Assert.Contains("8 requests wait", full.GetProperty("note").GetString()!, StringComparison.Ordinal);
        _engine.IsFull = false;
        _engine.Fault = new InvalidDataException("secret detail");
        JsonElement failed = await (await SayAsync(null, "Fail", deepThink: false)).EndAsync();
        Assert.Equal("failed", failed.GetProperty("state").GetString());
        Assert.NotEmpty(failed.GetProperty("text").GetString()!);
        Assert.DoesNotContain("secret", failed.GetProperty("note").GetString()!, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_long_history_loses_its_oldest_turns_and_a_long_message_is_refused()
    {
        var small = new ScriptedEngine(maxPositions: 200);
        await using ChatHost host = await StartAsync(small);
        using ChatBrowser me = await host.SignUpAsync("small@example.org");
        string question = string.Concat(Enumerable.Repeat("What is the answer? ", 8));
        JsonElement view = await me.PostAsync("/app/conversations", new { text = "oldest " + question, deepThink = false });
        string conversation = $"/app/conversations/{view.GetProperty("id").GetGuid()}";
        for (int i = 0; i < 4; i++)
        {
            Guid leaf = view.GetProperty("leafId").GetGuid();
            await me.EventsAsync($"{conversation}/messages/{leaf}/events");
            view = await me.PostAsync($"{conversation}/messages", new { text = question, parentId = leaf, deepThink = false });
        }

        await me.EventsAsync($"{conversation}/messages/{view.GetProperty("leafId").GetGuid()}/events");
        Assert.DoesNotContain("oldest", small.Prompts.Last(), StringComparison.Ordinal);
        Assert.True(view.GetProperty("messages").EnumerateArray().Last().GetProperty("isTrimmed").GetBoolean());
        Assert.All(small.Requests, request => Assert.InRange(request.Prompt.Length + request.MaxNewTokens, 2, 200));
        var refused = await me.RefusedAsync(HttpMethod.Post, "/app/conversations", new { text = string.Concat(Enumerable.Repeat(question, 20)), deepThink = false });
        Assert.Contains("too long for the model", refused.Message, StringComparison.Ordinal);
        Assert.Equal("text", refused.Field);
    }

    [Fact]
    public async Task Shutdown_finishes_answers_or_keeps_what_there_is_of_them()
    {
        string home = Directory.CreateTempSubdirectory("hadal-chat-").FullName;
        try
        {
            var engine = new ScriptedEngine { IsHeld = true };
            Guid id, leaf;
            await using (ChatHost host = await StartAsync(engine, home))
            {
                using ChatBrowser me = await host.SignUpAsync("stop@example.org");
                JsonElement view = await me.PostAsync("/app/conversations", new { text = "Slow", deepThink = false });
                (id, leaf) = (view.GetProperty("id").GetGuid(), view.GetProperty("leafId").GetGuid());
                engine.Allow(3);
                await me.EventsAsync($"/app/conversations/{id}/messages/{leaf}/events", untilText: true);
                await host.StopAsync(TimeSpan.FromMilliseconds(300));
            }

            await using ChatHost next = await StartAsync(new ScriptedEngine(), home);
            using ChatBrowser again = next.Browse();
            await again.PostAsync("/app/accounts/sign-in", new { email = "stop@example.org", password = "a long enough phrase" });
            JsonElement answer = (await again.GetAsync($"/app/conversations/{id}")).GetProperty("messages").EnumerateArray().Last();
            Assert.Equal("interrupted", answer.GetProperty("state").GetString());
            Assert.NotEmpty(answer.GetProperty("text").GetString()!);
        }
        finally
        {
            Folders.Delete(home);
        }
    }

    [Fact]
    public async Task What_a_database_refuses_is_left_out_of_questions_answers_titles_and_searches()
    {
        _engine.Reply = _ => "Let\0 me think.\n</think>\n\nThe answer\0 is 42.";
        Talk talk = await SayAsync(null, "What\0 is \ud83d\udc1f?", deepThink: true);
        JsonElement answer = await talk.EndAsync();
        Assert.Equal("complete", answer.GetProperty("state").GetString());
        JsonElement kept = await _me.GetAsync($"/app/conversations/{talk.Id}");
        Assert.Equal("What is \ud83d\udc1f?", kept.GetProperty("title").GetString());
        Assert.Equal(["What is \ud83d\udc1f?", "The answer is 42."], kept.GetProperty("messages").EnumerateArray().Select(message => message.GetProperty("text").GetString()), StringComparer.Ordinal);
        Assert.Equal("Let me think.", kept.GetProperty("messages")[1].GetProperty("reasoning").GetString());
        await _me.SendAsync(HttpMethod.Patch, $"/app/conversations/{talk.Id}", new { title = "A\0 new \0 title" });
        Assert.Equal([talk.Id], await ListAsync("ne\0w TITLE"));
        Assert.Equal([talk.Id], await ListAsync("\0"));
        Assert.Empty(await ListAsync(new string('x', 199) + "\ud83d\udc1f")); // cut within the pair
        Assert.Equal("title", (await _me.RefusedAsync(HttpMethod.Patch, $"/app/conversations/{talk.Id}", new { title = "\0 \0" })).Field);
    }

    Task<ChatHost> StartAsync(ScriptedEngine engine, string? home = null) => ChatHost.StartAsync(engine, options => options with { Database = Database }, home);

    async Task<Guid[]> ListAsync(string search) =>
        [.. (await _me.GetAsync($"/app/conversations?search={Uri.EscapeDataString(search)}")).GetProperty("conversations").EnumerateArray().Select(conversation => conversation.GetProperty("id").GetGuid())];

    async Task<Talk> SayAsync(Talk? after, string text, bool deepThink) => new(this, after is null
        ? await _me.PostAsync("/app/conversations", new { text, deepThink })
        : await _me.PostAsync($"/app/conversations/{after.Id}/messages", new { text, deepThink, parentId = after.Leaf }));

    static string Text(List<(int Next, JsonElement Happened)> events) => string.Concat(events.Where(e => e.Happened.GetProperty("kind").GetString() is "text").Select(e => e.Happened.GetProperty("text").GetString()));

    sealed class Talk(ConversationTests tests, JsonElement view)
    {
        public Guid Id { get; } = view.GetProperty("id").GetGuid();

        public Guid Leaf { get; } = view.GetProperty("leafId").GetGuid();

        public string Message => $"/app/conversations/{Id}/messages/{Leaf}";

        public string Events => Message + "/events";

        /// <summary>Waits for the end of the answer and returns it as it is kept.</summary>
        public async Task<JsonElement> EndAsync() => (await tests._me.EventsAsync(Events))[^1].Happened.GetProperty("message");
    }
}
