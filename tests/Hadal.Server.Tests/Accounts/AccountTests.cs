using System.Net;
using System.Text.Json;
using Hadal.Server.Accounts;
using Hadal.Server.Tests.Chat;

namespace Hadal.Server.Tests.Accounts;

/// <summary>Accounts over HTTP, as a page uses them.</summary>
public class AccountTests : IAsyncLifetime
{
    const string Password = "a long enough phrase";
    ChatHost _host = null!;

    /// <summary>Connection string of the database; null for the file.</summary>
    protected virtual string? Database => null;

    public async ValueTask InitializeAsync() => _host = await ChatHost.StartAsync(new ScriptedEngine(), options => options with { Database = Database });

    public async ValueTask DisposeAsync()
    {
        await _host.DisposeAsync();
        GC.SuppressFinalize(this);
    }

    [Fact]
    public async Task A_person_signs_up_by_code_and_is_known_by_full_name()
    {
        using ChatBrowser browser = _host.Browse();
        JsonElement begun = await browser.PostAsync("/app/accounts/sign-up", new { email = " Ada@Example.org ", fullName = " Ada Lovelace ", password = Password });
        Guid ticket = begun.GetProperty("ticket").GetGuid();
        Assert.Equal(JsonValueKind.Null, (await browser.GetAsync("/app/session")).GetProperty("person").ValueKind);
        string code = await _host.CodeAsync("ada@example.org");
        string wrong = code is "000000" ? "000001" : "000000";
        Assert.Equal(HttpStatusCode.BadRequest, (await browser.RefusedAsync(HttpMethod.Post, "/app/accounts/verify", new { ticket, code = wrong })).Status);
        JsonElement session = await browser.PostAsync("/app/accounts/verify", new { ticket, code = $" {code[..3]} {code[3..]}" });
        Assert.Equal("Ada Lovelace", session.GetProperty("person").GetProperty("fullName").GetString());
        Assert.Equal("ada@example.org", session.GetProperty("person").GetProperty("email").GetString());
        Assert.False(session.GetProperty("person").GetProperty("isOperator").GetBoolean());

        // A code opens once.
        Assert.Equal(HttpStatusCode.BadRequest, (await browser.RefusedAsync(HttpMethod.Post, "/app/accounts/verify", new { ticket, code })).Status);
    }

    [Fact]
    public async Task A_code_dies_after_five_wrong_entries()
    {
        using ChatBrowser browser = _host.Browse();
        JsonElement begun = await browser.PostAsync("/app/accounts/sign-up", new { email = "five@example.org", fullName = "Five", password = Password });
        Guid ticket = begun.GetProperty("ticket").GetGuid();
        string code = await _host.CodeAsync("five@example.org");
        string wrong = code is "000000" ? "000001" : "000000";
        for (int i = 0; i < 5; i++) await browser.RefusedAsync(HttpMethod.Post, "/app/accounts/verify", new { ticket, code = wrong });
        await browser.RefusedAsync(HttpMethod.Post, "/app/accounts/verify", new { ticket, code });
    }

    [Fact]
    public async Task A_code_counts_only_with_its_own_ticket()
    {
        // Somebody signs up with the address of another and a password of their own; the other's code must not prove it.
        using ChatBrowser thief = _host.Browse(), owner = _host.Browse();
        JsonElement first = await thief.PostAsync("/app/accounts/sign-up", new { email = "mine@example.org", fullName = "Thief", password = "the phrase of the thief" });
        JsonElement second = await owner.PostAsync("/app/accounts/sign-up", new { email = "mine@example.org", fullName = "Owner", password = Password });
        string one = await _host.CodeAsync("mine@example.org", 1), two = await _host.CodeAsync("mine@example.org", 2);
        if (!string.Equals(one, two, StringComparison.Ordinal)) await thief.RefusedAsync(HttpMethod.Post, "/app/accounts/verify", new { ticket = first.GetProperty("ticket").GetGuid(), code = two });
        JsonElement session = await owner.PostAsync("/app/accounts/verify", new { ticket = second.GetProperty("ticket").GetGuid(), code = two });
        Assert.Equal("Owner", session.GetProperty("person").GetProperty("fullName").GetString());

        // The first code comes too late: the address is taken now.
        await thief.RefusedAsync(HttpMethod.Post, "/app/accounts/verify", new { ticket = first.GetProperty("ticket").GetGuid(), code = one });
    }

    [Fact]
    public async Task No_answer_tells_who_has_an_account()
    {
        using ChatBrowser known = await _host.SignUpAsync("known@example.org");
        using ChatBrowser stranger = _host.Browse();

        using HttpResponseMessage taken = await stranger.TryAsync(HttpMethod.Post, "/app/accounts/sign-up", new { email = "known@example.org", fullName = "X Y", password = Password });
        using HttpResponseMessage free = await stranger.TryAsync(HttpMethod.Post, "/app/accounts/sign-up", new { email = "free@example.org", fullName = "X Y", password = Password });
        Assert.Equal(Shape(await taken.Content.ReadAsStringAsync()), Shape(await free.Content.ReadAsStringAsync()));
        Assert.Equal(taken.StatusCode, free.StatusCode);

        using HttpResponseMessage reset = await stranger.TryAsync(HttpMethod.Post, "/app/accounts/reset", new { email = "known@example.org" });
        using HttpResponseMessage nobody = await stranger.TryAsync(HttpMethod.Post, "/app/accounts/reset", new { email = "nobody@example.org" });
        Assert.Equal(Shape(await reset.Content.ReadAsStringAsync()), Shape(await nobody.Content.ReadAsStringAsync()));

        var wrong = await stranger.RefusedAsync(HttpMethod.Post, "/app/accounts/sign-in", new { email = "known@example.org", password = "not the password" });
        var unknown = await stranger.RefusedAsync(HttpMethod.Post, "/app/accounts/sign-in", new { email = "nobody@example.org", password = "not the password" });
        Assert.Equal(wrong, unknown);

        // The owner of the address is told by mail, without a code.
        bool told = false;
        for (int round = 0; round < 2400 && !told; round++)
        {
            told = Outbox.Read(_host.Home).Any(mail => mail.Recipient is "known@example.org" && mail.Subject.StartsWith("You already have", StringComparison.Ordinal));
            if (!told) await Task.Delay(25, TestContext.Current.CancellationToken);
        }

        Assert.True(told, "The owner of the address was not told.");

        // Locked out after five in both cases, with the same words.
        for (int i = 0; i < 4; i++)
        {
            await stranger.RefusedAsync(HttpMethod.Post, "/app/accounts/sign-in", new { email = "known@example.org", password = "not the password" });
            await stranger.RefusedAsync(HttpMethod.Post, "/app/accounts/sign-in", new { email = "nobody@example.org", password = "not the password" });
        }

        wrong = await stranger.RefusedAsync(HttpMethod.Post, "/app/accounts/sign-in", new { email = "known@example.org", password = Password });
        unknown = await stranger.RefusedAsync(HttpMethod.Post, "/app/accounts/sign-in", new { email = "nobody@example.org", password = Password });
        Assert.Equal(HttpStatusCode.TooManyRequests, wrong.Status);
        Assert.Equal(wrong, unknown);
    }

    [Fact]
    public async Task Attempts_at_the_same_moment_do_not_slip_past_the_lockout()
    {
        using ChatBrowser owner = await _host.SignUpAsync("rush@example.org");
        ChatBrowser[] crowd = [.. Enumerable.Range(0, 12).Select(_ => _host.Browse())];
        HttpStatusCode[] answers = await Task.WhenAll(crowd.Select(async browser => (await browser.RefusedAsync(HttpMethod.Post, "/app/accounts/sign-in", new { email = "rush@example.org", password = "guess guess guess" })).Status));
        Assert.Equal(AccountLimits.PasswordAttempts, answers.Count(status => status == HttpStatusCode.BadRequest));
        Assert.Equal(answers.Length - AccountLimits.PasswordAttempts, answers.Count(status => status == HttpStatusCode.TooManyRequests));
        foreach (ChatBrowser browser in crowd) browser.Dispose();
    }

    [Fact]
    public async Task A_reset_by_code_sets_a_password_lifts_the_lockout_and_ends_other_sessions()
    {
        using ChatBrowser before = await _host.SignUpAsync("reset@example.org");
        using ChatBrowser browser = _host.Browse();
        for (int i = 0; i < 6; i++) await browser.RefusedAsync(HttpMethod.Post, "/app/accounts/sign-in", new { email = "reset@example.org", password = "not the password" });
        JsonElement begun = await browser.PostAsync("/app/accounts/reset", new { email = "reset@example.org" });
        Guid ticket = begun.GetProperty("ticket").GetGuid();
        string code = await _host.CodeAsync("reset@example.org", 2);
        Assert.Equal("password", (await browser.RefusedAsync(HttpMethod.Post, "/app/accounts/reset/confirm", new { ticket, code, password = "short" })).Field);
        await browser.PostAsync("/app/accounts/reset/confirm", new { ticket, code, password = "another long phrase" });
        Assert.Equal(JsonValueKind.Null, (await before.GetAsync("/app/session")).GetProperty("person").ValueKind);
        using ChatBrowser again = _host.Browse();
        await again.RefusedAsync(HttpMethod.Post, "/app/accounts/sign-in", new { email = "reset@example.org", password = Password });
        await again.PostAsync("/app/accounts/sign-in", new { email = "RESET@example.org", password = "another long phrase" });
    }

    [Fact]
    public async Task Sign_out_everywhere_ends_every_session_at_once()
    {
        using ChatBrowser one = await _host.SignUpAsync("out@example.org");
        using ChatBrowser two = _host.Browse();
        await two.PostAsync("/app/accounts/sign-in", new { email = "out@example.org", password = Password });
        await one.PostAsync("/app/accounts/sign-out-everywhere", new { });
        Assert.Equal(HttpStatusCode.Unauthorized, (await two.RefusedAsync(HttpMethod.Get, "/app/conversations")).Status);
        Assert.Equal(HttpStatusCode.Unauthorized, (await one.RefusedAsync(HttpMethod.Get, "/app/conversations")).Status);
    }

    [Fact]
    public async Task A_password_is_changed_with_the_one_before_and_a_name_without()
    {
        using ChatBrowser me = await _host.SignUpAsync("change@example.org");
        Assert.Equal("current", (await me.RefusedAsync(HttpMethod.Post, "/app/accounts/password", new { current = "wrong", password = "another long phrase" })).Field);
        await me.PostAsync("/app/accounts/password", new { current = Password, password = "another long phrase" });
        JsonElement session = await me.PostAsync("/app/accounts/name", new { fullName = "Countess of Lovelace" });
        Assert.Equal("Countess of Lovelace", session.GetProperty("person").GetProperty("fullName").GetString());
        await me.PostAsync("/app/accounts/sign-out", new { });
        Assert.Equal(JsonValueKind.Null, (await me.GetAsync("/app/session")).GetProperty("person").ValueKind);
    }

    [Fact]
    public async Task Deleting_an_account_deletes_what_belongs_to_it()
    {
        using ChatBrowser me = await _host.SignUpAsync("gone@example.org");
        JsonElement conversation = await me.PostAsync("/app/conversations", new { text = "A secret called xyzzy", deepThink = false });
        JsonElement key = await me.PostAsync("/app/keys", new { name = "laptop" });
        await me.RefusedAsync(HttpMethod.Post, "/app/accounts/delete", new { password = "wrong" });
        JsonElement export = await me.GetAsync("/app/accounts/export");
        Assert.Contains("xyzzy", export.ToString(), StringComparison.Ordinal);
        await me.EventsAsync($"/app/conversations/{conversation.GetProperty("id").GetGuid()}/messages/{conversation.GetProperty("leafId").GetGuid()}/events");
        using var program = new HttpClient { BaseAddress = new Uri(_host.Address) };
        program.DefaultRequestHeaders.Authorization = new("Bearer", key.GetProperty("secret").GetString());
        Assert.Equal(HttpStatusCode.OK, (await program.GetAsync("/v1/models")).StatusCode);
        Assert.Contains(Outbox.Read(_host.Home), mail => string.Equals(mail.Recipient, "gone@example.org", StringComparison.Ordinal));
        await me.PostAsync("/app/accounts/delete", new { password = Password });
        Assert.Equal(HttpStatusCode.Unauthorized, (await program.GetAsync("/v1/models")).StatusCode);
        Assert.DoesNotContain(Outbox.Read(_host.Home), mail => string.Equals(mail.Recipient, "gone@example.org", StringComparison.Ordinal));
        using ChatBrowser again = await _host.SignUpAsync("gone@example.org", "Somebody Else");
        Assert.Empty((await again.GetAsync("/app/conversations")).GetProperty("conversations").EnumerateArray());
        Assert.Empty((await again.GetAsync("/app/keys")).EnumerateArray());
    }

    [Theory]
    [InlineData("email", "", "Ada Lovelace", Password)]
    [InlineData("email", "nobody", "Ada Lovelace", Password)]
    [InlineData("email", "a b@example.org", "Ada Lovelace", Password)]
    [InlineData("email", "a@example.org\r\nBcc: x@example.org", "Ada Lovelace", Password)]
    [InlineData("email", "<a@example.org>", "Ada Lovelace", Password)]
    [InlineData("fullName", "a@example.org", "   ", Password)]
    [InlineData("fullName", "a@example.org", "Ada\nLovelace", Password)]
    [InlineData("password", "a@example.org", "Ada Lovelace", "short")]
    [InlineData("password", "a@example.org", "Ada Lovelace", "password123")]
    [InlineData("password", "a@example.org", "Ada Lovelace", "aaaaaaaaaaaa")]
    [InlineData("password", "lovelace@example.org", "Ada Lovelace", "my lovelace phrase")]
    public async Task What_is_entered_is_checked_and_the_field_is_named(string field, string email, string fullName, string password)
    {
        using ChatBrowser browser = _host.Browse();
        Assert.Equal(field, (await browser.RefusedAsync(HttpMethod.Post, "/app/accounts/sign-up", new { email, fullName, password })).Field);
    }

    [Fact]
    public async Task A_request_without_the_token_of_its_page_is_refused()
    {
        using ChatBrowser me = await _host.SignUpAsync("token@example.org");
        using HttpResponseMessage none = await me.Client.PostAsync("/app/conversations", JsonContent("""{"text":"x"}"""));
        Assert.Equal(HttpStatusCode.BadRequest, none.StatusCode);
        using ChatBrowser other = _host.Browse();
        string foreign = (await other.GetAsync("/app/session")).GetProperty("token").GetString()!;
        using var request = new HttpRequestMessage(HttpMethod.Post, "/app/conversations") { Content = JsonContent("""{"text":"x"}""") };
        request.Headers.Add("X-Hadal-Token", foreign);
        using HttpResponseMessage stolen = await me.Client.SendAsync(request);
        Assert.Equal(HttpStatusCode.BadRequest, stolen.StatusCode);
    }

    [Fact]
    public async Task Keys_are_shown_once_listed_and_revoked()
    {
        using ChatBrowser me = await _host.SignUpAsync("keys@example.org"), other = await _host.SignUpAsync("other@example.org");
        JsonElement made = await me.PostAsync("/app/keys", new { name = "laptop", requestsPerMinute = 5 });
        string secret = made.GetProperty("secret").GetString()!;
        JsonElement listed = Assert.Single((await me.GetAsync("/app/keys")).EnumerateArray());
        Assert.DoesNotContain(secret, listed.ToString(), StringComparison.Ordinal);
        Guid id = listed.GetProperty("id").GetGuid();
        Assert.Equal(HttpStatusCode.NotFound, (await other.RefusedAsync(HttpMethod.Delete, $"/app/keys/{id}")).Status);
        await me.SendAsync(HttpMethod.Delete, $"/app/keys/{id}");
        Assert.Empty((await me.GetAsync("/app/keys")).EnumerateArray());
        Assert.Equal(HttpStatusCode.NotFound, (await me.RefusedAsync(HttpMethod.Delete, $"/app/keys/{id}")).Status);
    }

    [Fact]
    public async Task What_a_database_refuses_is_left_out_of_names_and_addresses()
    {
        using ChatBrowser me = await _host.SignUpAsync("clean@example.org", "Ada\0 Lovelace"), other = _host.Browse();
        Assert.Equal("Ada Lovelace", (await me.GetAsync("/app/session")).GetProperty("person").GetProperty("fullName").GetString());
        JsonElement session = await me.PostAsync("/app/accounts/name", new { fullName = "Grace\0 Hopper" });
        Assert.Equal("Grace Hopper", session.GetProperty("person").GetProperty("fullName").GetString());
        await me.PostAsync("/app/keys", new { name = "lap\0top" });
        await me.PostAsync("/app/keys", new { name = new string('k', 99) + "\ud83d\udc1f" }); // cut within the pair
        Assert.Equal([new string('k', 99), "laptop"], (await me.GetAsync("/app/keys")).EnumerateArray().Select(key => key.GetProperty("name").GetString()).Order(StringComparer.Ordinal), StringComparer.Ordinal);
        Assert.Equal("name", (await me.RefusedAsync(HttpMethod.Post, "/app/keys", new { name = "\0 " })).Field);
        Assert.Equal(HttpStatusCode.BadRequest, (await other.RefusedAsync(HttpMethod.Post, "/app/accounts/sign-in", new { email = "no\0body@example.org", password = Password })).Status);
    }

    [Fact]
    public async Task Operator_rights_come_from_the_host_alone()
    {
        using ChatBrowser me = await _host.SignUpAsync("boss@example.org");
        Assert.Equal(HttpStatusCode.NotFound, (await me.RefusedAsync(HttpMethod.Get, "/app/operator")).Status);
        Assert.False(await Operators.SetAsync(_host.Home, Database, "nobody@example.org"));
        Assert.True(await Operators.SetAsync(_host.Home, Database, "Boss@example.org"));
        JsonElement shown = await me.GetAsync("/app/operator");
        Assert.Equal(64, shown.GetProperty("engines")[0].GetProperty("statistics").GetProperty("pages").GetInt32());
        Assert.True(await Operators.SetAsync(_host.Home, Database, "boss@example.org", granted: false));
        Assert.Equal(HttpStatusCode.NotFound, (await me.RefusedAsync(HttpMethod.Get, "/app/operator")).Status);
        using ChatBrowser stranger = _host.Browse();
        Assert.Equal(HttpStatusCode.Unauthorized, (await stranger.RefusedAsync(HttpMethod.Get, "/app/operator")).Status);
    }

    [Fact]
    public async Task State_is_readable_by_its_owner_alone()
    {
        using ChatBrowser me = await _host.SignUpAsync("mode@example.org");
        if (OperatingSystem.IsWindows()) return;
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Outbox.File(_host.Home)));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(_host.Home, "hadal.db")));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(Path.Combine(_host.Home, "protection")));
    }

    static StringContent JsonContent(string json) => new(json, System.Text.Encoding.UTF8, "application/json");

    // An answer without its random identifiers.
    static string Shape(string json) => System.Text.RegularExpressions.Regex.Replace(json, "[0-9a-f]{8}-[0-9a-f-]{27}", "id");
}
