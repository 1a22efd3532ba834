using System.Collections.Concurrent;
using System.Text;
using Hadal.Inference.Serving;
using Hadal.Inference.Serving.Workers;
using Hadal.Inference.Tests.Serving;
using Hadal.Numerics;

namespace Hadal.Server.Tests.Api;

/// <summary>Bodies that nobody would write, before an engine that computes what they ask for.</summary>
public sealed class RealEngineFuzzTests
{
    static readonly string[] Paths = ["/v1/chat/completions", "/v1/completions", "/beta/completions", "/v1/tokenize", "/v1/detokenize", "/beta/chat/completions"];

    // Short answers: it is about what is asked, not about how much.
    static readonly string[] Seeds =
    [
        """{"model":"deepseek-chat","max_tokens":3,"messages":[{"role":"system","content":"s"},{"role":"user","content":"the sea"},{"role":"assistant","content":"a","reasoning_content":"r"},{"role":"user","content":"x"}],"temperature":0.5,"top_p":0.9,"stop":["a"],"stream":true,"stream_options":{"include_usage":true},"logprobs":true,"top_logprobs":2,"seed":1,"n":1}""",
        """{"model":"deepseek-reasoner","max_tokens":4,"messages":[{"role":"user","content":[{"type":"text","text":"the sea"}]},{"role":"assistant","content":"x","prefix":true}],"frequency_penalty":1,"presence_penalty":-1}""",
        """{"model":"deepseek-chat","max_tokens":5,"messages":[{"role":"user","content":"json"}],"response_format":{"type":"json_object"},"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"tool_choice":"required"}""",
        """{"model":"deepseek-chat","max_tokens":4,"prompt":"the sea","echo":true,"stop":"x","logprobs":null,"best_of":1}""",
        """{"model":"deepseek-chat","max_tokens":2,"prompt":[5,6,7],"tokens":[5,6],"logprobs":2,"stream":false,"add_special_tokens":true,"return_token_strs":true}""",
    ];

    [Fact]
    [Trait("tier", "full")]
    public Task Ten_thousand_bodies_never_make_the_server_fail() => RunAsync(10_000, 12);

    static async Task RunAsync(int count, ulong seed)
    {
        using var model = new TestModel();
        Router engine = SeparateWorkers.Start(model.Served, model.Transformer, new EngineOptions { MaxRunning = 32, Pages = 200 });
        await using ApiHost host = await ApiHost.StartAsync(engine);
        const string Known = """{"model":"deepseek-chat","prompt":[5,6,7,8,9,10],"max_tokens":40,"temperature":0}""";
        string before = (await host.PostAsync("/v1/completions", Known)).GetProperty("choices")[0].GetProperty("text").GetString()!;
        var statuses = new ConcurrentDictionary<int, int>();
        int done = 0;
        await Task.WhenAll(Enumerable.Range(0, 16).Select(async worker =>
        {
            var random = new CounterRandom(seed, RandomPurpose.TestData, (uint)worker);
            ulong draw = 0;
            while (Interlocked.Increment(ref done) <= count)
            {
                byte[] body = Mutation.Of(Seeds[random.Below(draw++, Seeds.Length)], random, ref draw);
                string path = Paths[random.Below(draw++, Paths.Length)];
                using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(120));
                using HttpResponseMessage response = await host.Client.PostAsync(path, new ByteArrayContent(body), limit.Token);
                string answer = await response.Content.ReadAsStringAsync(limit.Token);
                Assert.True((int)response.StatusCode < 500 && !answer.Contains("\"server_error\"", StringComparison.Ordinal), $"{path}: {(int)response.StatusCode} {answer}\n{Encoding.UTF8.GetString(body)}");
                statuses.AddOrUpdate((int)response.StatusCode, 1, (_, n) => n + 1);
            }
        }));
        Assert.True(statuses.GetValueOrDefault(200) > count / 50 && statuses.GetValueOrDefault(400) > 0 && statuses.GetValueOrDefault(422) > 0, $"Too one-sided: {string.Join(", ", statuses)}");

        // Nothing is left over, and nothing changed what is said.
        Assert.Equal(before, (await host.PostAsync("/v1/completions", Known)).GetProperty("choices")[0].GetProperty("text").GetString());
        for (int round = 0; round < 1000 && engine.Statistics is not { Running: 0, Queued: 0, PagesInUse: 0 }; round++) await Task.Delay(20);
        Assert.Equal((0, 0, 0), (engine.Statistics.Running, engine.Statistics.Queued, engine.Statistics.PagesInUse));
    }
}
