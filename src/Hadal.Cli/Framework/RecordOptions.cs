using System.CommandLine;
using Hadal.Training;

namespace Hadal.Cli.Framework;

/// <summary>The options of the flight recorder, for every verb that trains.</summary>
static class RecordOptions
{
    /// <summary>The switch and the interval.</summary>
    public static (Option<bool> Record, Option<int?> Interval) Create() => (
        Options.Switch("--record", $"Record every {RecordingConfiguration.UsualEvery}th step with the flight recorder, as hadal inspect record and diverge read it. Changes no bit of the result."),
        Options.OptionalInteger("--record-interval", "Steps between two records; implies --record. 1 records every step.", 1));

    /// <summary>A run with what was asked for.</summary>
    public static RunConfiguration Apply(RunConfiguration run, bool record, int? interval)
    {
        if (interval is int every) return run with { Recording = new RecordingConfiguration { Every = every } };
        return record && run.Recording.Every == 0 ? run with { Recording = new RecordingConfiguration { Every = RecordingConfiguration.UsualEvery } } : run;
    }
}
