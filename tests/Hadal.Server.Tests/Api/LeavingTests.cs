using System.Net.Http.Json;

namespace Hadal.Server.Tests.Api;

/// <summary>A client that leaves while the next words are on their way.</summary>
public sealed class LeavingTests
{
    /// <summary>Events that come after the client left, from an engine that does not look at the cancellation at once: the engine must learn that nobody reads on.</summary>
    [Fact]
    public async Task An_engine_is_let_go_of_though_its_next_event_comes_after_the_client_left()
    {
        var gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        int asked = 0;
        var engine = new ApiEngine { Wait = _ => Interlocked.Increment(ref asked) <= 2 ? Task.CompletedTask : gate.Task.WaitAsync(TimeSpan.FromSeconds(60)) };
        await using ApiHost host = await ApiHost.StartAsync(engine);
        using (var request = new HttpRequestMessage(HttpMethod.Post, "/v1/chat/completions") { Content = JsonContent.Create(new { model = "deepseek-chat", stream = true, messages = new[] { new { role = "user", content = "x" } } }) })
        {
            HttpResponseMessage response = await host.Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
            Assert.True(response.IsSuccessStatusCode);
            for (int i = 0; i < 3000 && Volatile.Read(ref asked) < 3; i++) await Task.Delay(10);
            Assert.Equal(1, engine.Running);
            response.Dispose();
        }

        await Task.Delay(400); // the server notices meanwhile; if it does not, the test is only less sharp
        gate.SetResult();
        for (int i = 0; i < 3000 && engine.Running > 0; i++) await Task.Delay(10);
        Assert.Equal(0, engine.Running);
    }
}
