using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;

namespace Hadal.Server.Hosting;

/// <summary>Where a server's log goes.</summary>
static class ServerLog
{
    // These log a start that fails, with a stack trace, and throw what they logged: whoever starts the server tells of it, once and in words.
    static readonly string[] ThrowAtStart = ["Microsoft.AspNetCore.Server.Kestrel", "Microsoft.Extensions.Hosting", "Microsoft.EntityFrameworkCore"];

    /// <summary>To the receivers that were given, else warnings and errors to standard error.</summary>
    /// <returns>To be called when the server has started.</returns>
    public static Action Configure(ILoggingBuilder logging, Action<ILoggingBuilder>? receivers)
    {
        bool started = false;
        if (receivers is not null)
        {
            receivers(logging);
            return () => { };
        }

        logging.SetMinimumLevel(LogLevel.Warning);
        logging.AddFilter("Microsoft.AspNetCore.DataProtection", LogLevel.Error); // its keys lie in a folder that their owner alone can read
        logging.AddFilter("Microsoft.AspNetCore.Antiforgery", LogLevel.Critical); // a stranger's broken cookie is no fault of ours, and must not fill the log
        foreach (string category in ThrowAtStart) logging.AddFilter(category, level => level >= LogLevel.Warning && Volatile.Read(ref started));
        logging.AddSimpleConsole(console => console.SingleLine = true);
        logging.Services.Configure<ConsoleLoggerOptions>(console => console.LogToStandardErrorThreshold = LogLevel.Trace);
        return () => Volatile.Write(ref started, true);
    }
}
