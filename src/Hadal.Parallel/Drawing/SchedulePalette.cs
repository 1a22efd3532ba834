using Hadal.Parallel.Schedules;

namespace Hadal.Parallel.Drawing;

/// <summary>What a schedule is drawn on: any colour that the picture's format knows, variables of a page among them.</summary>
/// <param name="Paper">Behind everything.</param>
/// <param name="Track">A rank's row where it is idle.</param>
/// <param name="Ink">Text.</param>
/// <param name="Faint">Text that explains.</param>
/// <param name="Rule">Lines.</param>
public sealed record ScheduleSheet(string Paper, string Track, string Ink, string Faint, string Rule)
{
    /// <summary>White paper.</summary>
    public static ScheduleSheet White { get; } = new("#ffffff", "#eef1f4", "#1f2933", "#66727f", "#d3d9e0");
}

/// <summary>Colours of a drawn schedule: the hue says what is done, the strength which direction or phase it belongs to.</summary>
static class SchedulePalette
{
    const string Ink = "#1f2933";

    /// <summary>Fill and text colour of a box.</summary>
    public static (string Fill, string Ink) Of(StepKind kind, bool second) => (kind, second) switch
    {
        (StepKind.Forward, false) => ("#2563a8", "#ffffff"),
        (StepKind.Forward, true) => ("#a9ccf0", Ink),
        (StepKind.Backward, false) => ("#2f7d4f", "#ffffff"),
        (StepKind.Backward, true) => ("#a8dab9", Ink),
        (StepKind.BackwardInput, false) => ("#c98a12", "#ffffff"),
        (StepKind.BackwardInput, true) => ("#f6d98f", Ink),
        (StepKind.BackwardWeights, false) => ("#7a4a9e", "#ffffff"),
        _ => ("#d8c2ea", Ink),
    };
}
