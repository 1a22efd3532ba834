using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Spectre.Console;

namespace Hadal.Cli.Framework;

/// <summary>
/// The two streams of a command. Results go to standard output and nothing else does; notes, progress and errors go to standard error.
/// Colour and movement only where a person looks: never in a pipe, never with NO_COLOR.
/// </summary>
sealed class Terminal
{
    static readonly UTF8Encoding Utf8 = new(encoderShouldEmitUTF8Identifier: false);

    /// <summary>The streams of this process, in UTF-8 whatever the locale says.</summary>
    public Terminal()
    {
        Output = new StreamWriter(Console.OpenStandardOutput(), Utf8, 1 << 12) { AutoFlush = true };
        Error = new StreamWriter(Console.OpenStandardError(), Utf8, 1 << 12) { AutoFlush = true };
        (IsOutputRedirected, IsErrorRedirected) = (Console.IsOutputRedirected, Console.IsErrorRedirected);
        Screen = Create(Output, IsOutputRedirected);
        Notes = Create(Error, IsErrorRedirected);
    }

    /// <summary>Two streams that nobody looks at, as in a pipe.</summary>
    public Terminal(TextWriter output, TextWriter error)
    {
        (Output, Error, IsOutputRedirected, IsErrorRedirected) = (output, error, true, true);
        Screen = Create(Output, redirected: true);
        Notes = Create(Error, redirected: true);
    }

    /// <summary>Standard output, plain.</summary>
    public TextWriter Output { get; }

    /// <summary>Standard error, plain.</summary>
    public TextWriter Error { get; }

    /// <summary>Standard output with tables and, in a terminal, colour.</summary>
    public IAnsiConsole Screen { get; }

    /// <summary>Standard error with tables, progress and, in a terminal, colour.</summary>
    public IAnsiConsole Notes { get; }

    /// <summary>True when standard output goes into a pipe or a file.</summary>
    public bool IsOutputRedirected { get; }

    /// <summary>True when standard error goes into a pipe or a file.</summary>
    public bool IsErrorRedirected { get; }

    /// <summary>True when a person can type and read: no stream of the conversation is redirected.</summary>
    public static bool IsInteractive => !Console.IsInputRedirected && !Console.IsOutputRedirected;

    /// <summary>A table cell that shows its text as it is; markup in it means nothing.</summary>
    public static Spectre.Console.Text Plain(string text) => new(text);

    /// <summary>Says which backend runs, on standard error, so that standard output stays pure.</summary>
    public void SayBackend(string description) => Error.WriteLine($"backend: {description}");

    /// <summary>Writes one JSON object, indented, and a line feed to standard output.</summary>
    public void WriteJson(Action<Utf8JsonWriter> write) => Output.Write(Json(write));

    /// <summary>One JSON object, indented, and a line feed. Letters such as &amp; stay as they are: it is no part of a web page.</summary>
    public static string Json(Action<Utf8JsonWriter> write)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            write(json);
            json.WriteEndObject();
        }

        return Utf8.GetString(buffer.GetBuffer(), 0, (int)buffer.Length) + "\n";
    }

    static IAnsiConsole Create(TextWriter writer, bool redirected)
    {
        bool plain = redirected || !string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"));
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Ansi = redirected ? AnsiSupport.No : AnsiSupport.Detect,
            ColorSystem = plain ? ColorSystemSupport.NoColors : ColorSystemSupport.Detect,
            Interactive = redirected ? InteractionSupport.No : InteractionSupport.Detect,
            Out = new Sink(writer, redirected),
        });
        return console;
    }

    // Spectre asks the console for its width; in a pipe the width of a page is right.
    sealed class Sink(TextWriter writer, bool redirected) : IAnsiConsoleOutput
    {
        const int PageWidth = 120;

        public TextWriter Writer => writer;

        public bool IsTerminal => !redirected;

        public int Width => redirected ? PageWidth : Math.Max(40, SafeWidth());

        public int Height => redirected ? 50 : Math.Max(10, SafeHeight());

        public void SetEncoding(Encoding encoding)
        {
        }

        static int SafeWidth()
        {
            try
            {
                return Console.WindowWidth;
            }
            catch (IOException)
            {
                return PageWidth;
            }
        }

        static int SafeHeight()
        {
            try
            {
                return Console.WindowHeight;
            }
            catch (IOException)
            {
                return 50;
            }
        }
    }
}
