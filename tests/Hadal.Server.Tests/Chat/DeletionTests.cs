using System.Net;
using System.Text.Json;
using Hadal.Server.Conversations;
using Hadal.Server.Database;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Tests.Chat;

/// <summary>Answers that end while their conversation goes away, or while the database cannot be written.</summary>
public class DeletionTests : IAsyncLifetime
{
    readonly ScriptedEngine _engine = new();
    readonly FaultLog _faults = new();
    ChatHost _host = null!;

    /// <summary>Connection string of the database; null for the file.</summary>
    protected virtual string? Database => null;

    public async ValueTask InitializeAsync() => _host = await ChatHost.StartAsync(_engine, options => options with
    {
        Database = Database,
        // The library calls each statement that fails an error; what is one is for the server to say.
        Logging = logging => logging.SetMinimumLevel(LogLevel.Warning).AddFilter("Microsoft.EntityFrameworkCore", LogLevel.None).AddProvider(_faults),
    });

    public async ValueTask DisposeAsync()
    {
        await _host.DisposeAsync();
        GC.SuppressFinalize(this);
    }

    /// <summary>Every window of a person may do something else with the conversation at the moment when one deletes it and its answer ends.</summary>
    [Fact]
    public async Task What_is_deleted_while_it_is_written_is_no_fault()
    {
        await Task.WhenAll(Enumerable.Range(0, 3).Select(async person =>
        {
            using ChatBrowser me = await _host.SignUpAsync($"deletes{person}@example.org");
            for (int round = 0; round < 12; round++)
            {
                int length = round * 4 % 23; // so that the end of the answer falls before, into and behind the deletion
                _engine.Reply = _ => string.Concat(Enumerable.Repeat("The answer is 42. ", length));
                JsonElement view = await me.PostAsync("/app/conversations", new { text = "What is the answer?", deepThink = false });
                Guid question = view.GetProperty("messages")[0].GetProperty("id").GetGuid(), answer = view.GetProperty("leafId").GetGuid();
                string conversation = $"/app/conversations/{view.GetProperty("id").GetGuid()}";
                (HttpMethod, string, object?)[] requests =
                [
                    (HttpMethod.Delete, conversation, null),
                    (HttpMethod.Patch, conversation, new { title = "Another" }),
                    (HttpMethod.Put, $"{conversation}/leaf", new { messageId = question }),
                    (HttpMethod.Post, $"{conversation}/messages", new { text = "And then?", parentId = answer, deepThink = false }),
                    (HttpMethod.Post, $"{conversation}/messages/{answer}/regenerate", new { deepThink = false }),
                ];
                HttpResponseMessage[] responses = await Task.WhenAll(requests.Select(request => me.TryAsync(request.Item1, request.Item2, request.Item3)));
                foreach (HttpResponseMessage response in responses)
                {
                    using HttpResponseMessage one = response;
                    Assert.True(one.StatusCode is HttpStatusCode.OK or HttpStatusCode.NoContent or HttpStatusCode.NotFound or HttpStatusCode.Conflict or HttpStatusCode.TooManyRequests,
                        $"{(int)one.StatusCode} {await one.Content.ReadAsStringAsync()}");
                }

                Assert.Equal(HttpStatusCode.NoContent, responses[0].StatusCode);
            }

            Assert.Empty((await me.GetAsync("/app/conversations")).GetProperty("conversations").EnumerateArray());
        }));
        AnswerService answers = _host.Services.GetRequiredService<AnswerService>();
        for (int round = 0; round < 2400 && answers.Running > 0; round++) await Task.Delay(25, TestContext.Current.CancellationToken);
        Assert.Equal(0, answers.Running);
        _faults.AssertNoError();
    }

    [Fact]
    public async Task An_answer_waits_for_a_database_that_refuses_it()
    {
        using ChatBrowser me = await _host.SignUpAsync("waits@example.org");
        _engine.IsHeld = true;
        JsonElement view = await me.PostAsync("/app/conversations", new { text = "What is the answer?", deepThink = false });
        string conversation = $"/app/conversations/{view.GetProperty("id").GetGuid()}";
        await RunAsync("""ALTER TABLE "Messages" RENAME TO "Away" """);
        _engine.Allow(1000);
        await _faults.HearAsync("could not be saved; the next try is in");
        await RunAsync("""ALTER TABLE "Away" RENAME TO "Messages" """);
        (_, JsonElement last) = (await me.EventsAsync($"{conversation}/messages/{view.GetProperty("leafId").GetGuid()}/events"))[^1];
        Assert.Equal("done", last.GetProperty("kind").GetString());
        JsonElement kept = (await me.GetAsync(conversation)).GetProperty("messages")[1];
        Assert.Equal("complete", kept.GetProperty("state").GetString());
        Assert.Equal("The answer is 42.", kept.GetProperty("text").GetString());
        Assert.True(kept.GetProperty("generatedTokens").GetInt32() > 0);
        _faults.AssertNoError();
    }

    async Task RunAsync(string statement)
    {
        using IServiceScope scope = _host.Services.CreateScope();
        await scope.ServiceProvider.GetRequiredService<HadalDatabase>().Database.ExecuteSqlRawAsync(statement, TestContext.Current.CancellationToken);
    }
}
