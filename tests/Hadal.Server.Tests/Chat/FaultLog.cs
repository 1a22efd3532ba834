using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Tests.Chat;

/// <summary>Keeps the warnings and errors of a server's log, with their exceptions.</summary>
sealed class FaultLog : ILoggerProvider, ILogger
{
    readonly ConcurrentQueue<(LogLevel Level, string Text)> _lines = new();

    public ILogger CreateLogger(string categoryName) => this;

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Warning;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (IsEnabled(logLevel)) _lines.Enqueue((logLevel, $"{formatter(state, exception)}\n{exception}"));
    }

    /// <summary>Fails with whole lines and exceptions when there is an error.</summary>
    public void AssertNoError()
    {
        string[] errors = [.. _lines.Where(line => line.Level >= LogLevel.Error).Select(line => line.Text)];
        Assert.True(errors.Length == 0, $"{errors.Length} errors in the log:\n{string.Join("\n", errors)}");
    }

    /// <summary>Waits, at most a minute, for a line with these words.</summary>
    public async Task HearAsync(string words)
    {
        for (int round = 0; round < 2400 && !_lines.Any(line => line.Text.Contains(words, StringComparison.Ordinal)); round++) await Task.Delay(25);
        Assert.Contains(_lines, line => line.Text.Contains(words, StringComparison.Ordinal));
    }

    public void Dispose()
    {
    }
}
