using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Hadal.Numerics;

namespace Hadal.Server.Tests.Api;

/// <summary>Bodies that nobody would write, and clients that nobody wants.</summary>
public sealed class FuzzTests
{
    static readonly string[] Paths = ["/v1/chat/completions", "/v1/completions", "/beta/completions", "/v1/tokenize", "/v1/detokenize", "/beta/chat/completions"];

    internal static readonly string[] Seeds =
    [
        """{"model":"deepseek-chat","messages":[{"role":"system","content":"s"},{"role":"user","content":"Hi"},{"role":"assistant","content":"a","reasoning_content":"r","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"1","content":"x"}],"temperature":0.5,"top_p":0.9,"stop":["a"],"stream":true,"stream_options":{"include_usage":true},"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"}}}],"tool_choice":"auto","logprobs":true,"top_logprobs":2,"seed":1,"n":1}""",
        """{"model":"deepseek-reasoner","messages":[{"role":"user","content":[{"type":"text","text":"Hi"}]},{"role":"assistant","content":"x","prefix":true}],"max_tokens":3,"response_format":{"type":"json_object"},"frequency_penalty":1,"presence_penalty":-1}""",
        """{"model":"deepseek-chat","prompt":"a","suffix":"b","echo":true,"max_tokens":4,"stop":"x","logprobs":null,"best_of":1}""",
        """{"model":"deepseek-chat","prompt":[5,6,7],"tokens":[5,6],"logprobs":2,"stream":false,"add_special_tokens":true,"return_token_strs":true}""",
    ];

    static async Task RunAsync(long count, ulong seed)
    {
        var engine = new ApiEngine();
        await using ApiHost host = await ApiHost.StartAsync(engine);
        var statuses = new Dictionary<int, long>();
        long done = 0;
        await Task.WhenAll(Enumerable.Range(0, 8).Select(async worker =>
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
                lock (statuses) statuses[(int)response.StatusCode] = statuses.GetValueOrDefault((int)response.StatusCode) + 1;
            }
        }));
        Assert.True(statuses.GetValueOrDefault(200) > count / 50 && statuses.GetValueOrDefault(400) > 0 && statuses.GetValueOrDefault(422) > 0, $"Too one-sided: {string.Join(", ", statuses)}");
        for (int round = 0; round < 1000 && engine.Running > 0; round++) await Task.Delay(20); // a client has read its answer a moment before the engine hears of it
        Assert.Equal(0, engine.Running);
    }

    [Fact]
    public Task Five_hundred_bodies_never_make_the_server_fail() => RunAsync(500, 1);

    [Fact]
    [Trait("tier", "full")]
    public Task Ten_thousand_bodies_never_make_the_server_fail() => RunAsync(10_000, 2);

    /// <summary>HADAL_FUZZ_BODIES and HADAL_FUZZ_SEED change how many and which: parts of a million can run one after the other.</summary>
    [Fact]
    [Trait("tier", "soak")]
    public Task A_million_bodies_never_make_the_server_fail() => RunAsync(Number("HADAL_FUZZ_BODIES", 1_000_000), (ulong)Number("HADAL_FUZZ_SEED", 3));

    static long Number(string variable, long usual) => long.TryParse(Environment.GetEnvironmentVariable(variable), NumberStyles.None, CultureInfo.InvariantCulture, out long number) ? number : usual;

    [Fact]
    public async Task Bodies_headers_and_slow_clients_have_limits()
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiEngine(), options => options with
        {
            Limits = options.Limits with { BodyBytes = 4096, HeaderTime = TimeSpan.FromSeconds(1), RateGrace = TimeSpan.FromSeconds(1.1) },
        });
        using HttpResponseMessage large = await host.SendAsync("/v1/chat/completions", new string('x', 5000));
        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, large.StatusCode);
        Assert.Contains("request_too_large", await large.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        string head = $"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ApiHost.HostKey}\r\n";
        Task<string>[] answers =
        [
            RawAsync(host, head + $"X-Big: {new string('x', 20_000)}\r\n\r\n"),
            RawAsync(host, head), // headers that never end
            RawAsync(host, head + "Content-Length: 100\r\n\r\n{"), // a body that never comes
            RawAsync(host, "GARBAGE\r\n\r\n"),
        ];
        string[] said = await Task.WhenAll(answers);
        Assert.StartsWith("HTTP/1.1 431", said[0], StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 408", said[1], StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 408", said[2], StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 400", said[3], StringComparison.Ordinal);
    }

    static async Task<string> RawAsync(ApiHost host, string text)
    {
        using var client = new TcpClient();
        await client.ConnectAsync(host.Address.Host, host.Address.Port);
        NetworkStream stream = client.GetStream();
        await stream.WriteAsync(Encoding.UTF8.GetBytes(text));
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(120));
        using var reader = new StreamReader(stream);
        return await reader.ReadToEndAsync(limit.Token);
    }
}
