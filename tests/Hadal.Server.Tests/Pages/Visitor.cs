using System.Collections.Concurrent;
using Deque.AxeCore.Commons;
using Hadal.Server.Tests.Chat;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace Hadal.Server.Tests.Pages;

/// <summary>A person in front of the page, by what they see and press.</summary>
public sealed class Visitor : IAsyncDisposable
{
    internal const string Password = "a long enough phrase";
    static readonly string Axe = new BundledAxeScriptProvider().GetScript();
    readonly IBrowserContext _context;

    internal Visitor(IBrowserContext context, IPage page)
    {
        _context = context;
        Page = page;
        page.PageError += (_, error) => Faults.Enqueue($"error: {error}");
        page.Console += (_, message) =>
        {
            // A refusal of the server is shown by the page; the browser's own line about it is no fault.
            if (message.Type is "error" && !message.Text.StartsWith("Failed to load resource", StringComparison.Ordinal)) Faults.Enqueue($"console: {message.Text}");
        };
        page.Dialog += async (_, dialog) =>
        {
            Faults.Enqueue($"dialog: {dialog.Message}");
            await dialog.DismissAsync();
        };
    }

    public IPage Page { get; }

    public IBrowserContext Context => _context;

    /// <summary>Exceptions, violations of the content policy, dialogs of scripts.</summary>
    public ConcurrentQueue<string> Faults { get; } = new();

    public ILocator Field => Page.GetByRole(AriaRole.Textbox, new() { Name = "Message", Exact = true });

    public ILocator DeepThink => Page.Locator(".composer .toggle");

    public ILocator Answers => Page.Locator("article.answer");

    public ILocator Questions => Page.Locator("article.question");

    public ILocator Conversations => Page.Locator(".conversations li a");

    public ILocator Button(string name) => Page.GetByRole(AriaRole.Button, new() { Name = name, Exact = true });

    public ILocator Heading(string name) => Page.GetByRole(AriaRole.Heading, new() { Name = name, Exact = true });

    /// <summary>
    /// What axe finds fault with. It runs in the page itself, which has no frames: for the sake of those the library's own way opens another page for each run, and loads
    /// everything there twice more.
    /// </summary>
    public async Task<string[]> ViolationsAsync()
    {
        if (!await Page.EvaluateAsync<bool>("() => 'axe' in window")) await Page.EvaluateAsync(Axe);
        Assert.True(await Page.EvaluateAsync<bool>("() => document.querySelector('iframe') === null && axe.getRules().length > 90"), "axe cannot see all of the page");
        return await Page.EvaluateAsync<string[]>("""
            async () => (await axe.run(document, { resultTypes: ['violations'] })).violations
                .map(violation => `${violation.id} (${violation.help}): ${violation.nodes.map(node => node.html).join(', ')}`)
            """);
    }

    /// <summary>Makes an account through the pages, the code read from the outbox, and ends before an empty chat.</summary>
    internal async Task SignUpAsync(ChatHost host, string email, string name = "Ada Lovelace")
    {
        await Page.GotoAsync("/sign-up");
        await Page.GetByLabel("E-mail").FillAsync(email);
        await Page.GetByLabel("Full name").FillAsync(name);
        await Page.GetByLabel("Password", new() { Exact = true }).FillAsync(Password);
        await Button("Continue").ClickAsync();
        await Expect(Heading("Enter your code")).ToBeVisibleAsync();
        await Page.GetByLabel("Code", new() { Exact = true }).FillAsync(await host.CodeAsync(email));
        await Button("Create account").ClickAsync();
        await Expect(Field).ToBeVisibleAsync();
    }

    /// <summary>Writes and sends: with the Enter key, or on a phone, where it begins a new line, with the button.</summary>
    public async Task SayAsync(string text)
    {
        await Field.FillAsync(text);
        if (Page.ViewportSize!.Width < 760) await Button("Send").ClickAsync();
        else await Field.PressAsync("Enter");
    }

    /// <summary>Waits until the last answer has ended.</summary>
    public async Task AnsweredAsync(int answers)
    {
        await Expect(Answers).ToHaveCountAsync(answers);
        await Expect(Page.Locator("article.answer.running")).ToHaveCountAsync(0);
        await Expect(Button("Stop the answer")).ToHaveCountAsync(0);
    }

    /// <summary>Fails with what went wrong in the page meanwhile.</summary>
    public void RequireNoFaults() => Assert.Empty(Faults);

    /// <summary>Keeps a picture below artifacts/screenshots.</summary>
    public async Task PictureAsync(string name)
    {
        DirectoryInfo folder = new(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder.FullName, "Hadal.slnx"))) folder = folder.Parent ?? throw new DirectoryNotFoundException("Hadal.slnx was not found above the tests.");
        await Page.EvaluateAsync("() => document.fonts.ready.then(() => true)");
        await Page.ScreenshotAsync(new() { Path = Path.Combine(folder.FullName, "artifacts", "screenshots", name + ".png"), Animations = ScreenshotAnimations.Disabled, Caret = ScreenshotCaret.Hide });
    }

    public async ValueTask DisposeAsync() => await _context.CloseAsync();
}
