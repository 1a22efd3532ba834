#if SERVER
using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Hadal.Cli.Framework;
using Hadal.Inference.Serving;
using Hadal.Server.Accounts;
using Hadal.Server.Hosting;
using Hadal.Server.Keys;
using Hadal.Tensors;
using Hadal.Training;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal serve</c>: DeepSeek's API and a chat in the browser.</summary>
static class ServeVerb
{
    public static Verb Create(Context context)
    {
        Option<string> model = Options.Model("models/nano");
        Option<string?> thinking = Options.Text("--thinking-model", "DIR", "A second model, for deepseek-reasoner and DeepThink (R1); without it one model does both.");
        Option<string> urls = new("--urls") { Description = "Addresses to listen on, separated by semicolons. TLS is a proxy's work.", HelpName = "URLS", DefaultValueFactory = _ => ServerOptions.DefaultUrl };
        Option<string?> home = Options.Text("--home", "DIR", "Folder of the server's state; HADAL_HOME when it is left out.");
        Option<string?> database = Options.Text("--database", "CONNECTION", "PostgreSQL's connection string (postgres://… or Host=…); HADAL_DATABASE when it is left out, else SQLite in the home folder.");
        Option<string?> smtp = Options.Text("--smtp", "ADDRESS", "Mail server that carries the codes of accounts, smtp://user@host:587 or smtps://user@host; HADAL_SMTP when it is left out, the password in HADAL_SMTP_PASSWORD. Without one they lie in the outbox.");
        Option<bool> strict = Options.Switch("--strict-deepseek", "The reasoner refuses what the original refuses: reasoning sent back, log probabilities, tools.");
        Option<bool> fast = Options.Switch("--fast", "Faster sampling of drafted tokens; the same seed then gives the same text only under the same load.");
        Option<int> running = Options.Integer("--max-running", "Most requests generated together.", 32, 1, 4096);
        Option<int> queue = Options.Integer("--queue", "Most requests that wait; one more is answered 429.", 256, 1, 1 << 20);
        Option<long> cache = Options.Bytes("--cache", "Memory for the latent cache of each model.", 256L << 20, 1 << 20);
        Option<bool> shared = Options.Switch("--share-prefixes", "All users share cached prefixes; one can then learn by timing whether another sent a text.");
        Option<string> backend = Options.Backend();
        var verb = new Verb("serve", "Serves a model: the API of DeepSeek and OpenAI, and a chat in the browser. HADAL_API_KEY is the host's key; without it one is made at the first start and shown once.",
            "hadal serve", "hadal serve --model models/nano --urls http://127.0.0.1:8080", "hadal serve --model models/chat --thinking-model models/reasoner --strict-deepseek",
            "hadal serve --urls \"http://*:8080\" --database \"Host=db;Database=hadal;Username=hadal;Password=…\"")
        {
            model, thinking, urls, home, database, smtp, strict, fast, running, queue, cache, shared, backend,
            ServeMakeKeyVerb.Create(context),
            ServeOutboxVerb.Create(context),
            ServeGrantOperatorVerb.Create(context),
        };
        verb.SetAction(line => RunAsync(context, new Choice(line.GetRequiredValue(model), line.GetValue(thinking), line.GetRequiredValue(backend),
                new EngineOptions { Fast = line.GetValue(fast), MaxRunning = line.GetValue(running), QueueLength = line.GetValue(queue), CacheBytes = line.GetValue(cache), SharedPrefixes = line.GetValue(shared) }),
            line.GetRequiredValue(urls).Split(';', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries), line.GetValue(home) ?? HadalHome.Folder,
            line.GetValue(database) ?? Environment.GetEnvironmentVariable("HADAL_DATABASE"), line.GetValue(strict), line.GetValue(smtp)).GetAwaiter().GetResult());
        return verb;
    }

    static async Task<int> RunAsync(Context context, Choice choice, string[] urls, string home, string? database, bool strict, string? smtp)
    {
        long begun = Stopwatch.GetTimestamp();
        foreach (string url in urls) _ = BindingAddress.Parse(url); // before anything is loaded
        MailOptions? mail = MailOptions.FromEnvironment(Environment.GetEnvironmentVariable, smtp);
        ModelFolder.Require(choice.Model);
        if (choice.Thinking is not null) ModelFolder.Require(choice.Thinking);
        string? hostKey = Environment.GetEnvironmentVariable("HADAL_API_KEY");
        TextWriter notes = context.Terminal.Error;
        IInferenceEngine plain = Open(context, choice, choice.Model, "deepseek-chat");
        IInferenceEngine thinking = choice.Thinking is null ? plain : Open(context, choice, choice.Thinking, "deepseek-reasoner");
        await using WebApplication app = HadalServer.Build(new ServerOptions
        {
            Plain = plain,
            Thinking = thinking,
            Home = home,
            Urls = urls,
            Database = database,
            ApiKey = string.IsNullOrEmpty(hostKey) ? null : hostKey,
            StrictDeepSeek = strict,
            Mail = mail,
        });
        await app.StartAsync(context.Cancellation);
        foreach (string url in app.Urls) notes.WriteLine($"Serving {Path.GetFileName(Path.TrimEndingDirectorySeparator(choice.Model))} at {url} (the chat at /, the API at /v1, its description at /docs).");
        notes.WriteLine(string.Create(CultureInfo.InvariantCulture, $"Ready after {Stopwatch.GetElapsedTime(begun).TotalSeconds:0.0} s with {Environment.WorkingSet / 1048576.0:0} MiB. State is in {home}. Ctrl-C stops after the answers being written."));
        if (await app.Services.GetRequiredService<ApiKeyService>().EnsureHostKeyAsync(context.Cancellation) is string secret)
        {
            notes.WriteLine("API key, shown this once (hadal serve make-key makes more):");
            context.Terminal.Output.WriteLine(secret);
        }
        else
        {
            notes.WriteLine(string.IsNullOrEmpty(hostKey) ? "API keys were made before; hadal serve make-key makes another." : "API key: as HADAL_API_KEY says.");
        }

        if (mail is null)
        {
            notes.WriteLine(urls.All(url => BindingAddress.Parse(url).IsLoopback)
                ? "No mail server (--smtp): the codes of new accounts are shown by hadal serve outbox."
                : "No mail server (--smtp), and other machines reach this one: nobody can sign up.");
        }

        try
        {
            await Task.Delay(Timeout.InfiniteTimeSpan, context.Cancellation);
        }
        catch (OperationCanceledException)
        {
            notes.WriteLine("Shutting down: answers being written are finished. Ctrl-C again leaves at once.");
        }

        await app.StopAsync();
        notes.WriteLine("Stopped.");
        return ExitCode.Fine;
    }

    static IInferenceEngine Open(Context context, Choice choice, string folder, string name)
    {
        IBackend device = Backends.Create(choice.Backend, context);
        return EngineFactory.Open(folder, name, choice.Engine, device, warning => context.Terminal.Error.WriteLine($"warning: {warning}"));
    }

    sealed record Choice(string Model, string? Thinking, string Backend, EngineOptions Engine);
}
#endif
