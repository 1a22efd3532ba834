using System.Net;
using System.Text.Json;
using Hadal.Inference.Serving;
using Hadal.Server.Keys;
using Hadal.Server.Tests.Api;

namespace Hadal.Server.Tests.Real;

/// <summary>What the two clients have no word for, spoken plainly to the server with an engine that computes.</summary>
[Trait("tier", "full")]
public sealed class RealApiTests(RealServer server) : IClassFixture<RealServer>
{
    // Each token makes itself likelier: between the numbers the commas become so likely that the text never ends by itself.
    const string Endless = $$"""{"model":"deepseek-chat","messages":[{"role":"user","content":"{{Dialogues.Count}}"}],"temperature":0,"frequency_penalty":-2,"max_tokens":16000,"stream":true}""";

    ApiHost Host => server.Host;

    static string Body(object messages, string model = "deepseek-chat", string more = "") =>
        $$"""{"model":"{{model}}","temperature":0,"messages":{{JsonSerializer.Serialize(messages)}}{{more}}}""";

    static object User(string content) => new { role = "user", content };

    static JsonElement MessageOf(JsonElement answer) => answer.GetProperty("choices")[0].GetProperty("message");

    [Theory]
    [InlineData("")]
    [InlineData("/v1")]
    [InlineData("/beta")]
    public async Task Below_every_root_texts_are_continued_filled_in_and_counted(string root)
    {
        JsonElement told = await Host.PostAsync($"{root}/completions", $$"""{"model":"deepseek-chat","temperature":0,"prompt":"{{Dialogues.Story}}","echo":true}""");
        Assert.Equal(Dialogues.Story + Dialogues.StoryGoesOn, told.GetProperty("choices")[0].GetProperty("text").GetString());
        string fill = JsonSerializer.Serialize(new { model = "deepseek-chat", temperature = 0, prompt = Dialogues.FimBefore, suffix = Dialogues.FimAfter, logprobs = 1 });
        JsonElement filled = await Host.PostAsync($"{root}/completions", fill);
        Assert.Equal((Dialogues.FimBetween, "stop"), (filled.GetProperty("choices")[0].GetProperty("text").GetString(), filled.GetProperty("choices")[0].GetProperty("finish_reason").GetString()));
        JsonElement logprobs = filled.GetProperty("choices")[0].GetProperty("logprobs");
        Assert.Equal(Dialogues.FimBetween, string.Concat(logprobs.GetProperty("tokens").EnumerateArray().Select(token => token.GetString())));
        List<JsonElement> events = await Host.StreamAsync($"{root}/completions", fill[..^1] + ""","stream":true,"stream_options":{"include_usage":true}}""");
        Assert.Equal(Dialogues.FimBetween, string.Concat(events.SelectMany(e => e.GetProperty("choices").EnumerateArray()).Select(choice => choice.GetProperty("text").GetString())));
        Assert.Equal(filled.GetProperty("usage").GetProperty("completion_tokens").GetInt32(), events[^1].GetProperty("usage").GetProperty("completion_tokens").GetInt32());

        JsonElement counted = await Host.PostAsync($"{root}/tokenize", $$"""{"messages":{{JsonSerializer.Serialize(new[] { User(Dialogues.Sum) })}}}""");
        string tools = JsonSerializer.Serialize(new
        {
            model = "deepseek-chat", max_tokens = 1, messages = new[] { User(Dialogues.Sum) }, tools = new[] { new { type = "function", function = new { name = "f", parameters = Dialogues.Schema } } },
        });
        Assert.Equal((await Host.PostAsync($"{root}/tokenize", tools)).GetProperty("count").GetInt32(), (await Host.PostAsync($"{root}/chat/completions", tools)).GetProperty("usage").GetProperty("prompt_tokens").GetInt32());
        JsonElement answered = await Host.PostAsync($"{root}/chat/completions", Body(new[] { User(Dialogues.Sum) }));
        Assert.Equal(counted.GetProperty("count").GetInt32(), answered.GetProperty("usage").GetProperty("prompt_tokens").GetInt32());
        Assert.Equal(Dialogues.Answer, MessageOf(answered).GetProperty("content").GetString());
        JsonElement spelled = await Host.PostAsync($"{root}/detokenize", $$"""{"tokens":{{counted.GetProperty("tokens").GetRawText()}}}""");
        Assert.EndsWith($"{Dialogues.Sum}<｜Assistant｜>", spelled.GetProperty("prompt").GetString(), StringComparison.Ordinal);
        Assert.Equal(3, JsonDocument.Parse(await Host.Client.GetStringAsync($"{root}/models")).RootElement.GetProperty("data").GetArrayLength());
        Assert.True(JsonDocument.Parse(await Host.Client.GetStringAsync($"{root}/user/balance")).RootElement.GetProperty("is_available").GetBoolean());
    }

    [Fact]
    public async Task The_reasoner_streams_its_thought_first_and_takes_it_back_or_not()
    {
        object[] question = [User(Dialogues.Sum)];
        List<JsonElement> events = await Host.StreamAsync("/chat/completions", Body(question, "deepseek-reasoner", ""","stream":true,"stream_options":{"include_usage":true}"""));
        Assert.Equal((Dialogues.Thought, Dialogues.Answer), (ApiHost.Joined(events, "reasoning_content"), ApiHost.Joined(events, "content")));
        JsonElement usage = events[^1].GetProperty("usage");
        Assert.InRange(usage.GetProperty("completion_tokens_details").GetProperty("reasoning_tokens").GetInt32(), 5, usage.GetProperty("completion_tokens").GetInt32() - 2);
        foreach (object said in (object[])[new { role = "assistant", content = Dialogues.Answer, reasoning_content = Dialogues.Thought }, new { role = "assistant", content = Dialogues.Answer }])
        {
            JsonElement next = MessageOf(await Host.PostAsync("/chat/completions", Body((object[])[.. question, said, User(Dialogues.Twice)], "deepseek-reasoner")));
            Assert.Equal((Dialogues.Thought, Dialogues.Double), (next.GetProperty("reasoning_content").GetString(), next.GetProperty("content").GetString()));
        }

        // A prefix: of the answer after the thought, and of the plain model's answer.
        JsonElement goesOn = MessageOf(await Host.PostAsync("/beta/chat/completions", Body((object[])[.. question, new { role = "assistant", content = "The answer", prefix = true }])));
        Assert.Equal(" is 42.", goesOn.GetProperty("content").GetString());
        goesOn = MessageOf(await Host.PostAsync("/beta/chat/completions",
            Body((object[])[.. question, new { role = "assistant", content = "The answer", reasoning_content = Dialogues.Thought, prefix = true }], "deepseek-reasoner")));
        Assert.Equal(" is 42.", goesOn.GetProperty("content").GetString());
    }

    [Fact]
    public async Task Usage_tells_hits_and_misses_of_the_cache()
    {
        string body = Body((object[])[User(string.Join(' ', Enumerable.Range(300, 50)))], more: ""","max_tokens":3""");
        JsonElement first = (await Host.PostAsync("/v1/chat/completions", body)).GetProperty("usage"), second = (await Host.PostAsync("/v1/chat/completions", body)).GetProperty("usage");
        Assert.Equal((0, first.GetProperty("prompt_tokens").GetInt32()), (first.GetProperty("prompt_cache_hit_tokens").GetInt32(), first.GetProperty("prompt_cache_miss_tokens").GetInt32()));
        int hit = second.GetProperty("prompt_cache_hit_tokens").GetInt32();
        Assert.True(hit >= 64 && hit % 64 == 0, $"{hit} tokens were found in the cache.");
        Assert.Equal(second.GetProperty("prompt_tokens").GetInt32(), hit + second.GetProperty("prompt_cache_miss_tokens").GetInt32());
    }

    [Fact]
    public async Task Refusals_have_the_originals_statuses()
    {
        string hello = Body((object[])[User(Dialogues.Sum)]);
        Assert.Equal(HttpStatusCode.UnprocessableEntity, (await Host.RefusedAsync("/v1/chat/completions", Body((object[])[User("Hi")], more: ""","n":2"""))).Status);
        Assert.Equal(HttpStatusCode.OK, (await Host.SendAsync("/v1/chat/completions", Body((object[])[User("Hi")], more: ""","n":1,"max_tokens":1"""))).StatusCode);
        Assert.Equal(HttpStatusCode.NotFound, (await Host.RefusedAsync("/v1/embeddings", """{"model":"deepseek-chat","input":"Hi"}""")).Status);
        using HttpClient stranger = Host.Connect(null);
        Assert.Equal(HttpStatusCode.Unauthorized, (await Host.RefusedAsync("/v1/chat/completions", hello, stranger)).Status);

        NewApiKey poor = await Host.Keys.MakeAsync(null, "poor", tokensPerDay: 5), slow = await Host.Keys.MakeAsync(null, "slow", requestsPerMinute: 1);
        foreach ((NewApiKey key, HttpStatusCode status) in (IEnumerable<(NewApiKey, HttpStatusCode)>)[(poor, HttpStatusCode.PaymentRequired), (slow, HttpStatusCode.TooManyRequests)])
        {
            using HttpClient client = Host.Connect(key.Secret);
            Assert.Equal(HttpStatusCode.OK, (await Host.SendAsync("/v1/chat/completions", hello, client)).StatusCode);
            (HttpStatusCode refused, _, _, HttpResponseMessage response) = await Host.RefusedAsync("/v1/chat/completions", hello, client);
            Assert.Equal(status, refused);
            Assert.True(response.Headers.RetryAfter?.Delta >= TimeSpan.FromSeconds(1));
        }
    }

    [Fact]
    public async Task A_full_queue_tells_the_place_in_line_a_client_that_leaves_frees_its_pages_and_a_shutdown_finishes_the_rest()
    {
        IInferenceEngine engine = LearnedModel.Open(new EngineOptions { MaxRunning = 1, QueueLength = 1, Pages = 280 });
        await using ApiHost host = await ApiHost.StartAsync(engine);
        var running = await StreamAsync(host, Endless);
        await running.LineAsync();
        Task<JsonElement> waits = host.PostAsync("/v1/chat/completions", Body((object[])[User(Dialogues.Sum)]));
        for (int round = 0; round < 2400 && engine.Statistics.Queued == 0; round++) await Task.Delay(25);
        (HttpStatusCode status, string message, _, HttpResponseMessage response) = await host.RefusedAsync("/v1/chat/completions", Body((object[])[User(Dialogues.Sum)]));
        Assert.Equal(HttpStatusCode.TooManyRequests, status);
        Assert.Contains("number 2 in line", message, StringComparison.Ordinal);
        Assert.True(response.Headers.RetryAfter?.Delta >= TimeSpan.FromSeconds(1));

        // Who stood in line is answered as soon as the first one leaves.
        running.Dispose();
        Assert.Equal(Dialogues.Answer, MessageOf(await waits.WaitAsync(TimeSpan.FromSeconds(120))).GetProperty("content").GetString());
        await RealServer.IdleAsync(engine);
        Assert.Equal(1, engine.Statistics.Cancelled);

        using Stream last = await StreamAsync(host, Endless.Replace("16000", "900", StringComparison.Ordinal));
        await last.LineAsync();
        Task stopped = Task.Run(() => host.App.StopAsync());
        string line, end = "";
        while ((line = await last.LineAsync()) is not "data: [DONE]") end = line;
        Assert.Equal("length", JsonDocument.Parse(end["data: ".Length..]).RootElement.GetProperty("choices")[0].GetProperty("finish_reason").GetString());
        await stopped.WaitAsync(TimeSpan.FromSeconds(120));
    }

    static async Task<Stream> StreamAsync(ApiHost host, string body)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/chat/completions") { Content = new StringContent(body, System.Text.Encoding.UTF8, "application/json") };
        HttpResponseMessage response = await host.Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        return new Stream(response, new StreamReader(await response.Content.ReadAsStreamAsync()));
    }

    /// <summary>Lines of an answer that is being written.</summary>
    sealed class Stream(HttpResponseMessage response, StreamReader reader) : IDisposable
    {
        /// <summary>The next line that is not empty; every wait has a limit.</summary>
        public async Task<string> LineAsync()
        {
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(120));
            while (await reader.ReadLineAsync(limit.Token) is { } line)
                if (line.Length > 0) return line;
            throw new EndOfStreamException("The stream ended without [DONE].");
        }

        public void Dispose() => response.Dispose();
    }
}
