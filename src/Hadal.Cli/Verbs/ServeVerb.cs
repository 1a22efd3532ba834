#if SERVER
using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Hadal.Cli.Framework;
using Hadal.Inference.Serving;
using Hadal.Inference.Serving.Workers;
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
        Option<string?> urls = Options.Text("--urls", "URLS", $"Addresses to listen on, separated by semicolons. TLS is a proxy's work. [default: {ServerOptions.DefaultUrl}; workers take a free port and print it]");
        Option<string?> role = Options.OptionalChoice("--role", "One process of several: prefill reads prompts, decode writes texts, router is the server in front of both. Without it one process does all.", "prefill", "decode", "router");
        Option<string> phases = Options.Choice("--phases", "Without --role: prefill and decode as separate workers of this process, which hand pages on, or joined in one engine. No text changes.", "separate", "joined");
        Option<string?> workers = Options.Text("--workers", "URLS", "With --role router: addresses of prefill and decode workers, separated by semicolons; each says which it is, and may come and go.");
        Option<string?> thinkingWorkers = Options.Text("--thinking-workers", "URLS", "With --role router: workers of a second model, for deepseek-reasoner and DeepThink (R1).");
        Option<TimeSpan?> ttft = Options.Duration("--ttft", "Goal for the time to the first token: requests wait in line rather than miss it.");
        Option<TimeSpan?> tpot = Options.Duration("--tpot", "Goal for the time of each further token: fewer texts are written at once rather than miss it.");
        Option<string?> home = Options.Text("--home", "DIR", "Folder of the server's state; HADAL_HOME when it is left out.");
        Option<string?> database = Options.Text("--database", "CONNECTION", "PostgreSQL's connection string (postgres://… or Host=…); HADAL_DATABASE when it is left out, else SQLite in the home folder.");
        Option<string?> smtp = Options.Text("--smtp", "ADDRESS", "Mail server that carries the codes of accounts, smtp://user@host:587 or smtps://user@host; HADAL_SMTP when it is left out, the password in HADAL_SMTP_PASSWORD. Without one they lie in the outbox.");
        Option<int?> keyRequests = Options.OptionalInteger("--key-requests-per-minute", "Most requests a minute of all API keys of one person together, and the limit of each unless they ask for less; without it they choose. Keys of the host are free of it.", 1);
        Option<int?> keyTokens = Options.OptionalInteger("--key-tokens-per-day", "Most tokens a day of all API keys of one person together, likewise.", 1);
        Option<bool> strict = Options.Switch("--strict-deepseek", "The reasoner refuses what the original refuses: reasoning sent back, log probabilities, tools.");
        Option<bool> fast = Options.Switch("--fast", "Faster sampling of drafted tokens; the same seed then gives the same text only under the same load.");
        Option<bool> plainDecoding = Options.Switch("--no-speculation", "No token is drafted by the model's MTP module. No text changes.");
        Option<int> running = Options.Integer("--max-running", "Most requests generated together.", 32, 1, 4096);
        Option<int> queue = Options.Integer("--queue", "Most requests that wait; one more is answered 429.", 256, 1, 1 << 20);
        Option<long> cache = Options.Bytes("--cache", "Memory for the latent cache of each model, half of it for each phase where they are separate.", 256L << 20, 1 << 20);
        Option<string?> cacheFolder = Options.Text("--cache-folder", "DIR", "Folder for cached prefixes that outlive memory and the process; without it they live in memory alone.");
        Option<long> cacheFolderSize = Options.Bytes("--cache-folder-size", "Most bytes in the cache folder of each model; the least recently used go.", 4L << 30, 1 << 20);
        Option<bool> shared = Options.Switch("--share-prefixes", "All users share cached prefixes; one can then learn by timing whether another sent a text.");
        Option<string> backend = Options.Backend();
        var verb = new Verb("serve", "Serves a model: the API of DeepSeek and OpenAI, and a chat in the browser. HADAL_API_KEY is the host's key; without it one is made at the first start and shown once.",
            "hadal serve", "hadal serve --model models/nano --urls http://127.0.0.1:8080", "hadal serve --model models/chat --thinking-model models/reasoner --strict-deepseek",
            "hadal serve --smtp smtps://hadal@mail.example.org --key-requests-per-minute 60 --key-tokens-per-day 1000000",
            "hadal serve --urls \"http://*:8080\" --database \"Host=db;Database=hadal;Username=hadal;Password=…\"",
            "hadal serve --role prefill --urls http://127.0.0.1:7001", "hadal serve --role decode --urls http://127.0.0.1:7002",
            "hadal serve --role router --workers \"http://127.0.0.1:7001;http://127.0.0.1:7002\" --ttft 2s --tpot 50ms")
        {
            model, thinking, urls, role, phases, workers, thinkingWorkers, ttft, tpot, home, database, smtp, keyRequests, keyTokens, strict, fast, plainDecoding, running, queue, cache, cacheFolder, cacheFolderSize, shared, backend,
            ServeMakeKeyVerb.Create(context),
            ServeOutboxVerb.Create(context),
            ServeGrantOperatorVerb.Create(context),
        };
        verb.SetAction(line =>
        {
            var choice = new ServeChoice
            {
                Model = line.GetRequiredValue(model),
                Thinking = line.GetValue(thinking),
                Backend = line.GetRequiredValue(backend),
                Urls = Addresses(line.GetValue(urls)),
                Workers = Addresses(line.GetValue(workers)),
                ThinkingWorkers = Addresses(line.GetValue(thinkingWorkers)),
                Home = line.GetValue(home) ?? HadalHome.Folder,
                Database = line.GetValue(database) ?? Environment.GetEnvironmentVariable("HADAL_DATABASE"),
                Mail = line.GetValue(smtp),
                KeyRequestsPerMinute = line.GetValue(keyRequests),
                KeyTokensPerDay = line.GetValue(keyTokens),
                IsStrict = line.GetValue(strict),
                IsJoined = line.GetRequiredValue(phases) is "joined",
                Router = new RouterOptions { TimeToFirstToken = line.GetValue(ttft), TimePerOutputToken = line.GetValue(tpot), QueueLength = line.GetValue(queue) },
                Engine = new EngineOptions
                {
                    Fast = line.GetValue(fast), Speculate = !line.GetValue(plainDecoding), MaxRunning = line.GetValue(running), QueueLength = line.GetValue(queue), CacheBytes = line.GetValue(cache),
                    CacheDirectory = line.GetValue(cacheFolder), CacheDirectoryBytes = line.GetValue(cacheFolderSize), SharedPrefixes = line.GetValue(shared),
                },
            };
            return (line.GetValue(role) switch
            {
                "prefill" => ServeRoles.WorkAsync(context, choice, Hadal.Server.Workers.WorkerRole.Prefill),
                "decode" => ServeRoles.WorkAsync(context, choice, Hadal.Server.Workers.WorkerRole.Decode),
                "router" => ServeAsync(context, choice, ServeRoles.ConnectAsync),
                _ => ServeAsync(context, choice, OpenAsync),
            }).GetAwaiter().GetResult();
        });
        return verb;
    }

    /// <summary>Loads a model.</summary>
    public static InferenceEngine Open(Context context, ServeChoice choice, string folder, string name)
    {
        ModelFolder.Require(folder);
        IBackend device = Backends.Create(choice.Backend, context);
        return EngineFactory.Open(folder, name, choice.Engine, device, warning => context.Terminal.Error.WriteLine($"warning: {warning}"));
    }

    static string[] Addresses(string? urls) => urls?.Split(';', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries) ?? [];

    static Task<(IInferenceEngine Plain, IInferenceEngine Thinking)> OpenAsync(Context context, ServeChoice choice)
    {
        if (choice.Workers.Count + choice.ThinkingWorkers.Count > 0) throw CommandError.WrongUse("Workers were given without --role router.", "--role router", "add it, or leave --workers out");
        if (choice.Thinking is not null) ModelFolder.Require(choice.Thinking, "--thinking-model");
        IInferenceEngine plain = OpenPhases(context, choice, choice.Model, "deepseek-chat");
        return Task.FromResult((plain, choice.Thinking is null ? plain : OpenPhases(context, choice, choice.Thinking, "deepseek-reasoner")));
    }

    static IInferenceEngine OpenPhases(Context context, ServeChoice choice, string folder, string name)
    {
        if (choice.IsJoined) return WithGoals(Open(context, choice, folder, name), choice.Router);
        ModelFolder.Require(folder);
        return EngineFactory.OpenSeparate(folder, name, choice.Engine, choice.Router, Backends.Create(choice.Backend, context), warning => context.Terminal.Error.WriteLine($"warning: {warning}"));
    }

    // A goal is a router's work; one worker in this process is enough for it.
    static IInferenceEngine WithGoals(InferenceEngine engine, RouterOptions options) =>
        options.TimeToFirstToken is null && options.TimePerOutputToken is null ? engine : new Router(engine.Model, [], [new LocalWorker("this process", engine)], options, engine);

    static async Task<int> ServeAsync(Context context, ServeChoice choice, Func<Context, ServeChoice, Task<(IInferenceEngine Plain, IInferenceEngine Thinking)>> open)
    {
        long begun = Stopwatch.GetTimestamp();
        IReadOnlyList<string> urls = choice.Urls.Count == 0 ? [ServerOptions.DefaultUrl] : choice.Urls;
        foreach (string url in urls) _ = BindingAddress.Parse(url); // before anything is loaded
        MailOptions? mail = MailOptions.FromEnvironment(Environment.GetEnvironmentVariable, choice.Mail);
        string? hostKey = Environment.GetEnvironmentVariable("HADAL_API_KEY");
        TextWriter notes = context.Terminal.Error;
        (IInferenceEngine plain, IInferenceEngine thinking) = await open(context, choice);
        await using WebApplication app = HadalServer.Build(new ServerOptions
        {
            Plain = plain,
            Thinking = thinking,
            Home = choice.Home,
            Urls = urls,
            Database = choice.Database,
            ApiKey = string.IsNullOrEmpty(hostKey) ? null : hostKey,
            StrictDeepSeek = choice.IsStrict,
            Mail = mail,
            KeyRequestsPerMinute = choice.KeyRequestsPerMinute,
            KeyTokensPerDay = choice.KeyTokensPerDay,
        });
        await ServeStart.StartAsync(app, urls, context.Cancellation);
        string served = choice.Workers.Count > 0 ? $"{choice.Workers.Count + choice.ThinkingWorkers.Count} workers" : Path.GetFileName(Path.TrimEndingDirectorySeparator(choice.Model));
        foreach (string url in app.Urls) notes.WriteLine($"Serving {served} at {url} (the chat at /, the API at /v1, its description at /docs).");
        notes.WriteLine(string.Create(CultureInfo.InvariantCulture, $"Ready after {Stopwatch.GetElapsedTime(begun).TotalSeconds:0.0} s with {Environment.WorkingSet / 1048576.0:0} MiB. State is in {choice.Home}. Ctrl-C stops after the answers being written."));
        if (choice.Workers.Count == 0) ServeRoles.SayFast(notes, choice);
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

        await ServeRoles.UntilInterruptedAsync(context, "Shutting down: answers being written are finished. Ctrl-C again leaves at once.");
        await app.StopAsync();
        foreach (IInferenceEngine engine in new[] { plain, thinking }.Distinct()) ServeRoles.SayGoals(notes, engine.Statistics.Goals, choice.Router);
        notes.WriteLine("Stopped.");
        return ExitCode.Fine;
    }
}

/// <summary>What the command line of <c>hadal serve</c> says.</summary>
sealed record ServeChoice
{
    public required string Model { get; init; }

    public string? Thinking { get; init; }

    public required string Backend { get; init; }

    public required IReadOnlyList<string> Urls { get; init; }

    public required IReadOnlyList<string> Workers { get; init; }

    public required IReadOnlyList<string> ThinkingWorkers { get; init; }

    public required string Home { get; init; }

    public string? Database { get; init; }

    public string? Mail { get; init; }

    public int? KeyRequestsPerMinute { get; init; }

    public int? KeyTokensPerDay { get; init; }

    public bool IsStrict { get; init; }

    public bool IsJoined { get; init; }

    public required RouterOptions Router { get; init; }

    public required EngineOptions Engine { get; init; }
}
#endif
