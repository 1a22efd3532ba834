using System.Net;
using System.Net.Http.Headers;
using System.Text.RegularExpressions;
using Hadal.Server.Tests.Chat;
using Hadal.Server.Web;

namespace Hadal.Server.Tests.Pages;

/// <summary>The files of the app as the server sends them, without a browser.</summary>
public sealed partial class AssetTests
{
    static readonly string[] Own = [.. typeof(ChatOptions).Assembly.GetManifestResourceNames().Where(name => name.StartsWith("Web/", StringComparison.Ordinal))];

    [Fact]
    public async Task Every_page_and_file_has_the_policy_and_is_sent_again_only_when_it_changed()
    {
        await using ChatHost host = await ChatHost.StartAsync(new ScriptedEngine());
        using var client = new HttpClient { BaseAddress = new Uri(host.Address) };
        foreach (string path in new[] { "/", "/c/01a22dff-a0dc-71b3-ab7f-5e41b94c1e56", "/sign-in", "/sign-up", "/reset", "/settings", "/operator", "/assets/app/main.js", "/assets/styles/base.css", "/app/session" })
        {
            using HttpResponseMessage response = await client.GetAsync(path, TestContext.Current.CancellationToken);
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
            Assert.Equal(PageHeaders.ContentSecurityPolicy, Assert.Single(response.Headers.GetValues("Content-Security-Policy")));
            Assert.Equal("nosniff", Assert.Single(response.Headers.GetValues("X-Content-Type-Options")));
            if (path is "/app/session")
            {
                Assert.True(response.Headers.CacheControl!.NoStore);
                continue;
            }

            Assert.Equal(path.EndsWith(".js", StringComparison.Ordinal) ? "text/javascript" : path.EndsWith(".css", StringComparison.Ordinal) ? "text/css" : "text/html", response.Content.Headers.ContentType!.MediaType);
            using var again = new HttpRequestMessage(HttpMethod.Get, path);
            again.Headers.IfNoneMatch.Add(EntityTagHeaderValue.Parse(response.Headers.ETag!.ToString()));
            using HttpResponseMessage unchanged = await client.SendAsync(again, TestContext.Current.CancellationToken);
            Assert.Equal(HttpStatusCode.NotModified, unchanged.StatusCode);
        }

        foreach (string path in new[] { "/assets/nothing.js", "/assets/../index.html", "/assets/app", "/c/a/b" })
            Assert.Equal(HttpStatusCode.NotFound, (await client.GetAsync(path, TestContext.Current.CancellationToken)).StatusCode);

        // A browser is sent the app, which says that there is nothing; a program is not.
        client.DefaultRequestHeaders.Accept.ParseAdd("text/html,*/*;q=0.8");
        foreach ((string path, bool isPage) in new[] { ("/c/a/b", true), ("/nowhere", true), ("/v1/nowhere", false), ("/app/nowhere", false), ("/assets/nothing.js", false) })
        {
            using HttpResponseMessage missing = await client.GetAsync(path, TestContext.Current.CancellationToken);
            Assert.Equal(HttpStatusCode.NotFound, missing.StatusCode);
            Assert.Equal(isPage, missing.Content.Headers.ContentType?.MediaType is "text/html");
            if (isPage) Assert.Equal(PageHeaders.ContentSecurityPolicy, Assert.Single(missing.Headers.GetValues("Content-Security-Policy")));
        }
    }

    [Fact]
    public void What_a_file_refers_to_is_there()
    {
        int references = 0;
        var all = typeof(ChatOptions).Assembly.GetManifestResourceNames().ToHashSet(StringComparer.Ordinal);
        foreach (string name in all.Where(name => Path.GetExtension(name) is ".html" or ".js" or ".css"))
        {
            foreach (Match reference in Reference().Matches(Read(name)))
            {
                string target = reference.Groups["target"].Value;
                Uri at = new(new Uri("http://host/assets/" + name["Web/".Length..]), target);
                Assert.True(all.Contains("Web/" + at.AbsolutePath["/assets/".Length..]), $"{name} refers to {target}, which the server does not have.");
                references++;
            }
        }

        Assert.True(references > 40, $"Only {references} references were found.");
    }

    [Fact]
    public void No_file_of_ours_makes_markup_or_code_of_text()
    {
        Assert.True(Own.Length > 20);
        foreach (string name in Own.Where(name => Path.GetExtension(name) is ".js" or ".html"))
        {
            Match found = Forbidden().Match(Read(name));
            Assert.False(found.Success, $"{name} uses {found.Value}.");
        }

        string page = Read("Web/index.html");
        Assert.DoesNotMatch(InlineCode(), page);
        Assert.DoesNotContain("http://", page, StringComparison.Ordinal);
        Assert.DoesNotContain("https://", page, StringComparison.Ordinal);
    }

    static string Read(string name)
    {
        using var reader = new StreamReader(typeof(ChatOptions).Assembly.GetManifestResourceStream(name)!);
        return reader.ReadToEnd();
    }

    [GeneratedRegex("""(?:from\s+|import\s*\(\s*|(?:href|src)="|href:\s*|src:\s*|url\()["`]?(?<target>(?:\.{1,2}/|/assets/)[^"`)\s]+)""")]
    private static partial Regex Reference();

    [GeneratedRegex("""innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment|\beval\(|new Function|srcdoc\s*=|setTimeout\(["'`]|setInterval\(["'`]""")]
    private static partial Regex Forbidden();

    [GeneratedRegex("""<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:""")]
    private static partial Regex InlineCode();
}
