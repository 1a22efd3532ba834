using System.Diagnostics;
using System.Globalization;

namespace Hadal.Cli.Framework;

/// <summary>
/// One long piece of work on standard error: how far it is and when it will end. In a terminal one line that changes; in a pipe or a log file a line every few
/// seconds. Reports may come from any thread.
/// </summary>
sealed class ProgressLine : IDisposable
{
    const double TerminalSeconds = 0.1, LogSeconds = 5;

    readonly TextWriter _writer;
    readonly bool _live;
    readonly Lock _gate = new();
    string _stage = "";
    long _began, _shown;
    int _width;

    /// <summary>Begins with nothing on the screen.</summary>
    /// <param name="terminal">Its standard error is written to.</param>
    public ProgressLine(Terminal terminal)
        : this(terminal.Error, !terminal.IsErrorRedirected)
    {
    }

    /// <summary>Writes elsewhere.</summary>
    /// <param name="writer">Receives the lines.</param>
    /// <param name="live">True where a carriage return goes back to the beginning of the line.</param>
    public ProgressLine(TextWriter writer, bool live)
    {
        _writer = writer;
        _live = live;
        _shown = live ? 0 : Stopwatch.GetTimestamp(); // short work leaves no line in a log
    }

    /// <summary>Reports where the work is; shown when enough time has passed since the last line.</summary>
    /// <param name="stage">What is being done; the estimate begins anew with every stage.</param>
    /// <param name="done">Units done.</param>
    /// <param name="total">Units of the stage; 0 when unknown.</param>
    /// <param name="units">For example <c>tokens</c>.</param>
    public void Report(string stage, double done, double total, string units)
    {
        lock (_gate)
        {
            long now = Stopwatch.GetTimestamp();
            if (!string.Equals(stage, _stage, StringComparison.Ordinal)) (_stage, _began) = (stage, now);
            if (_shown != 0 && Stopwatch.GetElapsedTime(_shown, now).TotalSeconds < (_live ? TerminalSeconds : LogSeconds)) return;
            _shown = now;
            Show(Format(stage, done, total, units, Stopwatch.GetElapsedTime(_began, now).TotalSeconds));
        }
    }

    /// <summary>The text of a report: <c>learning merges: 512 of 4,096 tokens (12 %), 0:31 left</c>.</summary>
    internal static string Format(string stage, double done, double total, string units, double seconds)
    {
        if (total <= 0) return string.Create(CultureInfo.InvariantCulture, $"{stage}: {done:N0} {units}");
        double part = Math.Clamp(done / total, 0, 1);
        string left = part < 0.01 || seconds < 1 ? "" : $", {Duration(seconds * (1 - part) / part)} left";
        return string.Create(CultureInfo.InvariantCulture, $"{stage}: {done:N0} of {total:N0} {units} ({100 * part:0} %){left}");
    }

    /// <summary>Seconds as m:ss or h:mm:ss.</summary>
    internal static string Duration(double seconds)
    {
        var time = TimeSpan.FromSeconds(Math.Min(Math.Round(seconds), 359_999));
        return time.TotalHours >= 1
            ? string.Create(CultureInfo.InvariantCulture, $"{(int)time.TotalHours}:{time.Minutes:00}:{time.Seconds:00}")
            : string.Create(CultureInfo.InvariantCulture, $"{time.Minutes}:{time.Seconds:00}");
    }

    /// <inheritdoc/>
    public void Dispose() => Clear();

    /// <summary>Clears the line of a terminal, so that another can be written in its place.</summary>
    public void Clear()
    {
        lock (_gate)
        {
            if (_live && _width > 0) _writer.Write("\r" + new string(' ', _width) + "\r");
            _width = 0;
        }
    }

    void Show(string line)
    {
        if (!_live)
        {
            _writer.WriteLine(line);
            return;
        }

        _writer.Write("\r" + line.PadRight(_width));
        _width = line.Length;
    }
}
