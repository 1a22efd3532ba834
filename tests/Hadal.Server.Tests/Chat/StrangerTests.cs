using System.Net;
using System.Text.RegularExpressions;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace Hadal.Server.Tests.Chat;

/// <summary>Every endpoint behind the pages, asked by nobody and by a session that was ended: of the server's own list, so that none is forgotten.</summary>
public sealed partial class StrangerTests
{
    // The door itself.
    static readonly string[] Open = ["session", "accounts/sign-up", "accounts/verify", "accounts/resend", "accounts/sign-in", "accounts/sign-out", "accounts/reset", "accounts/reset/confirm"];

    [Fact]
    public async Task Every_endpoint_of_the_pages_refuses_strangers_and_ended_sessions()
    {
        await using ChatHost host = await ChatHost.StartAsync(new ScriptedEngine());
        using ChatBrowser stranger = host.Browse(), ended = await host.SignUpAsync("ended@example.org"), elsewhere = host.Browse();
        await ended.GetAsync("/app/keys");
        await elsewhere.PostAsync("/app/accounts/sign-in", new { email = "ended@example.org", password = "a long enough phrase" });
        await elsewhere.PostAsync("/app/accounts/sign-out-everywhere", new { });
        int asked = 0;
        foreach (RouteEndpoint endpoint in host.Services.GetServices<EndpointDataSource>().SelectMany(source => source.Endpoints).OfType<RouteEndpoint>().Distinct())
        {
            string pattern = endpoint.RoutePattern.RawText!.TrimStart('/');
            if (!pattern.StartsWith("app/", StringComparison.Ordinal) || Open.Contains(pattern["app/".Length..].TrimEnd('/'), StringComparer.Ordinal)) continue;
            string path = "/" + Parameter().Replace(pattern, "01a22dff-a0dc-71b3-ab7f-5e41b94c1e56").TrimEnd('/');
            foreach (string method in endpoint.Metadata.GetMetadata<HttpMethodMetadata>()!.HttpMethods)
            {
                foreach (ChatBrowser browser in new[] { stranger, ended })
                {
                    object? body = method is "GET" or "DELETE" ? null : new { messageId = Guid.NewGuid() };
                    using HttpResponseMessage answer = await browser.TryAsync(new HttpMethod(method), path, body);
                    Assert.True(answer.StatusCode is HttpStatusCode.Unauthorized, $"{method} {path}: {(int)answer.StatusCode} {await answer.Content.ReadAsStringAsync(TestContext.Current.CancellationToken)}");
                    asked++;
                }
            }
        }

        Assert.True(asked >= 2 * 20, $"Only {asked} requests were made.");
    }

    [GeneratedRegex(@"\{[^}]+\}")]
    private static partial Regex Parameter();
}
