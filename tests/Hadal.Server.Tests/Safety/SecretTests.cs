using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Hadal.Inference.Serving.Workers;
using Hadal.Server.Accounts;
using Hadal.Server.Tests.Accounts;
using Hadal.Server.Tests.Chat;
using Hadal.Server.Tests.Database;
using Hadal.Server.Workers;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Tests.Safety;

/// <summary>Secrets on their ways through the server, with every log at its finest level: none of them comes out in a log, a span, a measurement, the words of an error, or a file.</summary>
public sealed class SecretTests
{
    const string FirstPassword = "a first phrase for the door", SecondPassword = "a second phrase for the door", WrongPassword = "a wrong phrase for the door";
    const string MailPassword = "the-password-of-the-mail-server", WorkerKey = "the-secret-between-the-workers", DatabasePassword = "the-password-of-the-database", PrivateText = "my private question about the deep";

    [Fact]
    [Trait("tier", "full")]
    public async Task An_account_from_sign_up_to_its_end_leaves_no_secret_behind()
    {
        using var heard = new Recorder();
        var secrets = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["first password"] = FirstPassword, ["second password"] = SecondPassword, ["wrong password"] = WrongPassword, ["private text"] = PrivateText, ["host key"] = "a-key-of-the-host-for-tests",
            ["mail password"] = MailPassword, ["mail password on the wire"] = Convert.ToBase64String(Encoding.UTF8.GetBytes($"\0hadal\0{MailPassword}")),
        };
        var codes = new List<string>();
        await using var mail = new MailServer { Refusals = 1 };
        var engine = new ScriptedEngine();
        await using ChatHost host = await ChatHost.StartAsync(engine, options => options with
        {
            Mail = MailOptions.Parse($"smtp://hadal@127.0.0.1:{mail.Port}", MailPassword),
            Logging = logging => logging.SetMinimumLevel(LogLevel.Trace).AddProvider(heard),
        });
        using ChatBrowser me = host.Browse();
        JsonElement begun = await me.PostAsync("/app/accounts/sign-up", new { email = "ada@example.org", fullName = "Ada", password = FirstPassword });
        secrets["ticket"] = begun.GetProperty("ticket").GetString()!;
        codes.Add(Code(await mail.MailAsync("ada@example.org")));
        await me.RefusedAsync(HttpMethod.Post, "/app/accounts/verify", new { ticket = begun.GetProperty("ticket").GetGuid(), code = codes[0] + "0" });
        await me.PostAsync("/app/accounts/verify", new { ticket = begun.GetProperty("ticket").GetGuid(), code = codes[0] });
        await me.PostAsync("/app/accounts/sign-out", new { });
        await me.RefusedAsync(HttpMethod.Post, "/app/accounts/sign-in", new { email = "ada@example.org", password = WrongPassword });
        mail.Mails.Clear();
        JsonElement reset = await me.PostAsync("/app/accounts/reset", new { email = "ada@example.org" });
        secrets["ticket of the reset"] = reset.GetProperty("ticket").GetString()!;
        codes.Add(Code(await mail.MailAsync("ada@example.org")));
        await me.PostAsync("/app/accounts/reset/confirm", new { ticket = reset.GetProperty("ticket").GetGuid(), code = codes[1], password = SecondPassword });
        using (HttpResponseMessage signedIn = await me.TryAsync(HttpMethod.Post, "/app/accounts/sign-in", new { email = "ada@example.org", password = SecondPassword }))
        {
            foreach (string cookie in signedIn.Headers.GetValues("Set-Cookie")) secrets["cookie " + cookie.Split('=')[0]] = cookie.Split(';')[0].Split('=', 2)[1];
            secrets["token of the page"] = JsonDocument.Parse(await signedIn.Content.ReadAsStringAsync(TestContext.Current.CancellationToken)).RootElement.GetProperty("token").GetString()!;
        }

        string key = (await me.PostAsync("/app/keys", new { name = "laptop" })).GetProperty("secret").GetString()!;
        secrets["key"] = key[Keys.KeySecret.PrefixLength..];
        using var program = new HttpClient { BaseAddress = new Uri(host.Address) };
        async Task<HttpStatusCode> AskAsync(string with, string body)
        {
            program.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", with);
            using HttpResponseMessage response = await program.PostAsync("/v1/chat/completions", new StringContent(body, Encoding.UTF8, "application/json"));
            return response.StatusCode;
        }

        string question = $$"""{"model":"deepseek-chat","messages":[{"role":"user","content":"{{PrivateText}}"}]}""";
        Assert.Equal(HttpStatusCode.OK, await AskAsync(key, question));
        Assert.Equal(HttpStatusCode.Unauthorized, await AskAsync(key + "x", question));
        Assert.Equal(HttpStatusCode.BadRequest, await AskAsync(key, question[..^3]));
        JsonElement talk = await me.PostAsync("/app/conversations", new { text = PrivateText, deepThink = true });
        string conversation = $"/app/conversations/{talk.GetProperty("id").GetGuid()}";
        await me.EventsAsync($"{conversation}/messages/{talk.GetProperty("leafId").GetGuid()}/events");
        engine.Fault = new InvalidOperationException("the model broke");
        Assert.Equal(HttpStatusCode.InternalServerError, await AskAsync(key, question));
        talk = await me.PostAsync("/app/conversations", new { text = PrivateText, deepThink = false });
        await me.EventsAsync($"/app/conversations/{talk.GetProperty("id").GetGuid()}/messages/{talk.GetProperty("leafId").GetGuid()}/events");
        await me.GetAsync(conversation);
        program.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", "a-key-of-the-host-for-tests");
        string metrics = await program.GetStringAsync("/metrics", TestContext.Current.CancellationToken);
        await me.PostAsync("/app/accounts/password", new { current = SecondPassword, password = FirstPassword + " again" });
        Assert.Contains(heard.Logs, line => line.Contains("the model broke", StringComparison.Ordinal)); // it was listening
        Assert.Contains(heard.Logs, line => line.Contains("A mail could not be sent", StringComparison.Ordinal));
        Assert.Contains(heard.Logs, line => line.Contains("Executed DbCommand", StringComparison.Ordinal));
        Assert.Contains(heard.Spans, span => span.StartsWith("generate", StringComparison.Ordinal));
        Assert.Contains(heard.Measurements, tags => tags.StartsWith("hadal.requests", StringComparison.Ordinal));
        NoneIn(secrets, codes, [.. heard.All, metrics]);

        // Nor in the folder: texts of conversations belong there, secrets do not.
        secrets.Remove("private text");
        foreach (string name in secrets.Keys.Where(name => name.StartsWith("ticket", StringComparison.Ordinal)).ToArray()) secrets.Remove(name); // a ticket without its code opens nothing
        NoneIn(secrets, [], Directory.EnumerateFiles(host.Home, "*", SearchOption.AllDirectories).Select(Text));
        await me.PostAsync("/app/accounts/delete", new { password = FirstPassword + " again" });
        NoneIn(secrets, codes, heard.All);
    }

    [Fact]
    public async Task The_key_between_roles_stays_between_them()
    {
        using var heard = new Recorder();
        using var model = new Inference.Tests.Serving.TestModel();
        var options = new WorkerOptions
        {
            Engine = new Inference.Serving.InferenceEngine(model.Served, model.Transformer), Role = WorkerRole.Decode, Key = WorkerKey, ShutdownGrace = TimeSpan.Zero,
            Logging = logging => logging.SetMinimumLevel(LogLevel.Trace).AddProvider(heard),
        };
        await using WebApplication worker = WorkerServer.Build(options);
        await worker.StartAsync(TestContext.Current.CancellationToken);
        Uri address = new(worker.Urls.First());
        var notes = new System.Collections.Concurrent.ConcurrentQueue<string>();
        using (var enough = new CancellationTokenSource(TimeSpan.FromSeconds(1)))
        {
            Exception refused = await Assert.ThrowsAnyAsync<OperationCanceledException>(() => WorkerDirectory.ConnectAsync("test", [address], key: WorkerKey + " but wrong", note: notes.Enqueue, cancellationToken: enough.Token));
            notes.Enqueue(refused.ToString());
        }

        await using (Router router = await WorkerDirectory.ConnectAsync("test", [address], key: WorkerKey, note: notes.Enqueue).WaitAsync(TimeSpan.FromSeconds(90), TestContext.Current.CancellationToken))
        {
            var request = new Inference.Serving.GenerationRequest { Prompt = new[] { 5, 6, 7 }, MaxNewTokens = 3, Sampling = Inference.SamplingParameters.Greedy };
            await Inference.Tests.Serving.Answer.Read(router.GenerateAsync(request, TestContext.Current.CancellationToken));
        }

        notes.Enqueue(Assert.Throws<ArgumentException>(() => (options with { Key = WorkerKey[..10] }).Validate()).ToString());
        Assert.NotEmpty(heard.Logs);
        NoneIn(new Dictionary<string, string>(StringComparer.Ordinal) { ["worker key"] = WorkerKey, ["its beginning"] = WorkerKey[..10] }, [], [.. heard.All, .. notes]);
    }

    [Theory]
    [InlineData("Host=127.0.0.1;Port=1;Database=hadal;Username=hadal;Password=the-password-of-the-database;Timeout=3")]
    [InlineData("postgres://hadal:the-password-of-the-database@127.0.0.1:1/hadal?x")]
    [InlineData("Host=127.0.0.1;Password=x;the-password-of-the-database=1")]
    [InlineData("postgres://hadal:the-password-of-the-database@127.0.0.1:999999/hadal")]
    public async Task A_database_that_cannot_be_opened_is_told_of_without_its_password(string connection)
    {
        using var heard = new Recorder();
        string home = Directory.CreateTempSubdirectory("hadal-secrets-").FullName;
        try
        {
            Exception failed = await Assert.ThrowsAnyAsync<Exception>(() => ChatHost.StartAsync(new ScriptedEngine(), options => options with
            {
                Database = connection,
                Logging = logging => logging.SetMinimumLevel(LogLevel.Trace).AddProvider(heard),
            }, home));
            NoneIn(new Dictionary<string, string>(StringComparer.Ordinal) { ["password"] = DatabasePassword }, [], [.. heard.All, failed.ToString()]);
        }
        finally
        {
            Folders.Delete(home);
        }
    }

    [Theory]
    [InlineData("smtp://hadal:the-password-of-the-mail-server@example.org:25/path")]
    [InlineData("imap://hadal:the-password-of-the-mail-server@example.org")]
    [InlineData("hadal:the-password-of-the-mail-server@example.org:999999")]
    public void A_mail_server_that_cannot_be_read_is_named_without_its_password(string address)
    {
        string words = Assert.Throws<ArgumentException>(() => MailOptions.Parse(address)).ToString();
        Assert.Contains("@example.org", words, StringComparison.Ordinal);
        Assert.DoesNotContain(MailPassword, words, StringComparison.Ordinal);
    }

    /// <summary>Fails with the name of the secret and the place where it stands, and not with the secret.</summary>
    internal static void NoneIn(IReadOnlyDictionary<string, string> secrets, IEnumerable<string> codes, IEnumerable<string> places)
    {
        Assert.DoesNotContain(secrets, secret => secret.Value.Length < 8);
        (string Name, Regex Form)[] forms = [.. secrets.Select(secret => (secret.Key, new Regex(Regex.Escape(secret.Value), RegexOptions.None, TimeSpan.FromSeconds(10)))),
            .. codes.Select(code => ("code", new Regex($"(?<![0-9A-Za-z.:_-]){code}(?![0-9A-Za-z.:_-])", RegexOptions.None, TimeSpan.FromSeconds(10))))];
        foreach (string place in places)
            foreach ((string name, Regex form) in forms)
                Assert.False(form.IsMatch(place), $"The {name} stands in: {form.Replace(place, "[HERE]")}");
    }

    static string Code(string mail) => Regex.Match(mail, "(?<=ode: )[0-9]{6}", RegexOptions.None, TimeSpan.FromSeconds(1)).Value;

    static string Text(string file)
    {
        using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        using var reader = new StreamReader(stream, Encoding.Latin1);
        return reader.ReadToEnd();
    }
}

/// <summary>The same for PostgreSQL, whose password travels to it.</summary>
[Trait("tier", "full")]
public sealed class PostgresSecretTests(PostgresServer server) : IClassFixture<PostgresServer>
{
    [Fact]
    public async Task The_password_of_the_database_stays_in_its_connection_string()
    {
        using var heard = new Recorder();
        const string Password = "the-password-of-the-database";
        await using ChatHost host = await ChatHost.StartAsync(new ScriptedEngine(), options => options with
        {
            Database = server.NewDatabase() + ";Password=" + Password,
            Logging = logging => logging.SetMinimumLevel(LogLevel.Trace).AddProvider(heard),
        });
        using ChatBrowser me = await host.SignUpAsync("ada@example.org");
        await me.GetAsync("/app/keys");
        Assert.Contains(heard.Logs, line => line.Contains("hadal_", StringComparison.Ordinal)); // it says which database
        var secrets = new Dictionary<string, string>(StringComparer.Ordinal) { ["password"] = Password };
        SecretTests.NoneIn(secrets, [], heard.All);
    }
}
