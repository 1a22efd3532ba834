#if SERVER
using System.Diagnostics;
using System.Globalization;
using Hadal.Cli.Framework;
using Hadal.Inference.Measurement;
using Hadal.Inference.Serving;
using Hadal.Inference.Serving.Workers;
using Hadal.Server.Workers;
using Hadal.Tensors.Cpu;

namespace Hadal.Cli.Verbs;

/// <summary>The parts that start processes of this program.</summary>
sealed partial record BenchServeRun
{
    int MixedRequests => Math.Min(60, 20 * Rounds);

    /// <summary>
    /// Readers and writers together: in this process by a joined engine and by separate workers, which take turns at all threads; then by one decode process that reads prompts too,
    /// with all threads, and by a prefill and a decode process with half of them each. All behind a router, twice without goals and twice with them, in turns (once each with a single round). Every run has prompts of
    /// its own, which no cache can hold, and all have the same runs.
    /// </summary>
    async Task WorkersAsync(BenchServeResult result)
    {
        int threads = Context.Threads ?? CpuOptions.FromEnvironment().Threads, half = Math.Max(1, threads / 2);
        LoadRow idle;
        int positions, vocabulary;
        await using (InferenceEngine engine = Open(new EngineOptions { Speculate = Speculate, PrefixCache = false }))
        {
            idle = await LoadAsync(engine, 1);
            positions = engine.Model.MaxPositions;
            vocabulary = engine.Model.Tokenizer.VocabularySize;
        }

        // The load keeps the engine busy for about two thirds of the time, were it one text after another.
        (int Prompt, int Answer) reader = (Math.Min(positions * 3 / 4, 16 * PromptTokens), 16), writer = (Math.Min(32, PromptTokens), Math.Min(Tokens, positions / 4));
        double seconds = ((reader.Prompt / idle.Prefill) + (reader.Answer * idle.PerToken) + (2 * ((writer.Prompt / idle.Prefill) + (writer.Answer * idle.PerToken)))) / 3;
        TimeSpan first = FirstTokenGoal ?? TimeSpan.FromSeconds(Math.Max(0.05, 4 * reader.Prompt / idle.Prefill)), each = PerTokenGoal ?? TimeSpan.FromSeconds(4 * idle.PerToken);
        result.Mixed = (reader, writer, first, each, seconds * 1.5);
        var here = new EngineOptions { Speculate = Speculate };
        await RunAsync("joined, in this process", options =>
        {
            InferenceEngine engine = Open(here);
            return Task.FromResult(new Router(engine.Model, [], [new LocalWorker("this process", engine)], options, engine));
        });
        await RunAsync("separate, in this process", options => Task.FromResult(EngineFactory.OpenSeparate(Model, "deepseek-chat", here, options, Backends.Create(Backend, Context))));
        using (ServedProcess one = await ServedProcess.StartAsync(this, "decode", threads)) await RunAsync("one process", options => ConnectAsync(options, one.Address));
        using (ServedProcess prefill = await ServedProcess.StartAsync(this, "prefill", half))
        using (ServedProcess decode = await ServedProcess.StartAsync(this, "decode", Math.Max(1, threads - half)))
            await RunAsync("prefill and decode as processes", options => ConnectAsync(options, prefill.Address, decode.Address));

        async Task<Router> ConnectAsync(RouterOptions options, params Uri[] addresses)
        {
            Router router = await WorkerDirectory.ConnectAsync("deepseek-chat", addresses, options, cancellationToken: Context.Cancellation);
            while (router.Workers < addresses.Length) await Task.Delay(50, Context.Cancellation);
            return router;
        }

        async Task RunAsync(string name, Func<RouterOptions, Task<Router>> open)
        {
            ulong run = 0;
            foreach ((int turn, bool goals) in Rounds == 1 ? ((int, bool)[])[(1, false), (1, true)] : [(1, false), (1, true), (2, true), (2, false)])
            {
                run++;
                string owner = string.Create(CultureInfo.InvariantCulture, $"run{run}");
                IReadOnlyList<TimedRequest> load = [.. ServeLoad.Mixed(MixedRequests, TimeSpan.FromSeconds(seconds * 1.5), reader, writer, vocabulary, 1000 * run)
                    .Select(timed => timed with { Request = timed.Request with { Owner = $"{owner}/{timed.Request.Owner}" } })];
                var options = new RouterOptions { TimeToFirstToken = goals ? first : null, TimePerOutputToken = goals ? each : null, QueueLength = MixedRequests };
                await using Router router = await open(options);
                await ServeLoad.RunAsync(router, ServeLoad.Requests(4, reader.Prompt, writer.Answer, vocabulary, (1000 * run) + 500), Context.Cancellation); // warms up
                LoadMeasurement measured = await ServeLoad.RunAsync(router, load, Context.Cancellation);
                RouterReport report = router.Report;
                result.Workers.Add((name, goals, turn, measured.Within(first, each), report, measured.FirstToken, measured.PerToken));
            }
        }
    }

    /// <summary>From the start of the process until it says that it serves, and its memory then; medians.</summary>
    async Task StartAsync(BenchServeResult result)
    {
        var seconds = new List<double>();
        var bytes = new List<long>();
        for (int round = 0; round < Rounds; round++)
        {
            long begun = Stopwatch.GetTimestamp();
            using ServedProcess process = await ServedProcess.StartAsync(this, null, null);
            seconds.Add(Stopwatch.GetElapsedTime(begun).TotalSeconds);
            process.Process.Refresh();
            bytes.Add(process.Process.WorkingSet64);
        }

        result.StartSeconds = seconds.Order().ElementAt(seconds.Count / 2);
        result.StartBytes = bytes.Order().ElementAt(bytes.Count / 2);
    }

    /// <summary><c>hadal serve</c> in a process of its own; killed when it is disposed.</summary>
    sealed class ServedProcess : IDisposable
    {
        readonly string _home;
        readonly List<string> _errors = [];

        ServedProcess(Process process, string home)
        {
            Process = process;
            _home = home;
        }

        public Process Process { get; }

        public Uri Address { get; private set; } = new("http://127.0.0.1");

        public static async Task<ServedProcess> StartAsync(BenchServeRun run, string? role, int? threads)
        {
            string program = Environment.ProcessPath ?? throw CommandError.Failed("The path of this program is unknown, so that no process of it can be started.");
            var start = new ProcessStartInfo(program) { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
            if (Path.GetFileNameWithoutExtension(program) is "dotnet") start.ArgumentList.Add(Environment.GetCommandLineArgs()[0]);
            foreach (string argument in (string[])["serve", "--model", run.Model, "--backend", run.Backend, "--urls", "http://127.0.0.1:0"]) start.ArgumentList.Add(argument);
            if (role is not null) Add(start, "--role", role);
            if (!run.Speculate) start.ArgumentList.Add("--no-speculation");
            if (threads is int count) Add(start, "--threads", count.ToString(CultureInfo.InvariantCulture));
            string home = Directory.CreateTempSubdirectory("hadal-bench-").FullName;
            Add(start, "--home", home);
            var served = new ServedProcess(Process.Start(start)!, home);
            try
            {
                await served.ReadyAsync(printsAddress: role is not null, run.Context.Cancellation);
                return served;
            }
            catch
            {
                served.Dispose();
                throw;
            }
        }

        public void Dispose()
        {
            if (!Process.HasExited) Process.Kill(entireProcessTree: true);
            Process.WaitForExit();
            Process.Dispose();
            Directory.Delete(_home, recursive: true);
        }

        static void Add(ProcessStartInfo start, string option, string value)
        {
            start.ArgumentList.Add(option);
            start.ArgumentList.Add(value);
        }

        async Task ReadyAsync(bool printsAddress, CancellationToken cancellationToken)
        {
            var ready = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            Process.ErrorDataReceived += (_, line) =>
            {
                if (line.Data is null) ready.TrySetException(CommandError.Failed($"A process of this program ended before it served: {string.Join(' ', _errors)}"));
                else if (line.Data.StartsWith("Ready", StringComparison.Ordinal)) ready.TrySetResult();
                else _errors.Add(line.Data);
            };
            Process.OutputDataReceived += (_, line) =>
            {
                if (Uri.TryCreate(line.Data, UriKind.Absolute, out Uri? address) && address.Scheme is "http") Address = address;
            };
            Process.BeginErrorReadLine();
            Process.BeginOutputReadLine();
            await ready.Task.WaitAsync(TimeSpan.FromMinutes(5), cancellationToken);
            for (int i = 0; i < 100 && printsAddress && Address.Port == 80; i++) await Task.Delay(10, cancellationToken); // a worker's address comes on the other stream, maybe later
        }
    }
}
#endif
