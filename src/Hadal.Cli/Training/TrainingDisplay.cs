using Hadal.Cli.Framework;
using Hadal.Training;
using Hadal.Training.Running;
using Hadal.Training.Supervised;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace Hadal.Cli.Training;

/// <summary>
/// Shows a run on standard error: what it consists of, a moving line with loss, speed and remaining time, and lines that stay for evaluations, samples and
/// checkpoints. In a pipe the moving line becomes a line every few seconds.
/// </summary>
sealed class TrainingDisplay : ITrainingObserver
{
    const double SecondsBetweenLines = 10;
    readonly Terminal _terminal;
    readonly ProgressTask? _bar;
    readonly FactsColumn? _facts;
    readonly List<double> _losses = [];
    double _smoothed, _nextLine, _minutesBudget;
    long _lossSteps;

    TrainingDisplay(Terminal terminal, ProgressTask? bar, FactsColumn? facts)
    {
        _terminal = terminal;
        _bar = bar;
        _facts = facts;
    }

    IAnsiConsole Notes => _terminal.Notes;

    /// <summary>Runs <paramref name="train"/> with a display that fits the terminal, and shows the curve of the loss at its end.</summary>
    public static TrainingOutcome Show(Terminal terminal, RunConfiguration run, Func<ITrainingObserver, TrainingOutcome> train)
    {
        if (terminal.IsErrorRedirected) return Finish(new TrainingDisplay(terminal, null, null), run, train);
        var facts = new FactsColumn();
        return terminal.Notes.Progress().AutoClear(true).Columns(new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn { Width = 24 }, facts)
            .Start(context => Finish(new TrainingDisplay(terminal, context.AddTask("preparing", autoStart: true, maxValue: 1), facts), run, train));
    }

    static TrainingOutcome Finish(TrainingDisplay display, RunConfiguration run, Func<ITrainingObserver, TrainingOutcome> train)
    {
        display._minutesBudget = run.Budget.Minutes ?? 0;
        TrainingOutcome outcome = train(display);
        if (display._bar is not null) display._bar.Value = display._bar.MaxValue;
        if (display._losses.Count > 1)
            display.Line($"loss [grey]{Invariant($"{display._losses[0]:F2}")}[/] {Sparkline.Draw(display._losses, 60)} [grey]{Invariant($"{display._losses[^1]:F2}")}[/]");
        return outcome;
    }

    /// <inheritdoc/>
    public void Preparing(string what)
    {
        if (_bar is not null) _bar.Description = Markup.Escape(what);
        else _terminal.Error.WriteLine(what);
    }

    /// <inheritdoc/>
    public void Started(RunSummary run)
    {
        Line(Invariant($"[bold]{run.Parameters / 1e6:F2}M[/] parameters, {run.ActiveParameters / 1e6:F2}M at work per token; vocabulary {run.Vocabulary:N0}; {run.TrainingTokens:N0} tokens of text, {run.TokensPerStep:N0} a step"));
        if (run.HeldOutBytes.Count > 0) Line("held out: " + Markup.Escape(string.Join(", ", run.HeldOutBytes.Select(t => Invariant($"{t.Corpus} {t.Bytes:N0} bytes")))));
        Line("backend: " + Markup.Escape(run.Backend));
        if (run.FirstStep > 1) Line(Invariant($"continues after step {run.FirstStep - 1:N0}"));
        if (_bar is not null) _bar.Description = "training";
    }

    /// <inheritdoc/>
    public void Stepped(in StepProgress step)
    {
        _smoothed = _lossSteps++ == 0 ? step.Loss : (0.95 * _smoothed) + (0.05 * step.Loss);
        _losses.Add(_smoothed);
        double done = step.Steps > 0 ? (double)step.Step / step.Steps : step.ElapsedSeconds / Math.Max(60 * _minutesBudget, 1e-9);
        if (_bar is null && step.ElapsedSeconds < _nextLine && step.Step != step.Steps) return;
        string facts = Facts(step, _smoothed);
        if (_bar is not null)
        {
            _bar.Value = Math.Min(done, 1);
            _facts!.Text = facts;
            return;
        }

        _nextLine = step.ElapsedSeconds + SecondsBetweenLines;
        _terminal.Error.WriteLine(Invariant($"{100 * done,3:F0} %  {facts}"));
    }

    /// <inheritdoc/>
    public void Evaluated(long step, IReadOnlyList<TextScore> scores, bool final)
    {
        if (scores.Count == 0) return;
        string texts = string.Join(", ", scores.Select(s => Invariant($"{Markup.Escape(s.Corpus)} [bold]{s.BitsPerByte:F3}[/]")));
        Line(Invariant($"[grey]step {step,6:N0}[/]  bits per byte: {texts}{(final ? " [grey](all held-out text)[/]" : "")}"));
    }

    /// <inheritdoc/>
    public void TasksScored(long step, IReadOnlyList<TaskScore> scores, bool final)
    {
        string tasks = string.Join(", ", scores.GroupBy(s => s.Task, StringComparer.Ordinal).Select(g =>
            Invariant($"{Markup.Escape(g.Key)} [bold]{100 * g.Single(s => !s.Thinks).Accuracy:F0} %[/] [grey]direct[/] [bold]{100 * g.Single(s => s.Thinks).Accuracy:F0} %[/] [grey]thinking[/]")));
        Line(Invariant($"[grey]step {step,6:N0}[/]  right: {tasks} [grey](of {scores[0].Problems} held-out problems each)[/]"));
    }

    /// <inheritdoc/>
    public void Sampled(long step, string prompt, string continuation) =>
        Line(Invariant($"[grey]step {step,6:N0}[/]  [blue]{Markup.Escape(prompt)}[/]{Markup.Escape(OneLine(continuation))}"));

    /// <inheritdoc/>
    public void Saved(long step, string path)
    {
        if (_bar is null) _terminal.Error.WriteLine(Invariant($"saved step {step} in {path}"));
    }

    /// <inheritdoc/>
    public void Warned(string message) => Line("[yellow]warning:[/] " + Markup.Escape(message));

    /// <summary>A line that stays; in a pipe one line, however long. Beside a moving line it fills its rows to the end, so that nothing of the moving one shines through.</summary>
    void Line(string markup)
    {
        if (_bar is null) _terminal.Error.WriteLine(Markup.Remove(markup));
        else Notes.Write(new Table().NoBorder().HideHeaders().Expand().AddColumn(new TableColumn("").PadLeft(0).PadRight(0)).AddRow(new Markup(markup)));
    }

    static string Facts(in StepProgress step, double smoothed)
    {
        string steps = step.Steps > 0 ? Invariant($"{step.Step:N0}/{step.Steps:N0}") : Invariant($"{step.Step:N0}");
        string load = double.IsFinite(step.MaxViolation) ? Invariant($"  expert load ≤ {1 + step.MaxViolation:F1}× mean") : "";
        return Invariant($"step {steps}  loss {smoothed:F3}  {step.TokensPerSecond:N0} tokens/s{load}  {Remaining(step.RemainingSeconds)} left");
    }

    static string Remaining(double seconds)
    {
        if (!double.IsFinite(seconds)) return "?";
        var left = TimeSpan.FromSeconds(Math.Min(Math.Max(seconds, 0), 1e8));
        return left.TotalHours >= 1 ? Invariant($"{(long)left.TotalHours}:{left.Minutes:D2}:{left.Seconds:D2}") : Invariant($"{left.Minutes}:{left.Seconds:D2}");
    }

    static string OneLine(string text) => text.ReplaceLineEndings(" ⏎ ");

    static string Invariant(FormattableString text) => FormattableString.Invariant(text);

    /// <summary>Loss, speed and remaining time, behind the bar.</summary>
    sealed class FactsColumn : ProgressColumn
    {
        /// <summary>Set by the training thread, read by the drawing one.</summary>
        internal volatile string Text = "";

        protected override bool NoWrap => true;

        public override IRenderable Render(RenderOptions options, ProgressTask task, TimeSpan deltaTime) => Terminal.Plain(Text);
    }
}
