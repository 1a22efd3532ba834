using System.Diagnostics;
using System.Globalization;

namespace Hadal.Tests;

/// <summary>Runs that end by the clock: HADAL_SOAK_SECONDS each, ten minutes when it is not set. The rounds are functions of their number, so a failure can be repeated.</summary>
static class Soak
{
    const double Usual = 600;

    /// <summary>Rounds until the time is over; says on standard error how many cases that were.</summary>
    /// <param name="name">For the report.</param>
    /// <param name="round">Runs the cases of a round and returns their number.</param>
    internal static void Run(string name, Func<ulong, long> round)
    {
        double seconds = double.TryParse(Environment.GetEnvironmentVariable("HADAL_SOAK_SECONDS"), NumberStyles.Float, CultureInfo.InvariantCulture, out double given) ? given : Usual;
        long began = Stopwatch.GetTimestamp(), cases = 0;
        ulong number = 0;
        while (number == 0 || Stopwatch.GetElapsedTime(began).TotalSeconds < seconds) cases += round(1000 + number++);
        string report = string.Create(CultureInfo.InvariantCulture, $"soak of {name}: {cases:N0} cases in {number} rounds, {Stopwatch.GetElapsedTime(began).TotalSeconds:F0} s, no surprise");
        TestContext.Current.TestOutputHelper?.WriteLine(report);
        Console.Error.WriteLine(report);
    }
}
