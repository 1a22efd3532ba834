namespace Hadal.Training.Recording;

/// <summary>What became of one tensor over the recorded steps.</summary>
/// <param name="Tensor">The tensor.</param>
public sealed record TensorSummary(RecordedTensor Tensor)
{
    long _nonZero, _elements, _underflows, _saturations;
    double _errorSquares, _sampledSquares;
    long _sampled;

    /// <summary>Recorded steps in which it was seen.</summary>
    public int Steps { get; private set; }

    /// <summary>Largest magnitude of all, and its step.</summary>
    public (float Value, long Step) Largest { get; private set; }

    /// <summary>Largest share of nonzero values that became zero in one step, and that step.</summary>
    public (double Value, long Step) WorstUnderflow { get; private set; }

    /// <summary>Largest share of clipped values in one step, and that step.</summary>
    public (double Value, long Step) WorstSaturation { get; private set; }

    /// <summary>Largest relative error of one step, and that step; −1 when nothing was sampled.</summary>
    public (double Value, long Step) WorstError { get; private set; } = (-1, 0);

    /// <summary>NaN and infinities in all recorded steps.</summary>
    public long NonFinite { get; private set; }

    /// <summary>Share of nonzero values that became zero, over all recorded steps.</summary>
    public double MeanUnderflow => _nonZero > 0 ? (double)_underflows / _nonZero : 0;

    /// <summary>Share of clipped values, over all recorded steps.</summary>
    public double MeanSaturation => _elements > 0 ? (double)_saturations / _elements : 0;

    /// <summary>Relative error over all recorded steps; NaN when nothing was sampled.</summary>
    public double MeanError => _sampled == 0 ? double.NaN : _sampledSquares > 0 ? Math.Sqrt(_errorSquares / _sampledSquares) : 0;

    /// <summary>Scales of all recorded steps, by power of two.</summary>
    public long[] Scales { get; } = new long[TensorStatistics.ScaleBuckets];

    internal void Add(long step, TensorStatistics s)
    {
        Steps++;
        _elements += s.Elements;
        _nonZero += s.Elements - s.Zeros;
        _underflows += s.Underflows;
        _saturations += s.Saturations;
        _sampled += s.Sampled;
        _errorSquares += s.ErrorSquares;
        _sampledSquares += s.SampledSquares;
        NonFinite += s.NonFinite;
        if (!(s.Largest <= Largest.Value) || Steps == 1) Largest = (s.Largest, step);
        if (s.UnderflowShare > WorstUnderflow.Value) WorstUnderflow = (s.UnderflowShare, step);
        if (s.SaturationShare > WorstSaturation.Value) WorstSaturation = (s.SaturationShare, step);
        if (s.Sampled > 0 && !(s.RelativeError <= WorstError.Value)) WorstError = (s.RelativeError, step);
        for (int b = 0; b < Scales.Length; b++) Scales[b] += s.Scales[b];
    }

    /// <summary>Least and largest power of two among the scales; null without scales.</summary>
    public (int Least, int Largest)? ScaleExponents
    {
        get
        {
            int first = Array.FindIndex(Scales, n => n > 0), last = Array.FindLastIndex(Scales, n => n > 0);
            return first < 0 ? null : (first + TensorStatistics.LowestScaleExponent, last + TensorStatistics.LowestScaleExponent);
        }
    }
}

/// <summary>The worst and the mean of every tensor over the recorded steps.</summary>
public sealed class RecordingSummary
{
    readonly Dictionary<(TensorKind, int, string), TensorSummary> _byKey = [];
    readonly List<TensorSummary> _tensors = [];

    /// <summary>In the order of computation.</summary>
    public IReadOnlyList<TensorSummary> Tensors => _tensors;

    /// <summary>Recorded steps.</summary>
    public int Steps { get; private set; }

    /// <summary>Everything a recording holds.</summary>
    public static RecordingSummary Of(RunRecording recording)
    {
        ArgumentNullException.ThrowIfNull(recording);
        var summary = new RecordingSummary();
        foreach (long step in recording.Steps)
        {
            summary.Add(recording.Read(step));
        }

        return summary;
    }

    /// <summary>Adds one step.</summary>
    public void Add(RecordedStep step)
    {
        ArgumentNullException.ThrowIfNull(step);
        Add(step.Facts.Step, step.Tensors, step.Statistics, step.Statistics.Count);
    }

    internal void Add(long step, IReadOnlyList<RecordedTensor> tensors, IReadOnlyList<TensorStatistics> statistics, int count)
    {
        Steps++;
        for (int t = 0; t < count; t++)
        {
            if (statistics[t].Elements == 0) continue;
            if (!_byKey.TryGetValue(tensors[t].Key, out TensorSummary? summary))
            {
                summary = new TensorSummary(tensors[t]);
                _byKey.Add(tensors[t].Key, summary);
                _tensors.Add(summary);
            }

            summary.Add(step, statistics[t]);
        }
    }

    /// <summary>
    /// One Markdown row a group of tensors that share kind, role and format: how many, mean and worst underflow, saturation and error, and where the worst error was. For
    /// pages that compare recipes.
    /// </summary>
    public IEnumerable<string> MarkdownRows(string name)
    {
        foreach (IGrouping<(string Kind, string Role, string Format), TensorSummary> group in _tensors
            .Where(t => t.WorstError.Value >= 0 || t.ScaleExponents is not null).GroupBy(t => (t.Tensor.KindName, Role(t.Tensor), t.Tensor.Format)))
        {
            TensorSummary worst = group.MaxBy(t => t.WorstError.Value)!;
            yield return string.Create(System.Globalization.CultureInfo.InvariantCulture,
                $"| {name} | {group.Key.Kind}{group.Key.Role} | {group.Key.Format} | {group.Count()} | {100 * group.Average(t => t.MeanUnderflow):F3} % | {100 * group.Max(t => t.WorstUnderflow.Value):F3} % | {100 * group.Max(t => t.WorstSaturation.Value):F3} % | {100 * group.Where(t => !double.IsNaN(t.MeanError)).Select(t => t.MeanError).DefaultIfEmpty(double.NaN).Average():F2} % | {100 * worst.WorstError.Value:F2} % ({worst.Tensor.Title}, step {worst.WorstError.Step}) |");
        }
    }

    /// <summary>The two header lines above <see cref="MarkdownRows"/>.</summary>
    public static IEnumerable<string> MarkdownHeader =>
        ["| run | tensors | format | how many | underflow, mean | underflow, worst | saturation, worst | error, mean | error, worst |", "|---|---|---|---|---|---|---|---|---|"];

    static string Role(RecordedTensor tensor)
    {
        int comma = tensor.Name.IndexOf(',', StringComparison.Ordinal);
        return tensor.Kind is TensorKind.Activation or TensorKind.ActivationGradient && comma >= 0 ? tensor.Name[comma..] : "";
    }
}
