using Hadal.Server.Accounts;
using Hadal.Server.Tests.Chat;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace Hadal.Server.Tests.Pages;

/// <summary>Every page on a phone and a desk, light and dark: for axe without a violation, and as a picture to look at.</summary>
[Trait("tier", "full")]
public sealed class LookTests(Chromium chromium) : IClassFixture<Chromium>
{
    const string Answer = """
        ### How experts are chosen

        Each token is scored against the centroid $e_i$ of every expert, and the **top-k** of them are kept:

        $$s_{i,t} = \sigma\left(u_t^\top e_i\right), \qquad g_{i,t} = \frac{s_{i,t}}{\sum_{j \in \mathrm{TopK}} s_{j,t}}$$

        1. Score with a *sigmoid*; add the bias $b_i$ for the choice alone.
        2. Keep the `k` best and let their gates sum to one.

        | expert | score | chosen |
        |---|---:|:---:|
        | 7 | 0.91 | yes |
        | 12 | 0.88 | no |

        ```csharp
        /// <summary>The best of the scores.</summary>
        static int[] Top(float[] scores, int k) =>
            [.. Enumerable.Range(0, scores.Length).OrderByDescending(i => scores[i]).Take(k)]; // 42 of them
        ```

        > The bias steers the load without an auxiliary loss; see [the report](https://arxiv.org/abs/2412.19437).
        """;

    [Theory]
    [InlineData(1280, ColorScheme.Light)]
    [InlineData(1280, ColorScheme.Dark)]
    [InlineData(390, ColorScheme.Light)]
    [InlineData(390, ColorScheme.Dark)]
    public async Task Every_page_is_without_violations(int width, ColorScheme scheme)
    {
        var engine = new ScriptedEngine();
        await using ChatHost host = await ChatHost.StartAsync(engine);
        await using Visitor me = await chromium.VisitAsync(host.Address, width, scheme);
        string Name(string page) => $"{page}-{width}-{scheme.ToString().ToLowerInvariant()}";
        async Task LookAsync(string page)
        {
            await me.PictureAsync(Name(page));
            string[] violations = await me.ViolationsAsync();
            Assert.True(violations.Length == 0, $"{Name(page)}: {string.Join("; ", violations)}");
            Assert.False(await me.Page.EvaluateAsync<bool>("() => document.documentElement.scrollWidth > document.documentElement.clientWidth"), $"{Name(page)} is wider than the screen.");
        }

        await me.Page.GotoAsync("/sign-in");
        await Expect(me.Heading("Welcome back")).ToBeVisibleAsync();
        await LookAsync("sign-in");
        await me.Page.GotoAsync("/reset");
        await Expect(me.Heading("A new password")).ToBeVisibleAsync();
        await LookAsync("reset");
        await me.Page.GotoAsync("/sign-up");
        await me.Button("Continue").ClickAsync();
        await Expect(me.Page.GetByText("Enter your e-mail address.")).ToBeVisibleAsync();
        await LookAsync("sign-up");
        await me.Page.GetByLabel("E-mail").FillAsync("ada@example.org");
        await me.Page.GetByLabel("Full name").FillAsync("Ada Lovelace");
        await me.Page.GetByLabel("Password", new() { Exact = true }).FillAsync(Visitor.Password);
        await me.Button("Continue").ClickAsync();
        await Expect(me.Heading("Enter your code")).ToBeVisibleAsync();
        await LookAsync("code");
        await me.Page.GetByLabel("Code", new() { Exact = true }).FillAsync(await host.CodeAsync("ada@example.org"));
        await me.Button("Create account").ClickAsync();
        await Expect(me.Heading("What is on your mind, Ada?")).ToBeVisibleAsync();
        await LookAsync("empty");

        await me.SayAsync("What is 17 + 25?");
        await me.AnsweredAsync(1);
        await LookAsync("plain");
        engine.Reply = _ => "The question is about routing.\n\nI recall that the **bias** only takes part in the choice.\n</think>\n\n" + Answer;
        await me.DeepThink.ClickAsync();
        await me.SayAsync("How does a mixture of experts choose its experts? Show the formula.");
        await me.AnsweredAsync(2);
        await Expect(me.Page.Locator(".formula.display math")).ToBeVisibleAsync();
        await Expect(me.Page.Locator(".code-keyword").First).ToBeVisibleAsync();
        await me.Page.Locator(".scroller").First.EvaluateAsync("element => { element.scrollTop = 0; }");
        await me.Answers.Nth(1).Locator("summary").ClickAsync();
        await LookAsync("answer");
        await me.Answers.Nth(1).Locator("summary").ClickAsync();
        await me.Page.Locator(".scroller").First.EvaluateAsync("element => { element.scrollTop = element.scrollHeight; }");
        await LookAsync("answer-end");
        await me.Questions.Nth(1).HoverAsync();
        await me.Button("Edit and send again").Last.ClickAsync();
        await LookAsync("edit");
        await me.Button("Cancel").ClickAsync();

        engine.IsHeld = true;
        engine.Reply = _ => "Let me think about a long answer, number by number.\n</think>\n\nThe answer.";
        await me.SayAsync("Think about it");
        engine.Allow(20);
        await Expect(me.Answers.Nth(2).Locator(".thought-text")).ToContainTextAsync("Let me");
        await LookAsync("thinking");
        await me.Button("Stop the answer").ClickAsync();
        await me.AnsweredAsync(3);
        engine.Place = 3;
        await me.SayAsync("Is anybody before me?");
        await Expect(me.Answers.Nth(3)).ToContainTextAsync("Place 3 in line");
        await LookAsync("queued");
        await me.Button("Stop the answer").ClickAsync();
        await me.AnsweredAsync(4);
        (engine.Place, engine.IsHeld, engine.IsFull) = (null, false, true);
        await me.SayAsync("Is there room?");
        await Expect(me.Answers.Nth(4)).ToContainTextAsync("The server is full");
        await LookAsync("full");
        engine.IsFull = false;

        if (width < 760)
        {
            await me.Button("Open the list of conversations").ClickAsync();
            await Expect(me.Conversations).ToHaveCountAsync(1);
            await LookAsync("drawer");
        }

        await me.Page.Locator(".conversations li button").ClickAsync();
        await LookAsync("menu");
        await me.Page.GetByRole(AriaRole.Menuitem, new() { Name = "Rename" }).ClickAsync();
        await LookAsync("dialog");
        await me.Button("Cancel").ClickAsync();

        await me.Page.GotoAsync("/settings");
        await me.Button("New key").ClickAsync();
        await me.Page.GetByRole(AriaRole.Textbox, new() { Name = "Name", Exact = true }).FillAsync("laptop");
        await me.Button("Make the key").ClickAsync();
        await Expect(me.Page.Locator(".secret")).ToBeVisibleAsync();
        await LookAsync("key");
        await me.Button("Done").ClickAsync();
        await LookAsync("settings");
        Assert.True(await Operators.SetAsync(host.Home, null, "ada@example.org"));
        await me.Page.GotoAsync("/operator");
        await Expect(me.Page.Locator(".experts-row").First).ToBeVisibleAsync();
        await LookAsync("operator");
        await me.Page.GotoAsync("/c/00000000-0000-0000-0000-000000000000");
        await Expect(me.Page.GetByRole(AriaRole.Heading, new() { Name = "Not found", Level = 2 })).ToBeVisibleAsync();
        await LookAsync("not-found");
        me.RequireNoFaults();
    }

    /// <summary>A picture in place of words and a grey on grey: what axe must find, or its silence means nothing.</summary>
    [Fact]
    public async Task A_page_with_faults_is_found_out()
    {
        await using ChatHost host = await ChatHost.StartAsync(new ScriptedEngine());
        await using Visitor me = await chromium.VisitAsync(host.Address);
        await me.Page.GotoAsync("/sign-in");
        await Expect(me.Heading("Welcome back")).ToBeVisibleAsync();
        await me.Page.EvaluateAsync("""
            () => {
                const main = document.querySelector('main') ?? document.body, words = document.createElement('p');
                main.append(document.createElement('img'), words);
                words.textContent = 'Who can read this?';
                words.style.color = '#999';
                words.style.background = '#aaa';
            }
            """);
        string[] violations = await me.ViolationsAsync();
        Assert.Contains(violations, violation => violation.StartsWith("image-alt", StringComparison.Ordinal));
        Assert.Contains(violations, violation => violation.StartsWith("color-contrast", StringComparison.Ordinal));
    }
}
