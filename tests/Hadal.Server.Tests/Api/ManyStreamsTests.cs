using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Hadal.Inference.Serving;
using Hadal.Inference.Serving.Workers;
using Hadal.Inference.Tests.Serving;
using Hadal.Numerics;

namespace Hadal.Server.Tests.Api;

/// <summary>Tests that measure the process as a whole: no other test runs in it beside them.</summary>
[CollectionDefinition(nameof(Alone), DisableParallelization = true)]
public sealed class Alone;

/// <summary>Many people at once, who leave when they like: nothing is lost, memory stays flat, and each text is that of the same request alone.</summary>
[Collection(nameof(Alone))]
public sealed class ManyStreamsTests
{
    const int Distinct = 160;

    /// <summary>Bytes by which what is held may grow between the second and the last third: caches of the runtime, and requests that are under way.</summary>
    const long Slack = 8 << 20;

    /// <summary>
    /// Two minutes of 64 streams; HADAL_STREAMS_SECONDS changes that. The clock sets its length and no number of it depends on the machine's speed: its lane says that it may run,
    /// as a process of its own, beside test programs that only compute.
    /// </summary>
    [Fact]
    [Trait("tier", "full")]
    [Trait("lane", "beside")]
    public Task Sixty_four_streams_with_random_cancels() => RunAsync(64, Seconds("HADAL_STREAMS_SECONDS", 120));

    [Fact]
    [Trait("tier", "soak")]
    public Task Two_hundred_streams_with_random_cancels() => RunAsync(200, Seconds("HADAL_SOAK_SECONDS", 600));

    static double Seconds(string variable, double usual) => double.TryParse(Environment.GetEnvironmentVariable(variable), NumberStyles.Float, CultureInfo.InvariantCulture, out double seconds) ? seconds : usual;

    static async Task RunAsync(int streams, double seconds)
    {
        using TestModel model = new(), twin = new();
        var random = new CounterRandom(77, RandomPurpose.TestData);
        ulong draw = 0;
        GenerationRequest[] requests = [.. Enumerable.Range(0, Distinct).Select(_ => model.Random(random, ref draw) with { Form = OutputForm.Text, FormBeginsAfter = null, TopLogProbabilities = null, IgnoreEndTokens = false })];
        Answer[] expected;
        await using (var plain = new PlainEngine(twin.Served, twin.Transformer, new EngineOptions { QueueLength = Distinct }))
            expected = await Task.WhenAll(requests.Select(request => Answer.Read(plain.GenerateAsync(request))));

        // As hadal serve runs: prefill and decode as separate workers. Fewer pages than the running requests want: some are put aside all the time.
        Router engine = SeparateWorkers.Start(model.Served, model.Transformer, new EngineOptions { MaxRunning = 40, Pages = 60, StepTokens = 128, AlwaysSpeculate = true }, new RouterOptions { QueueLength = 2 * streams });
        await using ApiHost host = await ApiHost.StartAsync(engine);

        // Three owners, whose cached prefixes are their own and who take turns in the queue; the host asks most.
        using HttpClient first = host.Connect((await host.Keys.MakeAsync(null, "first")).Secret), second = host.Connect((await host.Keys.MakeAsync(null, "second")).Secret);
        HttpClient[] clients = [host.Client, first, host.Client, second];
        var clock = Stopwatch.StartNew();
        long whole = 0, left = 0;
        var held = new List<long>[] { [], [], [] }; // bytes, by thirds of the time
        async Task Stream(int stream)
        {
            var choice = new CounterRandom(78, RandomPurpose.Simulation, (uint)stream);
            for (ulong n = 0; clock.Elapsed.TotalSeconds < seconds; n++)
            {
                int index = choice.Below(4 * n, Distinct);
                int leave = choice.Below((4 * n) + 1, 3) == 0 ? choice.Below((4 * n) + 2, 12) : int.MaxValue;
                if (await AskAsync(clients[stream % clients.Length], requests[index], expected[index], leave, streams: choice.Below((4 * n) + 3, 4) > 0)) Interlocked.Increment(ref whole);
                else Interlocked.Increment(ref left);
            }
        }

        async Task Watch()
        {
            while (clock.Elapsed.TotalSeconds < seconds - 1)
            {
                await Task.Delay(TimeSpan.FromSeconds(Math.Min(10, seconds / 30)));
                int third = Math.Min(2, (int)(3 * clock.Elapsed.TotalSeconds / seconds));
                held[third].Add(GC.GetTotalMemory(forceFullCollection: true));
            }
        }

        await Task.WhenAll([Watch(), .. Enumerable.Range(0, streams).Select(Stream)]).WaitAsync(TimeSpan.FromSeconds(seconds + 240));

        // One sample sees the requests of its moment; the least of several sees what is never let go.
        string samples = string.Join("; ", held.Select(third => string.Join(' ', third.Select(bytes => bytes >> 10))));
        Assert.All(held, Assert.NotEmpty);
        TestContext.Current.TestOutputHelper?.WriteLine($"{whole} whole, {left} left; KiB held, by thirds of the time: {samples}");
        Assert.True(held[2].Min() < held[1].Min() + Slack, $"KiB held, by thirds of the time: {samples}");
        for (int i = 0; i < 1000 && engine.Statistics is not { Running: 0, Queued: 0, PagesInUse: 0 }; i++) await Task.Delay(10);
        EngineStatistics statistics = engine.Statistics;
        Assert.Equal((0, 0, 0), (statistics.Running, statistics.Queued, statistics.PagesInUse));
        Assert.True(whole > streams && left > streams / 4, $"{whole} texts were read whole, {left} were left");
        Assert.True(statistics.Cancelled > 0 && statistics.Preempted > 0 && statistics.CachedTokens > 0 && statistics.AcceptedTokens > 0, $"{statistics}");
    }

    /// <summary>Sends one request and reads its answer, or leaves after some events. True when all of it was read; a text that differs fails the test.</summary>
    static async Task<bool> AskAsync(HttpClient client, GenerationRequest request, Answer expected, int leaveAfter, bool streams)
    {
        string body = JsonSerializer.Serialize(new
        {
            model = "deepseek-chat", prompt = request.Prompt.ToArray(), max_tokens = request.MaxNewTokens, temperature = request.Sampling.Temperature, top_p = request.Sampling.TopP,
            seed = unchecked((long)request.Sampling.Seed), frequency_penalty = request.FrequencyPenalty, presence_penalty = request.PresencePenalty, stop = request.Stop, stream = streams,
            stream_options = streams ? new { include_usage = true } : null,
        }, new JsonSerializerOptions { DefaultIgnoreCondition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingNull });
        using var message = new HttpRequestMessage(HttpMethod.Post, "/v1/completions") { Content = new StringContent(body, Encoding.UTF8, "application/json") };
        using var giveUp = new CancellationTokenSource();
        if (!streams && leaveAfter != int.MaxValue) giveUp.CancelAfter(leaveAfter * 5);
        try
        {
            using HttpResponseMessage response = await client.SendAsync(message, HttpCompletionOption.ResponseHeadersRead, giveUp.Token);
            Assert.True(response.IsSuccessStatusCode, $"{(int)response.StatusCode} {await (response.IsSuccessStatusCode ? Task.FromResult("") : response.Content.ReadAsStringAsync())}");
            if (!streams)
            {
                JsonElement answer = JsonDocument.Parse(await response.Content.ReadAsStringAsync(giveUp.Token)).RootElement;
                Same(expected, answer.GetProperty("choices")[0].GetProperty("text").GetString()!, answer.GetProperty("choices")[0].GetProperty("finish_reason").GetString(), answer.GetProperty("usage"));
                return true;
            }

            using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(giveUp.Token), Encoding.UTF8);
            var text = new StringBuilder();
            string? reason = null;
            JsonElement usage = default;
            int events = 0;
            while (await reader.ReadLineAsync(giveUp.Token) is { } line)
            {
                if (line is "data: [DONE]")
                {
                    Same(expected, text.ToString(), reason, usage);
                    return true;
                }

                if (!line.StartsWith("data: ", StringComparison.Ordinal)) continue;
                JsonElement chunk = JsonDocument.Parse(line["data: ".Length..]).RootElement;
                if (chunk.TryGetProperty("usage", out JsonElement used) && used.ValueKind == JsonValueKind.Object) usage = used;
                if (chunk.GetProperty("choices").GetArrayLength() > 0)
                {
                    text.Append(chunk.GetProperty("choices")[0].GetProperty("text").GetString());
                    reason = chunk.GetProperty("choices")[0].GetProperty("finish_reason").GetString() ?? reason;
                }

                if (++events > leaveAfter) break;
            }

            Assert.StartsWith(text.ToString(), expected.Text, StringComparison.Ordinal);
            Assert.True(events > leaveAfter, "the stream ended without [DONE]");
            return false;
        }
        catch (OperationCanceledException) when (giveUp.IsCancellationRequested)
        {
            return false;
        }
    }

    static void Same(Answer expected, string text, string? reason, JsonElement usage)
    {
        Assert.Equal(expected.Text, text);
        Assert.Equal(expected.Reason == FinishReason.Length ? "length" : "stop", reason);
        Assert.Equal(expected.Tokens.Length, usage.GetProperty("completion_tokens").GetInt32());
        Assert.Equal(expected.Usage.PromptTokens, usage.GetProperty("prompt_tokens").GetInt32());
    }
}
