using System.Net;
using System.Text.Json;
using System.Text.RegularExpressions;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace Hadal.Server.Tests.Chat;

/// <summary>Every endpoint behind the pages that names something, asked for what is another's: of the server's own list, so that none is forgotten.</summary>
public sealed partial class OwnershipTests
{
    [Fact]
    public async Task Every_endpoint_that_names_something_refuses_what_is_anothers()
    {
        await using ChatHost host = await ChatHost.StartAsync(new ScriptedEngine());
        using ChatBrowser me = await host.SignUpAsync("me@example.org"), other = await host.SignUpAsync("other@example.org");
        JsonElement talk = await me.PostAsync("/app/conversations", new { text = "Mine", deepThink = false });
        Guid conversation = talk.GetProperty("id").GetGuid(), message = talk.GetProperty("leafId").GetGuid();
        await me.EventsAsync($"/app/conversations/{conversation}/messages/{message}/events");
        Guid key = (await me.PostAsync("/app/keys", new { name = "mine" })).GetProperty("key").GetProperty("id").GetGuid();
        string before = (await me.GetAsync($"/app/conversations/{conversation}")).GetRawText();
        var asked = new List<string>();
        foreach (RouteEndpoint endpoint in host.Services.GetServices<EndpointDataSource>().SelectMany(source => source.Endpoints).OfType<RouteEndpoint>().Distinct())
        {
            string pattern = endpoint.RoutePattern.RawText!.TrimStart('/');
            if (!pattern.StartsWith("app/", StringComparison.Ordinal) || endpoint.RoutePattern.Parameters.Count == 0) continue;
            foreach (string method in endpoint.Metadata.GetMetadata<HttpMethodMetadata>()!.HttpMethods)
            {
                string path = Filled(endpoint, conversation, message, key);
                object? body = method is "GET" or "DELETE" ? null : new { text = "x", title = "x", parentId = message, messageId = message };
                (HttpStatusCode status, string words, _) = await other.RefusedAsync(new HttpMethod(method), path, body);
                Assert.True(status is HttpStatusCode.NotFound && words.Contains("does not exist, or it is not yours", StringComparison.Ordinal), $"{method} {path}: {(int)status} {words}");
                asked.Add($"{method} {path}");
            }
        }

        Assert.True(asked.Count >= 11, string.Join('\n', asked));
        Assert.Equal(before, (await me.GetAsync($"/app/conversations/{conversation}")).GetRawText());
        Assert.Single((await me.GetAsync("/app/keys")).EnumerateArray());
    }

    /// <summary>An endpoint's path with identifiers in it.</summary>
    internal static string Filled(RouteEndpoint endpoint, Guid conversation, Guid message, Guid key)
    {
        string pattern = "/" + endpoint.RoutePattern.RawText!.Trim('/');
        return Parameter().Replace(pattern, match => match.Value switch
        {
            "{id:guid}" when pattern.StartsWith("/app/conversations/", StringComparison.Ordinal) => conversation.ToString(),
            "{id:guid}" when pattern.StartsWith("/app/keys/", StringComparison.Ordinal) => key.ToString(),
            "{message:guid}" => message.ToString(),
            _ => throw new InvalidOperationException($"{pattern} names something new: say here whose it is."),
        });
    }

    [GeneratedRegex(@"\{[^}]+\}")]
    private static partial Regex Parameter();
}
