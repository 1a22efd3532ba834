using System.Net;
using System.Text;
using System.Text.Json;
using Hadal.Server.Database;
using Hadal.Server.Keys;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace Hadal.Server.Tests.Chat;

/// <summary>What one visitor may ask of the pages' endpoints: how often, how much, how many at once.</summary>
public sealed class LimitTests
{
    static Task<ChatHost> StartAsync(ScriptedEngine engine, int page, int stranger) => ChatHost.StartAsync(engine, options => options with
    {
        AddressLimits = options.AddressLimits with { Page = (page, TimeSpan.FromHours(1)), Stranger = (stranger, TimeSpan.FromHours(1)) },
    });

    [Fact]
    public async Task Every_request_of_a_person_counts_wherever_it_goes()
    {
        await using ChatHost host = await StartAsync(new ScriptedEngine(), page: 30, stranger: 40);
        using ChatBrowser me = await host.SignUpAsync("me@example.org"), other = await host.SignUpAsync("other@example.org"), stranger = host.Browse();
        await me.GetAsync("/app/session");
        int answered = 0;
        while (answered < 40 && await StatusAsync(me, HttpMethod.Get, "/app/keys") is HttpStatusCode.OK) answered++;
        Assert.Equal(28, answered); // the session was asked for twice
        int endpoints = 0;
        foreach ((string method, string path) in Endpoints(host))
        {
            using HttpResponseMessage refused = await me.TryAsync(new HttpMethod(method), path, method is "GET" or "DELETE" ? null : new { });
            Assert.True(refused.StatusCode is HttpStatusCode.TooManyRequests && refused.Headers.RetryAfter is not null, $"{method} {path}: {(int)refused.StatusCode}");
            Assert.Contains("Try again", JsonDocument.Parse(await refused.Content.ReadAsStringAsync(TestContext.Current.CancellationToken)).RootElement.GetProperty("message").GetString(), StringComparison.Ordinal);
            endpoints++;
        }

        Assert.True(endpoints > 25, $"{endpoints} endpoints");
        Assert.Equal(HttpStatusCode.OK, await StatusAsync(other, HttpMethod.Get, "/app/keys"));

        // Strangers share what their network address has; who is signed in there does not.
        int knocks = 0;
        while (knocks < 50 && (await stranger.Client.GetAsync("/app/session", TestContext.Current.CancellationToken)).StatusCode is HttpStatusCode.OK) knocks++;
        Assert.Equal(40 - (2 * 4), knocks); // four for each sign-up
        Assert.Equal(HttpStatusCode.OK, await StatusAsync(other, HttpMethod.Get, "/app/keys"));
    }

    [Fact]
    public async Task Large_bodies_and_searches_count_as_more()
    {
        await using ChatHost host = await StartAsync(new ScriptedEngine(), page: 40, stranger: 100);
        using ChatBrowser me = await host.SignUpAsync("me@example.org"), other = await host.SignUpAsync("other@example.org");
        string token = (await me.GetAsync("/app/session")).GetProperty("token").GetString()!;
        async Task<HttpStatusCode> RenderAsync()
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, "/app/render") { Content = new StringContent($$"""{"texts":["{{new string('x', 10 * 32 << 10)}}"]}""", Encoding.UTF8, "application/json") };
            request.Headers.Add("X-Hadal-Token", token);
            using HttpResponseMessage response = await me.Client.SendAsync(request, TestContext.Current.CancellationToken);
            return response.StatusCode;
        }

        for (int n = 0; n < 3; n++) Assert.Equal(HttpStatusCode.OK, await RenderAsync()); // eleven each
        Assert.Equal(HttpStatusCode.TooManyRequests, await RenderAsync());
        Assert.Equal(HttpStatusCode.OK, await StatusAsync(me, HttpMethod.Get, "/app/keys"));
        int searches = 0;
        while (searches < 10 && await StatusAsync(other, HttpMethod.Get, "/app/conversations?search=sea") is HttpStatusCode.OK) searches++;
        Assert.Equal(4, searches);
    }

    [Fact]
    public async Task Forms_are_short_and_what_cannot_be_read_is_refused_in_words()
    {
        await using ChatHost host = await ChatHost.StartAsync(new ScriptedEngine());
        using ChatBrowser me = await host.SignUpAsync("me@example.org"), stranger = host.Browse();
        var large = new { email = "a@example.org", password = "p", fullName = new string('n', 20_000), name = new string('n', 20_000) };
        foreach ((ChatBrowser who, string path) in new[] { (stranger, "/app/accounts/sign-in"), (stranger, "/app/accounts/sign-up"), (me, "/app/accounts/name"), (me, "/app/keys") })
        {
            (HttpStatusCode status, string message, _) = await who.RefusedAsync(HttpMethod.Post, path, large);
            Assert.Equal((HttpStatusCode.RequestEntityTooLarge, "This is too large for the server."), (status, message));
        }

        // The longest message fits, however its characters are written; it is the model that cannot read it.
        string longest = string.Concat(Enumerable.Repeat("\\u6df1", 64_000));
        foreach ((string body, string type, HttpStatusCode expected, string words) in new[]
        {
            ($$"""{"text":"{{longest}}"}""", "application/json", HttpStatusCode.BadRequest, "too long for the model"),
            ("""{"text":""", "application/json", HttpStatusCode.BadRequest, "could not be read"),
            ("", "application/json", HttpStatusCode.BadRequest, "could not be read"),
            ("text=x", "application/x-www-form-urlencoded", HttpStatusCode.UnsupportedMediaType, "expected JSON"),
        })
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, "/app/conversations") { Content = new StringContent(body, Encoding.UTF8, type) };
            request.Headers.Add("X-Hadal-Token", (await me.GetAsync("/app/session")).GetProperty("token").GetString());
            using HttpResponseMessage response = await me.Client.SendAsync(request, TestContext.Current.CancellationToken);
            string said = await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);
            Assert.True(response.StatusCode == expected && said.Contains(words, StringComparison.Ordinal), $"{(int)response.StatusCode} {said}, expected {(int)expected} and \"{words}\"");
        }
    }

    [Fact]
    public async Task Streams_and_keys_have_an_end()
    {
        var engine = new ScriptedEngine { IsHeld = true };
        await using ChatHost host = await ChatHost.StartAsync(engine);
        using ChatBrowser me = await host.SignUpAsync("me@example.org");
        JsonElement talk = await me.PostAsync("/app/conversations", new { text = "Hi", deepThink = false });
        string events = $"/app/conversations/{talk.GetProperty("id").GetGuid()}/messages/{talk.GetProperty("leafId").GetGuid()}/events";
        var streams = new List<HttpResponseMessage>();
        Task<HttpResponseMessage> OpenAsync() => me.Client.GetAsync(events, HttpCompletionOption.ResponseHeadersRead, TestContext.Current.CancellationToken);
        try
        {
            for (int n = 0; n < 24; n++)
            {
                streams.Add(await OpenAsync());
                Assert.Equal(HttpStatusCode.OK, streams[^1].StatusCode);
            }

            using (HttpResponseMessage refused = await OpenAsync()) Assert.Equal(HttpStatusCode.TooManyRequests, refused.StatusCode);
            streams[0].Dispose();
            HttpStatusCode again = HttpStatusCode.TooManyRequests;
            for (int round = 0; round < 300 && again is HttpStatusCode.TooManyRequests; round++)
            {
                if (round > 0) await Task.Delay(100, TestContext.Current.CancellationToken);
                streams.Add(await OpenAsync());
                again = streams[^1].StatusCode;
            }

            Assert.Equal(HttpStatusCode.OK, again);
            engine.Allow(1000);
        }
        finally
        {
            foreach (HttpResponseMessage stream in streams) stream.Dispose();
        }

        // Keys that were revoked count for their day too.
        await me.PostAsync("/app/keys", new { name = "the first" });
        ApiKeyService keys = host.Services.GetRequiredService<ApiKeyService>();
        Guid person = Assert.Single(host.Services.GetRequiredService<IServiceScopeFactory>().CreateScope().ServiceProvider.GetRequiredService<HadalDatabase>().Users).Id;
        for (int n = 1; n < 100; n++) await keys.RevokeAsync(person, (await keys.MakeAsync(person, $"key {n}", cancellationToken: TestContext.Current.CancellationToken)).Key.Id, TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.TooManyRequests, (await me.RefusedAsync(HttpMethod.Post, "/app/keys", new { name = "one more" })).Status);
    }

    [Fact]
    public async Task Keys_of_people_have_the_ceiling_of_the_host_or_less()
    {
        await using ChatHost host = await ChatHost.StartAsync(new ScriptedEngine(), options => options with { KeyRequestsPerMinute = 5, KeyTokensPerDay = 100 });
        using ChatBrowser me = await host.SignUpAsync("me@example.org");
        JsonElement usual = (await me.PostAsync("/app/keys", new { name = "usual" })).GetProperty("key"), less = (await me.PostAsync("/app/keys", new { name = "less", requestsPerMinute = 2, tokensPerDay = 7 })).GetProperty("key");
        Assert.Equal((5, 100, 2, 7), (usual.GetProperty("requestsPerMinute").GetInt32(), usual.GetProperty("tokensPerDay").GetInt32(), less.GetProperty("requestsPerMinute").GetInt32(), less.GetProperty("tokensPerDay").GetInt32()));
        Assert.Equal((HttpStatusCode.BadRequest, "At most 5 requests per minute on this server, or leave it empty for as many.", "requestsPerMinute"), await me.RefusedAsync(HttpMethod.Post, "/app/keys", new { name = "more", requestsPerMinute = 6 }));
        Assert.Equal("tokensPerDay", (await me.RefusedAsync(HttpMethod.Post, "/app/keys", new { name = "more", tokensPerDay = 101 })).Field);
    }

    static async Task<HttpStatusCode> StatusAsync(ChatBrowser browser, HttpMethod method, string path, object? body = null)
    {
        using HttpResponseMessage response = await browser.TryAsync(method, path, body);
        return response.StatusCode;
    }

    static IEnumerable<(string Method, string Path)> Endpoints(ChatHost host) => host.Services.GetServices<EndpointDataSource>().SelectMany(source => source.Endpoints).OfType<RouteEndpoint>().Distinct()
        .Where(endpoint => endpoint.RoutePattern.RawText!.TrimStart('/').StartsWith("app/", StringComparison.Ordinal))
        .SelectMany(endpoint => endpoint.Metadata.GetMetadata<HttpMethodMetadata>()!.HttpMethods.Select(method => (method, OwnershipTests.Filled(endpoint, Guid.NewGuid(), Guid.NewGuid(), Guid.NewGuid()))));
}
