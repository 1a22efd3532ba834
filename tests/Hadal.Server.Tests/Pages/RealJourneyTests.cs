using Hadal.Server.Tests.Chat;
using Hadal.Server.Tests.Real;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace Hadal.Server.Tests.Pages;

/// <summary>From the first page to both modes in a real browser, with an engine that computes every word.</summary>
[Trait("tier", "full")]
public sealed class RealJourneyTests(Chromium chromium) : IClassFixture<Chromium>
{
    [Theory]
    [InlineData(1280, ColorScheme.Light)]
    [InlineData(390, ColorScheme.Dark)]
    [Implements("chat.deepseek.com", "Chat with accounts by e-mail and full name, V3 by default, R1 by a DeepThink button")]
    public async Task Somebody_signs_up_asks_in_both_modes_reloads_in_mid_stream_and_is_refused_what_is_anothers(int width, ColorScheme scheme)
    {
        var engine = new HeldEngine(LearnedModel.Open());
        await using ChatHost host = await ChatHost.StartAsync(engine);
        await using Visitor me = await chromium.VisitAsync(host.Address, width, scheme);
        ILocator Text(int answer) => me.Answers.Nth(answer).Locator(":scope > .markdown");
        await me.SignUpAsync(host, "ada@example.org");

        await me.SayAsync(Dialogues.Sum);
        await me.AnsweredAsync(1);
        await Expect(Text(0)).ToHaveTextAsync(Dialogues.Answer);
        await Expect(me.Answers.Nth(0).Locator("details")).ToBeHiddenAsync();
        await me.DeepThink.ClickAsync();
        await me.SayAsync(Dialogues.Twice);
        await me.AnsweredAsync(2);
        await Expect(Text(1)).ToHaveTextAsync(Dialogues.Double);
        await me.Answers.Nth(1).Locator("summary").ClickAsync();
        await Expect(me.Answers.Nth(1).Locator(".thought-text")).ToHaveTextAsync(Dialogues.Thought);
        await LookAsync(me, $"real-both-{width}");
        string address = new Uri(me.Page.Url).AbsolutePath;

        // In the middle of an answer the page is loaded again: the words before are there, the others follow, and nothing was asked twice.
        await me.Page.GotoAsync("/");
        engine.IsHeld = true;
        await me.SayAsync(Dialogues.Count);
        engine.Allow(3);
        await Expect(Text(0)).Not.ToBeEmptyAsync();
        await me.Page.ReloadAsync();
        await Expect(me.Answers.Nth(0)).ToHaveClassAsync(new System.Text.RegularExpressions.Regex("running"));
        await Expect(Text(0)).Not.ToBeEmptyAsync();
        await Expect(Text(0)).Not.ToContainTextAsync("20.");
        engine.Allow(1000);
        await me.AnsweredAsync(1);
        await Expect(Text(0)).ToHaveTextAsync(Dialogues.Numbers);
        await RealServer.IdleAsync(engine.Inner);
        Assert.Equal(3, engine.Statistics.Finished);

        // Stopped, the answer keeps what there is and its pages are free.
        engine.IsHeld = false;
        await me.Page.GotoAsync("/");
        engine.Drain();
        engine.IsHeld = true;
        await me.SayAsync(Dialogues.Count);
        engine.Allow(3);
        await Expect(Text(0)).Not.ToBeEmptyAsync();
        await me.Button("Stop the answer").ClickAsync();
        await me.AnsweredAsync(1);
        await Expect(me.Answers).ToContainTextAsync("You stopped this answer.");
        await Expect(Text(0)).Not.ToContainTextAsync("20.");
        await RealServer.IdleAsync(engine.Inner);
        engine.IsHeld = false;

        // A formula wider than a phone fades where it goes on, and no longer at its end.
        await me.Page.GotoAsync("/");
        await me.SayAsync(Dialogues.Formula);
        await me.AnsweredAsync(1);
        ILocator formula = me.Page.Locator(".formula.display");
        await Expect(formula.Locator("math")).ToBeVisibleAsync();
        await Expect(formula).ToHaveClassAsync(width < 760 ? "formula display sideways more-right" : "formula display sideways");
        await LookAsync(me, $"real-formula-{width}");
        if (width < 760)
        {
            await formula.EvaluateAsync("element => { element.scrollLeft = element.scrollWidth; }");
            await Expect(formula).ToHaveClassAsync("formula display sideways more-left");
        }

        await using Visitor other = await chromium.VisitAsync(host.Address, width, scheme);
        await other.SignUpAsync(host, "grace@example.org", "Grace Hopper");
        await other.Page.GotoAsync(address);
        await Expect(other.Page.GetByRole(AriaRole.Heading, new() { Name = "Not found", Level = 2 })).ToBeVisibleAsync();
        await Expect(other.Page.Locator("body")).Not.ToContainTextAsync(Dialogues.Answer);
        Assert.Equal(404, await other.Page.EvaluateAsync<int>("path => fetch(path).then(response => response.status)", "/app/conversations/" + address[3..]));
        Assert.Equal(200, await me.Page.EvaluateAsync<int>("path => fetch(path).then(response => response.status)", "/app/conversations/" + address[3..]));
        me.RequireNoFaults();
        other.RequireNoFaults();
    }

    static async Task LookAsync(Visitor me, string name)
    {
        await me.PictureAsync(name);
        string[] violations = await me.ViolationsAsync();
        Assert.True(violations.Length == 0, $"{name}: {string.Join("; ", violations)}");
        Assert.False(await me.Page.EvaluateAsync<bool>("() => document.documentElement.scrollWidth > document.documentElement.clientWidth"), $"{name} is wider than the screen.");
    }
}
