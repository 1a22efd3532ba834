using System.Collections.Concurrent;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Hadal.Inference;
using Hadal.Inference.Serving;
using Hadal.Inference.Serving.Workers;
using Hadal.Server.Workers;
using Hadal.Text;

namespace Hadal.Cli.Tests;

/// <summary><c>hadal serve --role</c> as real processes that are killed in the middle of texts: every text is the plain one, token for token.</summary>
public sealed class ServeRolesTests
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(180);
    static readonly Dictionary<string, string> NoKey = new(StringComparer.Ordinal);

    static GenerationRequest Request(int n, int prompt, int tokens) => new()
    {
        Prompt = Enumerable.Range(0, prompt).Select(i => 3 + ((i * (n + 3)) % 280)).ToArray(), MaxNewTokens = tokens, IgnoreEndTokens = true, Owner = $"owner{n % 3}",
        Sampling = n % 2 == 0 ? SamplingParameters.Greedy : new SamplingParameters(0.9, 0.9, (ulong)n), FrequencyPenalty = n == 3 ? 0.2 : 0,
    };

    [Fact]
    [Trait("tier", "full")]
    [Implements("V3 §3.4", "Prefilling and decoding are separated")]
    public async Task Texts_do_not_change_when_prefill_and_decode_processes_are_killed()
    {
        using var scratch = new Scratch();
        ServedFolder.Write(scratch["model"]);
        GenerationRequest[] requests = [.. Enumerable.Range(0, 8).Select(n => Request(n, 700 + (40 * n), 500))];
        int[][] expected = await ServedFolder.PlainAsync(scratch["model"], requests);
        Task<ServeProcess> Worker(string role, string url = "http://127.0.0.1:0") => ServeProcess.StartAsync(scratch, NoKey, "--role", role, "--model", scratch["model"], "--urls", url, "--threads", "1");
        ServeProcess[] workers = await Task.WhenAll(Worker("prefill"), Worker("prefill"), Worker("decode", $"http://127.0.0.1:{Ports.Free()}"), Worker("decode"));
        ServeProcess? again = null;
        try
        {
            var notes = new ConcurrentQueue<string>();
            await using Router router = await WorkerDirectory.ConnectAsync("test", [.. workers.Select(worker => new Uri(worker.FirstLine))], note: notes.Enqueue).WaitAsync(Limit);
            await Until(() => notes.Count(note => note.Contains("is there", StringComparison.Ordinal)) >= 4, notes);

            // The first prefill worker dies while prompts are computed, the first decode worker in the middle of texts.
            var tokens = new ConcurrentDictionary<int, int>();
            Task<int[]>[] texts = [.. requests.Select((request, n) => ServedFolder.TokensAsync(router, request, count => tokens[n] = count))];
            workers[0].Kill();
            await Until(() => tokens.Count >= 3 && tokens.Values.Max() >= 10, notes);
            workers[2].Kill();
            int[][] answers = await Task.WhenAll(texts).WaitAsync(Limit);
            for (int n = 0; n < answers.Length; n++) Assert.Equal(expected[n], answers[n]);
            Assert.True(router.Report.Redone >= 2, $"{router.Report}: no worker died in the middle of work");
            Assert.Equal((8L, 0, 0), (router.Statistics.Finished, router.Statistics.Queued, router.Statistics.Running));

            // Started anew at its old address, the decode worker is found again; with all prefill workers dead it reads prompts too.
            await Until(() => notes.Any(note => note.Contains("gone", StringComparison.Ordinal) && note.Contains(workers[2].FirstLine, StringComparison.Ordinal)), notes);
            notes.Clear();
            again = await Worker("decode", workers[2].FirstLine);
            await Until(() => notes.Any(note => note.Contains("is there", StringComparison.Ordinal)), notes);
            workers[1].Kill();
            workers[3].Kill();
            Assert.Equal(expected[5], await ServedFolder.TokensAsync(router, requests[5]).WaitAsync(Limit));
            Assert.Equal(0, await again.EndAsync());
        }
        finally
        {
            foreach (ServeProcess worker in workers) worker.Dispose();
            again?.Dispose();
        }
    }

    [Fact]
    [Trait("tier", "full")]
    public async Task A_stream_over_http_goes_on_when_its_decode_process_is_killed()
    {
        using var scratch = new Scratch();
        ServedFolder.Write(scratch["model"]);
        GenerationRequest[] candidates = [.. Enumerable.Range(0, 12).Select(n => Request(2 * n, 300, 1500) with { IgnoreEndTokens = false })];
        int[][] plain = await ServedFolder.PlainAsync(scratch["model"], candidates);
        int chosen = Array.FindIndex(plain, tokens => tokens.Length == 1500);
        Assert.True(chosen >= 0, "every text ended early");
        string expected = Tokenizer.Load(scratch["model/tokenizer.json"]).Decode(plain[chosen], skipSpecial: true);

        // Where we get no processor for a second, the text is at its end before it is known who writes it: once more then, with one of the two killed at once.
        bool redone = false;
        for (int attempt = 0; attempt < 8 && !redone; attempt++) redone = await StreamAsync(attempt, scratch, candidates[chosen], expected);
        Assert.True(redone, "no decode process died in the middle of its text");
    }

    /// <summary>Reads a stream whose decode process is killed.</summary>
    /// <returns>Whether the text had to be begun again elsewhere.</returns>
    static async Task<bool> StreamAsync(int attempt, Scratch scratch, GenerationRequest request, string expected)
    {
        var environment = new Dictionary<string, string>(StringComparer.Ordinal) { ["HADAL_WORKER_KEY"] = "a secret of the workers", ["HADAL_API_KEY"] = "the key of the host" };
        Task<ServeProcess> Worker(string role) => ServeProcess.StartAsync(scratch, environment, "--role", role, "--model", scratch["model"], "--threads", "1");
        ServeProcess[] workers = await Task.WhenAll(Worker("prefill"), Worker("decode"), Worker("decode"));
        try
        {
            using ServeProcess router = await ServeProcess.StartAsync(scratch, environment, "--role", "router", "--workers", string.Join(';', workers.Select(w => w.FirstLine)), "--urls", "http://127.0.0.1:0",
                "--home", scratch[$"home{attempt}"], "--ttft", "1min", "--tpot", "5s");
            await Until(() => router.Errors.Count(line => line.Contains("is there", StringComparison.Ordinal)) >= 3, router.Errors);
            using var client = new HttpClient { BaseAddress = router.Address, Timeout = Limit };
            client.DefaultRequestHeaders.Authorization = new("Bearer", "the key of the host");
            using var message = new HttpRequestMessage(HttpMethod.Post, "/v1/completions")
            {
                Content = JsonContent.Create(new { model = "deepseek-chat", prompt = request.Prompt.ToArray(), max_tokens = 1500, temperature = 0, stream = true }),
            };
            using HttpResponseMessage response = await client.SendAsync(message, HttpCompletionOption.ResponseHeadersRead);
            Assert.True(response.IsSuccessStatusCode, $"{response}");
            using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(), Encoding.UTF8);
            var text = new StringBuilder();
            int events = 0;
            string? last = null;
            using var limit = new CancellationTokenSource(Limit);
            while (await reader.ReadLineAsync(limit.Token) is { } line)
            {
                if (!line.StartsWith("data: ", StringComparison.Ordinal)) continue;
                last = line;
                if (line is "data: [DONE]") break;
                text.Append(JsonDocument.Parse(line["data: ".Length..]).RootElement.GetProperty("choices")[0].GetProperty("text").GetString());
                if (++events == 15)
                {
                    if (attempt == 0) await KillWriterAsync(workers[1], workers[2]);
                    else workers[1 + (attempt % 2)].Kill(); // at once, without asking which of them writes
                }
            }

            Assert.Equal("data: [DONE]", last);
            Assert.Equal(expected, text.ToString());
            Assert.Equal(0, await router.EndAsync());
            Assert.Contains(router.Errors, line => line.Contains("held by 1 of 1 requests", StringComparison.Ordinal));
            return router.Errors.Any(line => line.Contains("Begun again elsewhere", StringComparison.Ordinal));
        }
        finally
        {
            foreach (ServeProcess worker in workers) worker.Dispose();
        }
    }

    [Theory]
    [InlineData("A router was given no worker", "--role", "router")]
    [InlineData("expected: addresses", "--role", "router", "--workers", "localhost:7001")]
    [InlineData("Workers were given without --role router", "--workers", "http://127.0.0.1:7001")]
    [InlineData("cannot be listened on", "--role", "decode", "--urls", "nowhere")]
    [InlineData("a time from 1ms to 1h", "--ttft", "5")]
    public void Wrong_use_says_what_is_expected(string expected, params string[] arguments)
    {
        Outcome outcome = HadalProcess.Run(["serve", .. arguments]);
        Assert.True(outcome.Code is 1 or 2, outcome.ToString());
        Assert.Contains(expected, outcome.Error, StringComparison.OrdinalIgnoreCase);
    }

    /// <summary>Kills the one of two decode workers that has pages in use.</summary>
    static async Task KillWriterAsync(ServeProcess first, ServeProcess second)
    {
        await using Router probe = await WorkerDirectory.ConnectAsync("probe", [new Uri(first.FirstLine)], key: "a secret of the workers").WaitAsync(Limit);
        (probe.Statistics.PagesInUse > 0 ? first : second).Kill();
    }

    static async Task Until(Func<bool> condition, IEnumerable<string> notes)
    {
        for (int i = 0; i < 12_000 && !condition(); i++) await Task.Delay(10);
        Assert.True(condition(), string.Join('\n', notes));
    }
}
