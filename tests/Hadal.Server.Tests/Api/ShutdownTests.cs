using System.Net;
using System.Text;
using System.Text.Json;
using Hadal.Inference.Serving;
using Hadal.Inference.Serving.Workers;
using Hadal.Inference.Tests.Serving;

namespace Hadal.Server.Tests.Api;

/// <summary>The end of a server while it answers.</summary>
public sealed class ShutdownTests
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    [Fact]
    public async Task An_answer_that_was_begun_is_written_to_its_end_while_no_new_request_is_taken()
    {
        using var gate = new SemaphoreSlim(2);
        var engine = new ApiEngine { Wait = cancel => gate.WaitAsync(cancel) };
        await using ApiHost host = await ApiHost.StartAsync(engine);
        using var message = new HttpRequestMessage(HttpMethod.Post, "/v1/chat/completions") { Content = Hello(stream: true) };
        using HttpResponseMessage response = await host.Client.SendAsync(message, HttpCompletionOption.ResponseHeadersRead);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(), Encoding.UTF8);
        var events = new List<JsonElement>();
        while (ApiHost.Joined(events, "content").Length == 0) Assert.True(await ReadAsync(reader, events), "the stream ended before its first word");

        // What others meet when the shutdown has begun and the door is not closed yet.
        Task<(HttpStatusCode Ready, HttpStatusCode Asked, string Answer)>? met = null;
        using CancellationTokenRegistration registration = host.App.Lifetime.ApplicationStopping.Register(() => ((Task)(met = Task.Run(() => AskAsync(host)))).Wait(Limit));
        Task stopped = Task.Run(() => host.App.StopAsync());
        for (int i = 0; i < 600 && met is not { IsCompleted: true }; i++) await Task.Delay(100);
        Assert.NotNull(met);
        (HttpStatusCode ready, HttpStatusCode asked, string answer) = await met.WaitAsync(Limit);
        Assert.Equal((HttpStatusCode.ServiceUnavailable, HttpStatusCode.ServiceUnavailable), (ready, asked));
        Assert.Contains("shutting down", answer, StringComparison.Ordinal);
        Assert.False(stopped.IsCompleted, "the server stopped in the middle of an answer");

        gate.Release(1000);
        while (await ReadAsync(reader, events))
        {
        }

        Assert.Equal("The answer is 42.", ApiHost.Joined(events, "content"));
        await stopped.WaitAsync(Limit);
        Assert.Equal((1, 0, 0), (engine.Requests.Count, engine.Running, engine.Cancelled));
        await Assert.ThrowsAsync<HttpRequestException>(() => host.Client.GetAsync("/ready"));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_request_that_reaches_a_stopping_engine_is_answered_503(bool separate)
    {
        using var model = new TestModel(mtp: false);
        var options = new EngineOptions { MaxRunning = 2, Pages = 40 };
        IInferenceEngine engine = separate ? SeparateWorkers.Start(model.Served, model.Transformer, options) : new InferenceEngine(model.Served, model.Transformer, options);
        await using ApiHost host = await ApiHost.StartAsync(engine);
        await engine.DrainAsync().WaitAsync(Limit);
        (HttpStatusCode status, string message, _, HttpResponseMessage response) = await host.RefusedAsync("/v1/chat/completions", await Hello(stream: false).ReadAsStringAsync());
        Assert.Equal(HttpStatusCode.ServiceUnavailable, status);
        Assert.Contains("shutting down", message, StringComparison.Ordinal);
        Assert.NotNull(response.Headers.RetryAfter);
    }

    [Fact]
    public async Task A_fault_of_the_server_is_not_called_one_of_the_request()
    {
        var engine = new ApiEngine { Fault = new ArgumentOutOfRangeException("index", "an index of the inside") };
        await using ApiHost host = await ApiHost.StartAsync(engine);
        (HttpStatusCode status, string message, _, _) = await host.RefusedAsync("/v1/chat/completions", await Hello(stream: false).ReadAsStringAsync());
        Assert.Equal(HttpStatusCode.InternalServerError, status);
        Assert.DoesNotContain("index", message, StringComparison.Ordinal);
        engine.Fault = new RequestRefusedException("This model cannot; expected another.");
        (status, message, _, _) = await host.RefusedAsync("/v1/chat/completions", await Hello(stream: false).ReadAsStringAsync());
        Assert.Equal((HttpStatusCode.BadRequest, "This model cannot; expected another."), (status, message));
    }

    static StringContent Hello(bool stream) =>
        new($$"""{"model":"deepseek-chat","messages":[{"role":"user","content":"Hi"}],"stream":{{(stream ? "true" : "false")}}}""", Encoding.UTF8, "application/json");

    static async Task<(HttpStatusCode Ready, HttpStatusCode Asked, string Answer)> AskAsync(ApiHost host)
    {
        using HttpResponseMessage ready = await host.Client.GetAsync("/ready");
        using HttpResponseMessage asked = await host.Client.PostAsync("/v1/chat/completions", Hello(stream: false));
        return (ready.StatusCode, asked.StatusCode, await asked.Content.ReadAsStringAsync());
    }

    /// <summary>Reads one line. False when it was the end, which must be [DONE].</summary>
    static async Task<bool> ReadAsync(StreamReader reader, List<JsonElement> events)
    {
        using var limit = new CancellationTokenSource(Limit);
        string? line = await reader.ReadLineAsync(limit.Token);
        Assert.NotNull(line);
        if (line is "data: [DONE]") return false;
        if (line.StartsWith("data: ", StringComparison.Ordinal)) events.Add(JsonDocument.Parse(line["data: ".Length..]).RootElement);
        return true;
    }
}
