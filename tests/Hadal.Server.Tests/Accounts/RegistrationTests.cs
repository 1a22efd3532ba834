using System.Net;
using System.Text.Json;
using System.Text.RegularExpressions;
using Hadal.Server.Accounts;
using Hadal.Server.Hosting;
using Hadal.Server.Tests.Chat;

namespace Hadal.Server.Tests.Accounts;

/// <summary>Who may make an account, how often one may try, and what happens while the mail server is away.</summary>
public sealed class RegistrationTests
{
    static readonly object Somebody = new { email = "somebody@example.org", fullName = "Some Body", password = "a long enough phrase" };

    [Fact]
    public async Task A_server_that_others_reach_takes_sign_ups_only_with_a_mail_server()
    {
        await using ChatHost closed = await ChatHost.StartAsync(new ScriptedEngine(), options => options with { Urls = ["http://0.0.0.0:0"] });
        using (var browser = new ChatBrowser(closed.Address.Replace("0.0.0.0", "127.0.0.1", StringComparison.Ordinal)))
        {
            Assert.Equal(Registration.Closed, (await browser.GetAsync("/app/session")).GetProperty("registration").GetProperty("refusal").GetString());
            foreach (string path in new[] { "sign-up", "reset", "resend" })
            {
                var refused = await browser.RefusedAsync(HttpMethod.Post, $"/app/accounts/{path}", Somebody);
                Assert.Equal(HttpStatusCode.Forbidden, refused.Status);
                Assert.Equal(Registration.Closed, refused.Message);
            }

            Assert.Empty(Outbox.Read(closed.Home));
        }

        await using var mail = new MailServer();
        await using ChatHost open = await ChatHost.StartAsync(new ScriptedEngine(), options => options with { Urls = ["http://0.0.0.0:0"], Mail = MailOptions.Parse($"smtp://127.0.0.1:{mail.Port}") });
        using var allowed = new ChatBrowser(open.Address.Replace("0.0.0.0", "127.0.0.1", StringComparison.Ordinal));
        JsonElement begun = await allowed.PostAsync("/app/accounts/sign-up", Somebody);
        await VerifyAsync(allowed, begun, mail);
        Assert.Empty(Outbox.Read(open.Home)); // a code that was mailed lies nowhere else
    }

    [Theory]
    [InlineData("http://127.0.0.1:8080", true)]
    [InlineData("http://localhost:5000", true)]
    [InlineData("http://[::1]:8080", true)]
    [InlineData("http://127.8.9.10:1", true)]
    [InlineData("http://0.0.0.0:8080", false)]
    [InlineData("http://[::]:8080", false)]
    [InlineData("http://*:8080", false)]
    [InlineData("http://+:8080", false)]
    [InlineData("http://192.168.0.4:8080", false)]
    [InlineData("http://localhost.example.org:80", false)]
    [InlineData("http://127.0.0.1.example.org:80", false)]
    [InlineData("nonsense", false)]
    public void Only_loopback_addresses_count_as_this_machine(string address, bool loopback)
    {
        Assert.Equal(loopback, Registration.IsLoopback(address));
        if (address.StartsWith("http", StringComparison.Ordinal)) Assert.Equal(loopback, BindingAddress.Parse(address).IsLoopback);
    }

    [Fact]
    public async Task A_dead_mail_server_delays_codes_and_loses_none_over_a_restart()
    {
        int port = Ports.Free();
        string home = Directory.CreateTempSubdirectory("hadal-chat-").FullName;
        ServerOptions With(ServerOptions options) => options with { Mail = MailOptions.Parse($"smtp://127.0.0.1:{port}") };
        try
        {
            JsonElement begun;
            await using (ChatHost host = await ChatHost.StartAsync(new ScriptedEngine(), With, home))
            {
                using ChatBrowser browser = host.Browse();
                begun = await browser.PostAsync("/app/accounts/sign-up", Somebody);
                bool delayed = false;
                for (int round = 0; round < 300 && !delayed; round++)
                {
                    // Another person's sign-up goes on as well, and the page is told that mail is late.
                    delayed = (await browser.PostAsync("/app/accounts/sign-up", new { email = $"other{round}@example.org", fullName = "Some Other", password = "a long enough phrase" })).GetProperty("mailDelayed").GetBoolean();
                    if (!delayed) await Task.Delay(100, TestContext.Current.CancellationToken);
                }

                Assert.True(delayed, "The server never noticed that mail cannot be sent.");
            }

            await using var mail = new MailServer(port);
            await using ChatHost again = await ChatHost.StartAsync(new ScriptedEngine(), With, home);
            using ChatBrowser later = again.Browse();
            JsonElement session = await VerifyAsync(later, begun, mail);
            Assert.Equal("Some Body", session.GetProperty("person").GetProperty("fullName").GetString());
        }
        finally
        {
            Folders.Delete(home);
        }
    }

    [Fact]
    public async Task Sign_ups_sign_ins_and_codes_of_one_network_address_are_counted()
    {
        (int Permits, TimeSpan Window) two = (2, TimeSpan.FromHours(1));
        await using ChatHost host = await ChatHost.StartAsync(new ScriptedEngine(), options => options with { AddressLimits = new AddressLimits { SignUp = two, SignIn = two, Code = two } });
        using ChatBrowser browser = host.Browse();
        foreach ((string path, HttpStatusCode usual) in new[] { ("sign-up", HttpStatusCode.OK), ("sign-in", HttpStatusCode.BadRequest), ("verify", HttpStatusCode.BadRequest) })
        {
            for (int attempt = 0; attempt < 4; attempt++)
            {
                using HttpResponseMessage answer = await browser.TryAsync(HttpMethod.Post, $"/app/accounts/{path}",
                    new { email = $"{path}{attempt}@example.org", fullName = "Some Body", password = "a long enough phrase", code = "123456", ticket = Guid.NewGuid() });
                Assert.Equal(attempt < 2 ? usual : HttpStatusCode.TooManyRequests, answer.StatusCode);
                Assert.Equal(attempt >= 2, answer.Headers.RetryAfter is not null);
            }
        }
    }

    [Fact]
    public async Task Behind_a_proxy_on_this_machine_each_visitor_is_counted_alone_and_TLS_makes_cookies_secure()
    {
        await using ChatHost host = await ChatHost.StartAsync(new ScriptedEngine(), options => options with { AddressLimits = new AddressLimits { SignIn = (1, TimeSpan.FromHours(1)) } });
        using ChatBrowser browser = host.Browse();
        string token = (await browser.GetAsync("/app/session")).GetProperty("token").GetString()!;
        async Task<HttpStatusCode> TryAsync(string forwardedFor)
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, "/app/accounts/sign-in") { Content = System.Net.Http.Json.JsonContent.Create(Somebody) };
            request.Headers.Add("X-Hadal-Token", token);
            request.Headers.Add("X-Forwarded-For", forwardedFor);
            using HttpResponseMessage response = await browser.Client.SendAsync(request);
            return response.StatusCode;
        }

        Assert.Equal(HttpStatusCode.BadRequest, await TryAsync("203.0.113.1"));
        Assert.Equal(HttpStatusCode.TooManyRequests, await TryAsync("203.0.113.1"));
        Assert.Equal(HttpStatusCode.BadRequest, await TryAsync("203.0.113.2"));
        Assert.Equal(HttpStatusCode.TooManyRequests, await TryAsync("198.51.100.7, 203.0.113.2")); // what a visitor wrote before the proxy's own entry does not count

        using var secure = new HttpRequestMessage(HttpMethod.Get, "/app/session");
        secure.Headers.Add("X-Forwarded-Proto", "https");
        using HttpResponseMessage answer = await new HttpClient { BaseAddress = new Uri(host.Address) }.SendAsync(secure);
        Assert.All(answer.Headers.GetValues("Set-Cookie"), cookie => Assert.Contains("; secure", cookie, StringComparison.Ordinal));
    }

    [Fact]
    public async Task Codes_to_one_address_are_counted_whoever_asks()
    {
        await using ChatHost host = await ChatHost.StartAsync(new ScriptedEngine());
        for (int i = 0; i < AccountLimits.CodesPerHour; i++)
        {
            using ChatBrowser browser = host.Browse();
            await browser.PostAsync("/app/accounts/sign-up", Somebody);
        }

        using ChatBrowser last = host.Browse();
        var refused = await last.RefusedAsync(HttpMethod.Post, "/app/accounts/sign-up", Somebody);
        Assert.Equal(HttpStatusCode.TooManyRequests, refused.Status);
    }

    static async Task<JsonElement> VerifyAsync(ChatBrowser browser, JsonElement begun, MailServer mail)
    {
        string text = await mail.MailAsync("somebody@example.org");
        Assert.DoesNotContain("Some Body", text, StringComparison.Ordinal); // nothing that a stranger typed is mailed to others
        return await browser.PostAsync("/app/accounts/verify", new { ticket = begun.GetProperty("ticket").GetGuid(), code = Regex.Match(text, "(?<=Your code: )[0-9]{6}", RegexOptions.None, TimeSpan.FromSeconds(1)).Value });
    }
}
