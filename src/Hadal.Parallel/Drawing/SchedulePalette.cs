using Hadal.Parallel.Schedules;

namespace Hadal.Parallel.Drawing;

/// <summary>Colours of a drawn schedule: the hue says what is done, the strength which direction or phase it belongs to.</summary>
static class SchedulePalette
{
    public const string Paper = "#ffffff", Track = "#eef1f4", Ink = "#1f2933", Faint = "#66727f", Rule = "#d3d9e0";

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
