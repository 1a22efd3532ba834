namespace Hadal.Cli.Drawing;

/// <summary>Colours of a chart. In pages they are variables, which follow the reader's light or dark setting.</summary>
/// <param name="Paper">Behind everything.</param>
/// <param name="Track">Behind the data.</param>
/// <param name="Ink">Text.</param>
/// <param name="Faint">Text that explains.</param>
/// <param name="Rule">Lines of the grid.</param>
/// <param name="First">First series.</param>
/// <param name="Second">Second series.</param>
/// <param name="Mark">What one should look at.</param>
/// <param name="Heat">From nearly equal to far apart.</param>
sealed record ChartPalette(string Paper, string Track, string Ink, string Faint, string Rule, string First, string Second, string Mark, IReadOnlyList<string> Heat)
{
    /// <summary>On white, for pictures.</summary>
    public static ChartPalette Light { get; } = new("#ffffff", "#eef1f4", "#1f2933", "#566270", "#d3d9e0", "#0b6e99", "#c2410c", "#be123c",
        ["#fdf0d5", "#fbdcae", "#f7c083", "#ef9c5b", "#e07540", "#c6502f", "#9f3327", "#6f1d1f"]);

    /// <summary>On dark grey.</summary>
    public static ChartPalette Dark { get; } = new("#14181d", "#222a33", "#e6eaee", "#a3adb8", "#38424d", "#5bb8e0", "#f0915a", "#fb7185",
        ["#3a2f22", "#54402a", "#735233", "#96663b", "#ba7c45", "#dd9755", "#f2b877", "#fbdfb0"]);

    /// <summary>Variables of a page.</summary>
    public static ChartPalette Page { get; } = new("var(--paper)", "var(--track)", "var(--ink)", "var(--faint)", "var(--rule)", "var(--first)", "var(--second)", "var(--mark)",
        [.. Enumerable.Range(0, 8).Select(h => FormattableString.Invariant($"var(--heat{h})"))]);

    /// <summary>The variables' declarations.</summary>
    public string Variables() => FormattableString.Invariant(
        $"--paper:{Paper};--track:{Track};--ink:{Ink};--faint:{Faint};--rule:{Rule};--first:{First};--second:{Second};--mark:{Mark};") + string.Concat(Heat.Select((h, i) => FormattableString.Invariant($"--heat{i}:{h};")));
}
