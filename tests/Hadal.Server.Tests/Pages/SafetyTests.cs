using Hadal.Server.Tests.Chat;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace Hadal.Server.Tests.Pages;

/// <summary>What a model or a person writes never runs, and what is another's is not shown.</summary>
[Trait("tier", "full")]
public sealed class SafetyTests(Chromium chromium) : IClassFixture<Chromium>, IAsyncLifetime
{
    // Each would call hadalWasHere() if it ever became more than text.
    const string Hostile = """
        <script>hadalWasHere()</script>
        <img src=x onerror="hadalWasHere()">
        <svg onload="hadalWasHere()"><script>hadalWasHere()</script></svg>
        <iframe srcdoc="<script>parent.hadalWasHere()</script>"></iframe>
        <a href="javascript:hadalWasHere()">raw</a> <details open ontoggle="hadalWasHere()">x</details>

        [plain](javascript:hadalWasHere()) [mixed](JaVaScRiPt:hadalWasHere()) [entity](java&#115;cript:hadalWasHere()) [tab](<java	script:hadalWasHere()>)
        [data](data:text/html,<script>hadalWasHere()</script>) [vb](vbscript:hadalWasHere()) [file](file:///etc/passwd) [quote](https://example.org/"onmouseover="hadalWasHere()")
        ![picture](https://example.org/track.png) ![worse](javascript:hadalWasHere()) <javascript:hadalWasHere()> [good](https://example.org/page)

        `<script>hadalWasHere()</script>` **<b onclick="hadalWasHere()">bold</b>**

        ```html" onclick="hadalWasHere()
        <script>hadalWasHere()</script>
        ```

        | <img src=x onerror=hadalWasHere()> | b |
        |---|---|
        | <script>hadalWasHere()</script> | [cell](javascript:hadalWasHere()) |

        $\href{javascript:hadalWasHere()}{x}$ $\htmlData{onclick=hadalWasHere()}{y}$ $\includegraphics{https://example.org/track.png}$ $$\def\a{\a\a}\a$$
        """;

    readonly ScriptedEngine _engine = new();
    ChatHost _host = null!;
    Visitor _me = null!;

    public async ValueTask InitializeAsync()
    {
        _host = await ChatHost.StartAsync(_engine);
        _me = await chromium.VisitAsync(_host.Address);
        await _me.Page.AddInitScriptAsync("window.hadalWasHere = () => { window.hacked = (window.hacked ?? 0) + 1; };");
    }

    public async ValueTask DisposeAsync()
    {
        await _me.DisposeAsync();
        await _host.DisposeAsync();
    }

    [Fact]
    public async Task What_a_model_writes_never_runs_and_asks_nobody_elsewhere()
    {
        var outside = new List<string>();
        _me.Page.Request += (_, request) =>
        {
            if (!request.Url.StartsWith(_host.Address, StringComparison.Ordinal)) outside.Add(request.Url);
        };
        await _me.SignUpAsync(_host, "model@example.org", "<i>Mallory</i>".Replace("<", "‹", StringComparison.Ordinal));
        _engine.Reply = prompt => prompt.EndsWith("<think>\n", StringComparison.Ordinal) ? Hostile + "\n</think>\n\n" + Hostile : Hostile;
        await _me.DeepThink.ClickAsync();
        await _me.SayAsync(Hostile);
        await _me.AnsweredAsync(1);
        await _me.Answers.Locator("summary").ClickAsync();
        await _me.PictureAsync("hostile");
        await CheckAsync(_me.Page.Locator("article"));

        // Pressed everywhere, and loaded again.
        foreach (ILocator link in await _me.Page.Locator("article .no-link").AllAsync()) await link.ClickAsync();
        await _me.Page.ReloadAsync();
        await _me.AnsweredAsync(1);
        await CheckAsync(_me.Page.Locator("article"));

        // As a title in the list and above the page, too.
        await _me.Page.Locator(".conversations li").HoverAsync();
        await _me.Page.Locator(".conversations li button").ClickAsync();
        await _me.Page.GetByRole(AriaRole.Menuitem, new() { Name = "Rename" }).ClickAsync();
        await _me.Page.GetByLabel("Title").FillAsync("<img src=x onerror=hadalWasHere()>");
        await _me.Page.GetByRole(AriaRole.Dialog).GetByRole(AriaRole.Button, new() { Name = "Rename" }).ClickAsync();
        await Expect(_me.Conversations).ToHaveTextAsync("<img src=x onerror=hadalWasHere()>");
        await CheckAsync(_me.Page.Locator(".conversations"));
        Assert.Empty(outside);
        _me.RequireNoFaults();
    }

    [Fact]
    public async Task Even_markup_made_by_a_fault_of_ours_would_not_run()
    {
        await _me.Page.GotoAsync("/sign-in");
        await Expect(_me.Heading("Welcome back")).ToBeVisibleAsync();
        string[] attempts =
        [
            "document.body.innerHTML = '<img src=x onerror=hadalWasHere()>'",
            "document.body.insertAdjacentHTML('beforeend', '<svg onload=hadalWasHere()></svg>')",
            "document.write('<script>hadalWasHere()</script>')",
            "new DOMParser().parseFromString('<p>', 'text/html')",
            "setTimeout('hadalWasHere()', 0)",
            "document.body.setAttribute('onclick', 'hadalWasHere()')",
            "trustedTypes.createPolicy('mine', { createHTML: text => text })",
        ];
        foreach (string attempt in attempts)
        {
            string outcome = await _me.Page.EvaluateAsync<string>("body => { try { (() => { " + attempt + " })(); return 'done'; } catch (error) { return error.name; } }", null);
            Assert.False(outcome is "done", $"The browser let it pass: {attempt}");
        }

        // A script, a frame or a style that stands in the page itself is not run either.
        await _me.Page.EvaluateAsync("""
            () => {
              const frame = document.createElement('iframe');
              frame.src = 'https://example.org/';
              const link = document.createElement('a');
              link.href = 'javascript:hadalWasHere()';
              link.id = 'bad';
              link.textContent = 'bad';
              document.body.append(frame, link);
              link.click();
            }
            """);
        await _me.Page.EvaluateAsync("() => new Promise(resolve => setTimeout(resolve, 50))");
        Assert.Equal(0, await HackedAsync());
        Assert.Contains(_me.Faults, fault => fault.Contains("Content Security Policy", StringComparison.Ordinal));
    }

    [Fact]
    public async Task What_is_anothers_is_refused()
    {
        await using Visitor other = await chromium.VisitAsync(_host.Address);
        await other.SignUpAsync(_host, "other@example.org", "Grace Hopper");
        await other.SayAsync("My secret is xyzzy");
        await other.AnsweredAsync(1);
        string address = new Uri(other.Page.Url).AbsolutePath;
        Assert.StartsWith("/c/", address, StringComparison.Ordinal);

        // A stranger is led to the door first.
        await _me.Page.GotoAsync(address);
        await Expect(_me.Heading("Welcome back")).ToBeVisibleAsync();
        await _me.SignUpAsync(_host, "me@example.org");
        foreach (string foreign in new[] { address, "/c/00000000-0000-0000-0000-000000000000", "/c/nonsense", "/operator" })
        {
            await _me.Page.GotoAsync(foreign);
            await Expect(_me.Page.GetByRole(AriaRole.Heading, new() { Name = "Not found", Level = 2 })).ToBeVisibleAsync();
            await Expect(_me.Page.Locator("body")).Not.ToContainTextAsync("xyzzy");
        }

        await Expect(_me.Conversations).ToHaveCountAsync(0);
        await _me.Page.GetByLabel("Search conversations").FillAsync("xyzzy");
        await Expect(_me.Page.GetByText("No conversation has these words.")).ToBeVisibleAsync();
        _me.RequireNoFaults();
    }

    async Task CheckAsync(ILocator place)
    {
        Assert.Equal(0, await HackedAsync());
        Assert.Equal(0, await place.Locator("script, img, iframe, object, embed, form, [onclick], [onerror], [onload], [ontoggle], [onmouseover], [srcdoc]").CountAsync());
        foreach (ILocator link in await place.Locator("a[href]").AllAsync())
        {
            string href = (await link.GetAttributeAsync("href"))!;
            Assert.True(href.StartsWith("https://example.org/", StringComparison.Ordinal) || href.StartsWith("/c/", StringComparison.Ordinal), $"A link leads to {href}.");
        }
    }

    Task<int> HackedAsync() => _me.Page.EvaluateAsync<int>("() => window.hacked ?? 0");
}
