using System.Text.Json;
using Hadal.Server.Tests.Chat;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace Hadal.Server.Tests.Pages;

/// <summary>What people do with the chat, in a real browser.</summary>
[Trait("tier", "full")]
public sealed class JourneyTests(Chromium chromium) : IClassFixture<Chromium>, IAsyncLifetime
{
    readonly ScriptedEngine _engine = new();
    ChatHost _host = null!;
    Visitor _me = null!;

    public async ValueTask InitializeAsync()
    {
        _host = await ChatHost.StartAsync(_engine);
        _me = await chromium.VisitAsync(_host.Address);
    }

    public async ValueTask DisposeAsync()
    {
        _engine.Allow(100_000);
        await _me.DisposeAsync();
        await _host.DisposeAsync();
    }

    [Fact]
    [Implements("chat.deepseek.com", "Chat with accounts by e-mail and full name, V3 by default, R1 by a DeepThink button")]
    public async Task Somebody_signs_up_by_email_and_full_name_and_is_answered_in_both_modes()
    {
        await _me.Page.GotoAsync("/");
        await Expect(_me.Heading("Welcome back")).ToBeVisibleAsync();
        await _me.Page.GetByRole(AriaRole.Link, new() { Name = "Create an account" }).ClickAsync();
        await _me.Page.GetByLabel("E-mail").FillAsync("ada@example.org");
        await _me.Button("Continue").ClickAsync();
        await Expect(_me.Page.GetByText("Enter your full name.")).ToBeVisibleAsync();
        await _me.Page.GetByLabel("Full name").FillAsync("Ada Lovelace");
        await _me.Page.GetByLabel("Password", new() { Exact = true }).FillAsync(Visitor.Password);
        await _me.Button("Continue").ClickAsync();
        await Expect(_me.Page.GetByText("hadal serve outbox")).ToBeVisibleAsync();

        // A reload before the code is entered loses nothing; a wrong code is said to be wrong.
        await _me.Page.ReloadAsync();
        string code = await _host.CodeAsync("ada@example.org");
        ILocator entry = _me.Page.GetByLabel("Code", new() { Exact = true });
        await entry.FillAsync(code is "000000" ? "000001" : "000000");
        await _me.Button("Create account").ClickAsync();
        await Expect(_me.Page.GetByText("This code is wrong")).ToBeVisibleAsync();
        await entry.FillAsync(code);
        await _me.Button("Create account").ClickAsync();
        await Expect(_me.Heading("What is on your mind, Ada?")).ToBeVisibleAsync();

        // Plain unless it is switched on.
        await Expect(_me.DeepThink).ToHaveTextAsync("DeepThink (R1)");
        await Expect(_me.DeepThink).ToHaveAttributeAsync("aria-pressed", "false");
        await _me.SayAsync("What is 17 + 25?");
        await _me.AnsweredAsync(1);
        await Expect(_me.Answers.Nth(0).Locator(":scope > .markdown")).ToHaveTextAsync("The answer is 42.");
        await Expect(_me.Answers.Nth(0).Locator("details")).ToBeHiddenAsync();
        await _me.DeepThink.ClickAsync();
        await _me.SayAsync("And with some thought?");
        await _me.AnsweredAsync(2);
        await Expect(_me.Answers.Nth(1).Locator(":scope > .markdown")).ToHaveTextAsync("The answer is 42.");
        await Expect(_me.Answers.Nth(1).Locator("summary")).ToContainTextAsync("Thought for");
        await Expect(_me.Page.GetByText("Let me think.")).ToBeHiddenAsync();
        await _me.Answers.Nth(1).Locator("summary").ClickAsync();
        await Expect(_me.Page.GetByText("Let me think.")).ToBeVisibleAsync();
        Assert.EndsWith("<｜User｜>What is 17 + 25?<｜Assistant｜>", _engine.Prompts.First(), StringComparison.Ordinal);
        Assert.EndsWith("<｜User｜>And with some thought?<｜Assistant｜><think>\n", _engine.Prompts.Last(), StringComparison.Ordinal);

        // Each message remembers its mode, and the address leads back to all of it.
        await _me.Page.ReloadAsync();
        await _me.AnsweredAsync(2);
        await Expect(_me.Questions.Nth(0).Locator(".mode")).ToHaveCountAsync(0);
        await Expect(_me.Questions.Nth(1).Locator(".mode")).ToHaveTextAsync("DeepThink (R1)");
        await Expect(_me.DeepThink).ToHaveAttributeAsync("aria-pressed", "true");
        await _me.Page.GetByRole(AriaRole.Link, new() { Name = "New chat" }).First.ClickAsync();
        await Expect(_me.DeepThink).ToHaveAttributeAsync("aria-pressed", "false");
        _me.RequireNoFaults();
    }

    [Fact]
    public async Task A_reload_in_mid_stream_finds_the_answer_where_it_is()
    {
        await _me.SignUpAsync(_host, "reload@example.org");
        _engine.IsHeld = true;
        await _me.SayAsync("A long question");
        _engine.Allow(4);
        ILocator text = _me.Answers.Locator(":scope > .markdown");
        await Expect(text).Not.ToBeEmptyAsync();
        await _me.Page.ReloadAsync();
        await Expect(_me.Answers).ToHaveClassAsync(new System.Text.RegularExpressions.Regex("running"));
        await Expect(text).Not.ToBeEmptyAsync();
        await Expect(_me.Button("Stop the answer")).ToBeVisibleAsync();
        _engine.Allow(1000);
        await _me.AnsweredAsync(1);
        await Expect(text).ToHaveTextAsync("The answer is 42.");
        Assert.Single(_engine.Requests);
        _me.RequireNoFaults();
    }

    [Fact]
    public async Task A_lost_connection_is_taken_up_at_the_event_where_it_was_lost()
    {
        await _me.SignUpAsync(_host, "lost@example.org");
        int lines = 0;
        var asked = new List<string>();
        await _me.Page.RouteAsync("**/events?from=*", async route =>
        {
            asked.Add(new Uri(route.Request.Url).Query);
            switch (++lines)
            {
                case 1: // the first event, then the line is cut
                    await route.FulfillAsync(new() { ContentType = "text/event-stream", Body = "id: 1\ndata: {\"kind\":\"started\"}\n\n" });
                    break;
                case 2:
                    await route.AbortAsync("connectionreset");
                    break;
                default:
                    await route.ContinueAsync();
                    break;
            }
        });
        await _me.SayAsync("A question");
        await _me.AnsweredAsync(1);
        await Expect(_me.Answers.Locator(":scope > .markdown")).ToHaveTextAsync("The answer is 42.");
        Assert.Equal(["?from=0", "?from=1", "?from=1"], asked);
        _me.RequireNoFaults();
    }

    [Fact]
    public async Task Answers_are_stopped_written_again_and_questions_edited_into_branches()
    {
        await _me.SignUpAsync(_host, "branch@example.org");
        _engine.IsHeld = true;
        await _me.SayAsync("First question");
        _engine.Allow(4);
        await Expect(_me.Answers.Locator(":scope > .markdown")).Not.ToBeEmptyAsync();
        await _me.Page.Keyboard.PressAsync("Escape");
        await _me.AnsweredAsync(1);
        await Expect(_me.Answers).ToContainTextAsync("You stopped this answer.");
        await _engine.CancelledAsync(1);
        _engine.IsHeld = false;

        await _me.Button("Answer again").ClickAsync();
        await Expect(_me.Answers).ToContainTextAsync("2 / 2");
        await _me.AnsweredAsync(1);
        await Expect(_me.Answers.Locator(":scope > .markdown")).ToHaveTextAsync("The answer is 42.");
        await _me.Button("Answer again with DeepThink (R1)").ClickAsync();
        await Expect(_me.Answers).ToContainTextAsync("3 / 3");
        await Expect(_me.Answers.Locator("summary")).ToContainTextAsync("Thought for");
        await _me.AnsweredAsync(1);

        await _me.Questions.HoverAsync();
        await _me.Button("Edit and send again").ClickAsync();
        await _me.Page.GetByRole(AriaRole.Textbox, new() { Name = "Your message" }).FillAsync("Edited question");
        await _me.Page.Locator(".editor").GetByRole(AriaRole.Button, new() { Name = "Send" }).ClickAsync();
        await Expect(_me.Questions.Locator(".bubble")).ToHaveTextAsync("Edited question");
        await Expect(_me.Questions).ToContainTextAsync("2 / 2");
        await _me.AnsweredAsync(1);
        Assert.DoesNotContain("First question", _engine.Prompts.Last(), StringComparison.Ordinal);

        // Back to the first branch, where the newest of the three answers is shown, and from there to the first one.
        await _me.Questions.Locator("[data-way=left]").ClickAsync();
        await Expect(_me.Questions.Locator(".bubble")).ToHaveTextAsync("First question");
        await Expect(_me.Answers).ToContainTextAsync("3 / 3");
        await _me.Answers.Locator("[data-way=left]").ClickAsync();
        await Expect(_me.Answers).ToContainTextAsync("2 / 3");
        await _me.Answers.Locator("[data-way=left]").ClickAsync();
        await Expect(_me.Answers).ToContainTextAsync("1 / 3");
        await Expect(_me.Answers).ToContainTextAsync("You stopped this answer.");
        await _me.Page.ReloadAsync();
        await Expect(_me.Answers).ToContainTextAsync("1 / 3");
        _me.RequireNoFaults();
    }

    [Fact]
    public async Task Conversations_are_found_renamed_exported_and_deleted()
    {
        await _me.SignUpAsync(_host, "list@example.org");
        await _me.SayAsync("About whales");
        await _me.AnsweredAsync(1);
        await _me.Page.Keyboard.PressAsync("Control+Shift+O");
        await Expect(_me.Answers).ToHaveCountAsync(0);
        await _me.SayAsync("About corals");
        await _me.AnsweredAsync(1);
        await Expect(_me.Conversations).ToHaveCountAsync(2);
        await _me.Page.Keyboard.PressAsync("Control+k");
        await _me.Page.Keyboard.TypeAsync("WHALES");
        await Expect(_me.Conversations).ToHaveCountAsync(1);
        await _me.Page.Keyboard.PressAsync("Enter");
        await _me.Page.Keyboard.PressAsync("Enter");
        await Expect(_me.Questions.Locator(".bubble")).ToHaveTextAsync("About whales");

        await ChooseAsync("About whales", "Rename");
        await _me.Page.GetByLabel("Title").FillAsync("Very large animals");
        await _me.Page.GetByRole(AriaRole.Dialog).GetByRole(AriaRole.Button, new() { Name = "Rename" }).ClickAsync();
        await Expect(_me.Page.GetByRole(AriaRole.Heading, new() { Level = 1 })).ToHaveTextAsync("Very large animals");
        IDownload file = await _me.Page.RunAndWaitForDownloadAsync(() => ChooseAsync("Very large animals", "Export as Markdown"));
        Assert.Equal("very-large-animals.md", file.SuggestedFilename);
        Assert.Contains("The answer is 42.", await File.ReadAllTextAsync(await file.PathAsync()), StringComparison.Ordinal);

        await ChooseAsync("Very large animals", "Delete");
        await _me.Page.GetByRole(AriaRole.Dialog).GetByRole(AriaRole.Button, new() { Name = "Delete" }).ClickAsync();
        await Expect(_me.Heading("What is on your mind, Ada?")).ToBeVisibleAsync();
        await Expect(_me.Page.GetByText("No conversation has these words.")).ToBeVisibleAsync();
        await _me.Page.GetByLabel("Search conversations").FillAsync("");
        await Expect(_me.Conversations).ToHaveCountAsync(1);
        _me.RequireNoFaults();
    }

    [Fact]
    public async Task Settings_make_and_revoke_keys_sign_out_everywhere_and_delete_everything()
    {
        await _me.SignUpAsync(_host, "settings@example.org");
        await _me.SayAsync("A secret called xyzzy");
        await _me.AnsweredAsync(1);
        await _me.Button("Account").Or(_me.Page.Locator(".account")).First.ClickAsync();
        await _me.Page.GetByRole(AriaRole.Menuitem, new() { Name = "Settings" }).ClickAsync();
        await _me.Button("New key").ClickAsync();
        await _me.Page.GetByRole(AriaRole.Textbox, new() { Name = "Name", Exact = true }).FillAsync("laptop");
        await _me.Button("Make the key").ClickAsync();
        string secret = await _me.Page.Locator(".secret").InnerTextAsync();
        using var client = new HttpClient { BaseAddress = new Uri(_host.Address) };
        client.DefaultRequestHeaders.Authorization = new("Bearer", secret);
        Assert.Equal(System.Net.HttpStatusCode.OK, (await client.GetAsync("/v1/models")).StatusCode);
        await _me.Button("Done").ClickAsync();
        await Expect(_me.Page.Locator(".secret")).ToHaveCountAsync(0);
        await _me.Button("Revoke laptop").ClickAsync();
        await _me.Button("Revoke").ClickAsync();
        await Expect(_me.Page.GetByText("You have no key yet.")).ToBeVisibleAsync();
        Assert.Equal(System.Net.HttpStatusCode.Unauthorized, (await client.GetAsync("/v1/models")).StatusCode);

        IDownload file = await _me.Page.RunAndWaitForDownloadAsync(() => _me.Page.GetByText("Export my data").ClickAsync());
        using JsonDocument export = JsonDocument.Parse(await File.ReadAllTextAsync(await file.PathAsync()));
        Assert.Contains("xyzzy", export.RootElement.ToString(), StringComparison.Ordinal);

        await using Visitor elsewhere = await chromium.VisitAsync(_host.Address);
        await elsewhere.Page.GotoAsync("/settings");
        await SignInAsync(elsewhere, "settings@example.org");
        await Expect(elsewhere.Page.GetByText("You have no key yet.")).ToBeVisibleAsync();
        await elsewhere.Button("Sign out everywhere").ClickAsync();
        await elsewhere.Button("Sign out").ClickAsync();
        await Expect(elsewhere.Heading("Welcome back")).ToBeVisibleAsync();
        await _me.Page.GetByRole(AriaRole.Link, new() { Name = "New chat" }).First.ClickAsync();
        await _me.SayAsync("Still there?");
        await Expect(_me.Heading("Welcome back")).ToBeVisibleAsync();
        await Expect(_me.Page.GetByText("Your session has ended.")).ToBeVisibleAsync();

        await SignInAsync(_me, "settings@example.org");
        await Expect(_me.Field).ToBeVisibleAsync();
        await _me.Page.GotoAsync("/settings");
        await _me.Button("Delete my account and data").ClickAsync();
        await _me.Page.GetByLabel("Your password").FillAsync("wrong");
        await _me.Button("Delete everything").ClickAsync();
        await Expect(_me.Page.GetByText("The password is wrong.")).ToBeVisibleAsync();
        await _me.Page.GetByLabel("Your password").FillAsync(Visitor.Password);
        await _me.Button("Delete everything").ClickAsync();
        await Expect(_me.Heading("Create your account")).ToBeVisibleAsync();
        await _me.Page.GotoAsync("/sign-in");
        await SignInAsync(_me, "settings@example.org");
        await Expect(_me.Page.GetByText("The e-mail address or the password is wrong.")).ToBeVisibleAsync();
        _me.RequireNoFaults();
    }

    [Fact]
    public async Task A_forgotten_password_is_replaced_with_a_code()
    {
        (await _host.SignUpAsync("forgot@example.org")).Dispose();
        await _me.Page.GotoAsync("/sign-in");
        await _me.Page.GetByRole(AriaRole.Link, new() { Name = "Forgot your password?" }).ClickAsync();
        await _me.Page.GetByLabel("E-mail").FillAsync("forgot@example.org");
        await _me.Button("Send the code").ClickAsync();
        await _me.Page.GetByLabel("Code", new() { Exact = true }).FillAsync(await _host.CodeAsync("forgot@example.org", 2));
        await _me.Page.GetByLabel("New password", new() { Exact = true }).FillAsync("another long phrase");
        await _me.Button("Set the password").ClickAsync();
        await Expect(_me.Heading("What is on your mind, Ada?")).ToBeVisibleAsync();
        _me.RequireNoFaults();
    }

    [Fact]
    public async Task A_closed_sign_up_says_why_and_what_to_do()
    {
        await using ChatHost closed = await ChatHost.StartAsync(new ScriptedEngine(), options => options with { Urls = ["http://0.0.0.0:0"] });
        await using Visitor visitor = await chromium.VisitAsync(closed.Address.Replace("0.0.0.0", "127.0.0.1", StringComparison.Ordinal));
        await visitor.Page.GotoAsync("/sign-up");
        await Expect(visitor.Heading("Sign-up is closed")).ToBeVisibleAsync();
        await Expect(visitor.Page.GetByText("--smtp smtp://user@host:587")).ToBeVisibleAsync();
        await Expect(visitor.Page.GetByRole(AriaRole.Textbox)).ToHaveCountAsync(0);
        visitor.RequireNoFaults();
    }

    [Fact]
    public async Task A_chosen_theme_stays()
    {
        await _me.SignUpAsync(_host, "theme@example.org");
        await _me.Page.GotoAsync("/settings");
        string light = await GroundAsync();
        await _me.Page.GetByText("Dark", new() { Exact = true }).ClickAsync();
        string dark = await GroundAsync();
        Assert.NotEqual(light, dark, StringComparer.Ordinal);
        await _me.Page.ReloadAsync();
        await Expect(_me.Page.GetByRole(AriaRole.Radio, new() { Name = "Dark" })).ToBeCheckedAsync();
        Assert.Equal(dark, await GroundAsync());
        _me.RequireNoFaults();
    }

    [Fact]
    public async Task Waiting_and_failing_are_told_and_can_be_tried_again()
    {
        await _me.SignUpAsync(_host, "queue@example.org");
        _engine.Place = 3;
        _engine.IsHeld = true;
        await _me.SayAsync("Wait for it");
        await Expect(_me.Answers).ToContainTextAsync("Place 3 in line; about 12 s to wait.");
        _engine.Allow(1000);
        await _me.AnsweredAsync(1);
        _engine.Place = null;
        _engine.IsHeld = false;
        _engine.IsFull = true;
        await _me.SayAsync("Now it is full");
        await Expect(_me.Answers.Nth(1)).ToContainTextAsync("The server is full: 8 requests wait already.");
        _engine.IsFull = false;
        await _me.Button("Try again").ClickAsync();
        await Expect(_me.Answers.Nth(1).Locator(":scope > .markdown")).ToHaveTextAsync("The answer is 42.");
        await _me.AnsweredAsync(2);
        _me.RequireNoFaults();
    }

    async Task ChooseAsync(string title, string action)
    {
        await _me.Page.Locator(".conversations li", new() { HasText = title }).HoverAsync();
        await _me.Button($"Actions for {title}").ClickAsync();
        await _me.Page.GetByRole(AriaRole.Menuitem, new() { Name = action }).ClickAsync();
    }

    Task<string> GroundAsync() => _me.Page.EvaluateAsync<string>("() => getComputedStyle(document.body).backgroundColor");

    static async Task SignInAsync(Visitor visitor, string email)
    {
        await visitor.Page.GetByLabel("E-mail").FillAsync(email);
        await visitor.Page.GetByLabel("Password", new() { Exact = true }).FillAsync(Visitor.Password);
        await visitor.Button("Sign in").ClickAsync();
    }
}
