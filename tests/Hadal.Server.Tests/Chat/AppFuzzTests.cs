using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Hadal.Numerics;
using Hadal.Server.Accounts;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Tests.Chat;

/// <summary>Requests to the endpoints behind the pages that no page would send: every endpoint of the server's own list, broken in body, identifier, query, method, cookie, token and type.</summary>
public sealed partial class AppFuzzTests
{
    static readonly string[] Seeds =
    [
        """{"text":"What is 17 + 25?","deepThink":true,"parentId":"01a22dff-a0dc-71b3-ab7f-5e41b94c1e56","title":"A title","messageId":"01a22dff-a0dc-71b3-ab7f-5e41b94c1e56"}""",
        """{"email":"somebody@example.org","fullName":"Some Body","password":"a wrong password","current":"another wrong one","code":"123456","ticket":"01a22dff-a0dc-71b3-ab7f-5e41b94c1e56"}""",
        """{"texts":["# A\n\n$x^2$ and **b** | c |\n|---|---|\n| 1 | 2 |","```c\nint a;\n```",null,""]}""",
        """{"name":"laptop","requestsPerMinute":5,"tokensPerDay":1000}""",
    ];

    static readonly string[] Queries =
    [
        "", "search=", "search=sea", "search=%00", "search=%ed%a0%80", "search=%25_%27%3B--", "search=a%20b%20c%20d%20e%20f", "before=-1", "before=99999999999999999999", "before=9223372036854775807", "before=1e9", "before=x",
        "from=-1", "from=2147483647", "from=99999999999", "from=NaN", "format=markdown", "format=json", "format=%2e%2e%2f", "format=", "search=%", "&&&==&", "search=a&search=b", "%ff=%fe",
    ];

    static readonly string[] Identifiers = ["00000000-0000-0000-0000-000000000000", "01A22DFF-A0DC-71B3-AB7F-5E41B94C1E56", "not-an-identifier", "..%2f..%2fetc%2fpasswd", "%00", "{0}", "\u6df1", "1"];

    static readonly string[] Methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW"];

    static readonly string?[] Types = ["application/json", "application/json", "application/json", "application/json; charset=utf-8", "application/json; charset=utf-16", "application/json; charset=nonsense", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "nonsense", null];

    [Fact]
    public Task Five_hundred_requests_never_make_the_pages_fail() => RunAsync(500, 1);

    [Fact]
    [Trait("tier", "full")]
    public Task Five_thousand_requests_never_make_the_pages_fail() => RunAsync(5_000, 2);

    static async Task RunAsync(int count, ulong seed)
    {
        var faults = new FaultLog();
        (int, TimeSpan) many = (1_000_000, TimeSpan.FromMinutes(1));
        await using ChatHost host = await ChatHost.StartAsync(new ScriptedEngine(), options => options with
        {
            AddressLimits = new AddressLimits { SignUp = many, SignIn = many, Code = many, Page = many, Stranger = many },
            Logging = logging => logging.SetMinimumLevel(LogLevel.Error).AddFilter("Microsoft.AspNetCore.Antiforgery", LogLevel.Critical).AddProvider(faults),
        });
        (string Method, RouteEndpoint Endpoint)[] endpoints = [.. host.Services.GetServices<EndpointDataSource>().SelectMany(source => source.Endpoints).OfType<RouteEndpoint>().Distinct()
            .Where(endpoint => endpoint.RoutePattern.RawText!.TrimStart('/').StartsWith("app/", StringComparison.Ordinal))
            .SelectMany(endpoint => endpoint.Metadata.GetMetadata<HttpMethodMetadata>()!.HttpMethods.Select(method => (method, endpoint)))];
        using var client = new HttpClient(new SocketsHttpHandler { UseCookies = false, AllowAutoRedirect = false, RequestHeaderEncodingSelector = (_, _) => Encoding.UTF8 }) { BaseAddress = new Uri(host.Address), Timeout = TimeSpan.FromSeconds(60) };
        var statuses = new ConcurrentDictionary<int, int>();
        int done = 0;
        await Task.WhenAll(Enumerable.Range(0, 4).Select(async worker =>
        {
            string email = $"person{worker}@example.org";
            using (await host.SignUpAsync(email)) { }
            Credentials me = await SignInAsync(client, email);
            var random = new CounterRandom(seed, RandomPurpose.TestData, (uint)worker);
            ulong draw = 0;
            (string Conversation, string Message) mine = (Guid.NewGuid().ToString(), Guid.NewGuid().ToString());
            while (Interlocked.Increment(ref done) <= count)
            {
                (string method, RouteEndpoint endpoint) = endpoints[random.Below(draw++, endpoints.Length)];
                using HttpRequestMessage request = Broken(method, endpoint, me, mine, random, ref draw);
                using HttpResponseMessage response = await client.SendAsync(request);
                string answer = await response.Content.ReadAsStringAsync();
                Assert.True((int)response.StatusCode < 500, $"{request}\n{(int)response.StatusCode} {answer}");
                statuses.AddOrUpdate((int)response.StatusCode, 1, (_, n) => n + 1);
                if (response.IsSuccessStatusCode && answer.Contains("\"leafId\"", StringComparison.Ordinal) && answer.StartsWith("{\"id\"", StringComparison.Ordinal))
                {
                    JsonElement talk = JsonDocument.Parse(answer).RootElement;
                    mine = (talk.GetProperty("id").GetString()!, talk.GetProperty("leafId").GetString()!);
                }
            }

            // After all of it the person is there as before.
            Assert.Equal(HttpStatusCode.OK, (await client.SendAsync(me.Sign(new HttpRequestMessage(HttpMethod.Get, "/app/conversations")))).StatusCode);
        }));
        faults.AssertNoError();
        int[] expected = [200, 204, 400, 401, 404, 405, 415];
        Assert.True(expected.All(statuses.ContainsKey) && statuses[200] > count / 20, $"Too one-sided: {string.Join(", ", statuses)}");
    }

    static HttpRequestMessage Broken(string method, RouteEndpoint endpoint, Credentials me, (string Conversation, string Message) mine, CounterRandom random, ref ulong draw)
    {
        string pattern = "/" + endpoint.RoutePattern.RawText!.Trim('/');
        ulong at = draw;
        string path = Parameter().Replace(pattern, match => random.Below(at++, 4) == 0 ? Identifiers[random.Below(at++, Identifiers.Length)] : match.Value.StartsWith("{message", StringComparison.Ordinal) ? mine.Message : mine.Conversation);
        draw = at;
        if (random.Below(draw++, 16) == 0) path += new string('a', random.Below(draw++, 3000));
        string query = Queries[random.Below(draw++, Queries.Length)];
        if (random.Below(draw++, 8) == 0) method = Methods[random.Below(draw++, Methods.Length)];
        var address = new Uri("http://server" + path + (query.Length > 0 ? "?" + query : ""), new UriCreationOptions { DangerousDisablePathAndQueryCanonicalization = true });
        var request = new HttpRequestMessage(new HttpMethod(method), address.PathAndQuery.Any(c => c > '~') ? Uri.EscapeDataString(address.PathAndQuery) : address.PathAndQuery);
        if (method is not ("GET" or "HEAD" or "TRACE") && random.Below(draw++, 12) > 0)
        {
            string seed = Seeds[random.Below(draw++, Seeds.Length)].Replace("01a22dff-a0dc-71b3-ab7f-5e41b94c1e56", mine.Message, StringComparison.Ordinal);
            request.Content = new ByteArrayContent(random.Below(draw++, 3) == 0 ? Encoding.UTF8.GetBytes(seed) : Mutation.Of(seed, random, ref draw));
            if (Types[random.Below(draw++, Types.Length)] is { } type) request.Content.Headers.TryAddWithoutValidation("Content-Type", type);
            if (random.Below(draw++, 8) == 0) request.Headers.TransferEncodingChunked = true;
        }

        // Whose session it would end is another test's matter: here the token is never right.
        bool endsSession = pattern.EndsWith("sign-out-everywhere", StringComparison.Ordinal);
        switch (endsSession ? 1 + random.Below(draw++, 5) : random.Below(draw++, 12))
        {
            case 1:
                break; // a stranger
            case 2:
                request.Headers.TryAddWithoutValidation("Cookie", me.Cookies);
                break;
            case 3:
                request.Headers.TryAddWithoutValidation("Cookie", "hadal.session=" + new string('A', random.Below(draw++, 4000)) + "; hadal.antiforgery=%00; =; ;;hadal.session");
                request.Headers.TryAddWithoutValidation("X-Hadal-Token", me.Token);
                break;
            case 4:
                request.Headers.TryAddWithoutValidation("Cookie", me.Cookies);
                request.Headers.TryAddWithoutValidation("X-Hadal-Token", me.Token[..^5] + "AAAAA");
                break;
            case 5:
                request.Headers.TryAddWithoutValidation("Cookie", me.Cookies[..^(1 + random.Below(draw++, 200))]);
                request.Headers.TryAddWithoutValidation("X-Hadal-Token", new string('\u00e9', 300));
                break;
            default:
                me.Sign(request);
                break;
        }

        if (random.Below(draw++, 20) == 0) request.Headers.TryAddWithoutValidation("X-Forwarded-For", "nonsense, ::1, \u00e9");
        return request;
    }

    static async Task<Credentials> SignInAsync(HttpClient client, string email)
    {
        using HttpResponseMessage before = await client.GetAsync("/app/session");
        string cookies = string.Join("; ", before.Headers.GetValues("Set-Cookie").Select(cookie => cookie.Split(';')[0]));
        using var request = new HttpRequestMessage(HttpMethod.Post, "/app/accounts/sign-in") { Content = JsonContent.Create(new { email, password = "a long enough phrase" }) };
        request.Headers.Add("Cookie", cookies);
        request.Headers.Add("X-Hadal-Token", JsonDocument.Parse(await before.Content.ReadAsStringAsync()).RootElement.GetProperty("token").GetString());
        using HttpResponseMessage after = await client.SendAsync(request);
        Assert.Equal(HttpStatusCode.OK, after.StatusCode);
        string session = after.Headers.GetValues("Set-Cookie").Select(cookie => cookie.Split(';')[0]).Single(cookie => cookie.StartsWith("hadal.session=", StringComparison.Ordinal));
        return new Credentials($"{cookies}; {session}", JsonDocument.Parse(await after.Content.ReadAsStringAsync()).RootElement.GetProperty("token").GetString()!);
    }

    [GeneratedRegex(@"\{[^}]+\}")]
    private static partial Regex Parameter();

    sealed record Credentials(string Cookies, string Token)
    {
        public HttpRequestMessage Sign(HttpRequestMessage request)
        {
            request.Headers.TryAddWithoutValidation("Cookie", Cookies);
            request.Headers.TryAddWithoutValidation("X-Hadal-Token", Token);
            return request;
        }
    }
}
