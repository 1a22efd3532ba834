#if SERVER
using System.Diagnostics;
using System.Globalization;
using Hadal.Cli.Framework;
using Hadal.Inference.Serving;
using Hadal.Inference.Serving.Workers;
using Hadal.Server.Hosting;
using Hadal.Server.Workers;
using Microsoft.AspNetCore.Builder;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal serve --role</c>: prefill and decode workers as processes of their own, and the router before them.</summary>
static class ServeRoles
{
    static string? Key => Environment.GetEnvironmentVariable(WorkerOptions.KeyVariable) is { Length: > 0 } key ? key : null;

    /// <summary>A worker: prints its address on standard output, one line each, and works until it is interrupted.</summary>
    public static async Task<int> WorkAsync(Context context, ServeChoice choice, WorkerRole role)
    {
        long begun = Stopwatch.GetTimestamp();
        if (choice.Thinking is not null) throw CommandError.WrongUse("A worker was given --thinking-model.", "one model for each worker", "start further workers with it as --model, and name them to the router with --thinking-workers");
        if (choice.Workers.Count + choice.ThinkingWorkers.Count > 0) throw CommandError.WrongUse("A worker was given workers.", "--workers for --role router alone", "leave it out");
        IReadOnlyList<string> urls = choice.Urls.Count == 0 ? [WorkerOptions.DefaultUrl] : choice.Urls;
        foreach (string url in urls) _ = BindingAddress.Parse(url); // before anything is loaded
        string? key = Key;
        TextWriter notes = context.Terminal.Error;
        await using WebApplication app = WorkerServer.Build(new WorkerOptions { Engine = ServeVerb.Open(context, choice, choice.Model, "deepseek-chat"), Role = role, Urls = urls, Key = key });
        await ServeStart.StartAsync(app, urls, context.Cancellation);
        foreach (string url in app.Urls) context.Terminal.Output.WriteLine(url);
        notes.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"Ready to {(role == WorkerRole.Prefill ? "read prompts" : "write texts")} after {Stopwatch.GetElapsedTime(begun).TotalSeconds:0.0} s with {Environment.WorkingSet / 1048576.0:0} MiB. Ctrl-C stops after what is being computed."));
        SayFast(notes, choice);
        await UntilInterruptedAsync(context, "Shutting down: what is being computed is finished. Ctrl-C again leaves at once.");
        await app.StopAsync();
        notes.WriteLine("Stopped.");
        return ExitCode.Fine;
    }

    /// <summary>Engines made of workers in other processes; returns when one decode worker of each is there.</summary>
    public static async Task<(IInferenceEngine Plain, IInferenceEngine Thinking)> ConnectAsync(Context context, ServeChoice choice)
    {
        if (choice.Workers.Count == 0) throw CommandError.WrongUse("A router was given no worker.", "--workers with at least the address of a decode worker", "start workers with --role prefill and --role decode; each prints its address");
        Uri[] plain = Parse("--workers", choice.Workers), thinking = Parse("--thinking-workers", choice.ThinkingWorkers);
        IInferenceEngine first = await ConnectAsync(context, choice, "deepseek-chat", plain);
        return (first, thinking.Length == 0 ? first : await ConnectAsync(context, choice, "deepseek-reasoner", thinking));
    }

    /// <summary>Returns at the first Ctrl-C.</summary>
    public static async Task UntilInterruptedAsync(Context context, string note)
    {
        await Task.Delay(Timeout.InfiniteTimeSpan, context.Cancellation).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        context.Terminal.Error.WriteLine(note);
    }

    /// <summary>Says what <c>--fast</c> gives up.</summary>
    public static void SayFast(TextWriter notes, ServeChoice choice)
    {
        if (choice.Engine.Fast) notes.WriteLine("--fast: a sampled text also depends on the load; the same seed may give another one. Greedy texts (temperature 0) do not change.");
    }

    /// <summary>Says how often the goals held, where there were any.</summary>
    public static void SayGoals(TextWriter notes, RouterReport? report, RouterOptions options)
    {
        if (report is null || report.Requests == 0) return;
        if (options.TimeToFirstToken is TimeSpan first) notes.WriteLine(Line("first token within", first, report.FirstTokenHeld, report.MeanFirstToken));
        if (options.TimePerOutputToken is TimeSpan each) notes.WriteLine(Line("each further token within", each, report.PerTokenHeld, report.MeanPerToken));
        if (report.Redone > 0) notes.WriteLine($"Begun again elsewhere, because a worker failed: {report.Redone} times.");

        string Line(string what, TimeSpan goal, long held, TimeSpan mean) => string.Create(CultureInfo.InvariantCulture,
            $"Goal, {what} {goal.TotalMilliseconds:0} ms: held by {held} of {report.Requests} requests ({100.0 * held / report.Requests:0.0} %), mean {mean.TotalMilliseconds:0.0} ms.");
    }

    static async Task<IInferenceEngine> ConnectAsync(Context context, ServeChoice choice, string name, Uri[] addresses) =>
        await WorkerDirectory.ConnectAsync(name, addresses, choice.Router, Key, context.Terminal.Error.WriteLine, context.Cancellation);

    static Uri[] Parse(string option, IReadOnlyList<string> addresses) => [.. addresses.Select(address =>
        Uri.TryCreate(address, UriKind.Absolute, out Uri? uri) && uri.Scheme is "http" or "https" && uri is { PathAndQuery: "/" } && uri.Port > 0 ? uri
            : throw CommandError.WrongUse($"{option} was given \"{address}\".", "addresses such as http://127.0.0.1:7001, separated by semicolons", "use the address that the worker printed"))];
}
#endif
