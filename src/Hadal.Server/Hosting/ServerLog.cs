using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;

namespace Hadal.Server.Hosting;

/// <summary>Where a server's log goes.</summary>
static class ServerLog
{
    /// <summary>To the receivers that were given, else warnings and errors to standard error.</summary>
    public static void Configure(ILoggingBuilder logging, Action<ILoggingBuilder>? receivers)
    {
        if (receivers is not null)
        {
            receivers(logging);
            return;
        }

        logging.SetMinimumLevel(LogLevel.Warning);
        logging.AddFilter("Microsoft.AspNetCore.DataProtection", LogLevel.Error); // its keys lie in a folder that their owner alone can read
        logging.AddSimpleConsole(console => console.SingleLine = true);
        logging.Services.Configure<ConsoleLoggerOptions>(console => console.LogToStandardErrorThreshold = LogLevel.Trace);
    }
}
