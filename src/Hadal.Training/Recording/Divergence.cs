using Hadal.Training.Running;

namespace Hadal.Training.Recording;

/// <summary>How far one tensor of two runs is apart in one step.</summary>
/// <param name="Tensor">As run A names it.</param>
/// <param name="MicroBatch">The first micro-batch that differs; −1 when the tensor exists once a step, or when a tolerance was given.</param>
/// <param name="Difference">Estimate of ‖a − b‖ / ‖·‖; 0 when bits differ by less than the recording resolves (about 1e-7).</param>
/// <param name="A">In run A.</param>
/// <param name="B">In run B.</param>
/// <param name="FormatB">Its format in run B.</param>
public sealed record TensorDifference(RecordedTensor Tensor, int MicroBatch, double Difference, TensorStatistics A, TensorStatistics B, string FormatB);

/// <summary>Where two recorded runs part, in order of computation: weights, then for each micro-batch its tokens, forward and backward, then the gradients of the weights.</summary>
public sealed record Divergence
{
    /// <summary>Recorded steps that both runs have.</summary>
    public required IReadOnlyList<long> Steps { get; init; }

    /// <summary>The first recorded step in which a tensor differs; null when none does.</summary>
    public required long? Step { get; init; }

    /// <summary>The last recorded step before it in which every tensor was equal; null when there is none.</summary>
    public required long? LastEqualStep { get; init; }

    /// <summary>Every tensor that differs in <see cref="Step"/>, in order of computation: the first is where the runs part.</summary>
    public required IReadOnlyList<TensorDifference> Differences { get; init; }

    /// <summary>Tensors both runs have, and those that one alone has.</summary>
    public required (int Both, int OnlyA, int OnlyB) Tensors { get; init; }

    /// <summary>The first step, recorded or not, whose loss in the two metrics files differs; null when none does or there are no metrics.</summary>
    public required long? LossStep { get; init; }

    /// <summary>Losses of both runs over their steps.</summary>
    public required IReadOnlyList<(long Step, double Loss)> LossesA { get; init; }

    /// <inheritdoc cref="LossesA"/>
    public required IReadOnlyList<(long Step, double Loss)> LossesB { get; init; }

    /// <summary>Layers that were recorded, ascending; −1 stands for what is outside of layers.</summary>
    public required IReadOnlyList<int> Layers { get; init; }

    /// <summary>
    /// [step][layer]: the largest difference of the layer's weights, activations and cached tensors, or where those are equal of its gradients; 0 where all are. Rows sorted
    /// by expert are left out: one other choice moves all rows behind it.
    /// </summary>
    public required IReadOnlyList<IReadOnlyList<double>> ByLayer { get; init; }

    /// <summary>True when every common step is equal.</summary>
    public bool IsEqual => Step is null;

    /// <summary>Compares two recordings.</summary>
    /// <param name="a">One.</param>
    /// <param name="b">The other.</param>
    /// <param name="tolerance">Null: tensors differ when one bit does. Otherwise when their relative difference is above it.</param>
    /// <param name="lossesA">Losses of every step of A, from its metrics; empty when there are none.</param>
    /// <param name="lossesB">Of B.</param>
    /// <param name="cancel">Ends with an <see cref="OperationCanceledException"/>.</param>
    /// <exception cref="InvalidDataException">The runs share no recorded step or no tensor.</exception>
    public static Divergence Between(
        RunRecording a, RunRecording b, double? tolerance, IReadOnlyList<(long Step, double Loss)> lossesA, IReadOnlyList<(long Step, double Loss)> lossesB, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(a);
        ArgumentNullException.ThrowIfNull(b);
        var other = new HashSet<long>(b.Steps);
        long[] steps = [.. a.Steps.Where(other.Contains)];
        if (steps.Length == 0)
            throw new InvalidDataException($"No step is recorded in both runs: one has {Range(a.Steps)}, the other {Range(b.Steps)}. Record both with the same --record-interval.");
        long? first = null, lastEqual = null;
        var differences = new List<TensorDifference>();
        var rows = new List<Dictionary<int, double>>();
        var layers = new SortedSet<int>();
        (int Both, int OnlyA, int OnlyB) tensors = default;
        foreach (long step in steps)
        {
            cancel.ThrowIfCancellationRequested();
            RecordedStep left = a.Read(step), right = b.Read(step);
            List<TensorDifference> found = Compare(left, right, tolerance, layers, out Dictionary<int, double> byLayer, out tensors);
            if (tensors.Both == 0) throw new InvalidDataException($"The two runs have no tensor in common in step {step}: they are of different architectures.");
            rows.Add(byLayer);
            if (first is not null) continue;
            if (found.Count == 0)
            {
                lastEqual = step;
                continue;
            }

            first = step;
            differences = found;
        }

        if (lossesA.Count == 0 || lossesB.Count == 0)
        {
            lossesA = [.. steps.Select(s => (s, a.Read(s).Facts.Loss))];
            lossesB = [.. steps.Select(s => (s, b.Read(s).Facts.Loss))];
        }

        return new Divergence
        {
            Steps = steps, Step = first, LastEqualStep = lastEqual, Differences = differences, Tensors = tensors, LossStep = FirstLoss(lossesA, lossesB, tolerance ?? 0),
            LossesA = lossesA, LossesB = lossesB, Layers = [.. layers], ByLayer = [.. rows.Select(row => (IReadOnlyList<double>)[.. layers.Select(l => row.GetValueOrDefault(l))])],
        };
    }

    static List<TensorDifference> Compare(RecordedStep a, RecordedStep b, double? tolerance, SortedSet<int> layers, out Dictionary<int, double> byLayer, out (int Both, int OnlyA, int OnlyB) tensors)
    {
        var places = new Dictionary<(TensorKind, int, string), int>();
        for (int t = 0; t < b.Statistics.Count; t++)
            if (b.Statistics[t].Elements > 0) places[b.Tensors[t].Key] = t;
        byLayer = [];
        var gradients = new Dictionary<int, double>();
        var found = new List<(long Order, TensorDifference Difference)>();
        int both = 0, onlyA = 0;
        for (int t = 0; t < a.Statistics.Count; t++)
        {
            RecordedTensor tensor = a.Tensors[t];
            TensorStatistics left = a.Statistics[t];
            if (left.Elements == 0) continue;
            if (!places.TryGetValue(tensor.Key, out int place))
            {
                onlyA++;
                continue;
            }

            both++;
            layers.Add(tensor.Layer);
            TensorStatistics right = b.Statistics[place];
            int microBatch = FirstDifferent(left.Hashes, right.Hashes);
            if (microBatch < 0) continue;
            double difference = tensor.Kind == TensorKind.Tokens ? double.PositiveInfinity : left.RelativeDifference(right);
            Dictionary<int, double> rows = tensor.Kind is TensorKind.ActivationGradient or TensorKind.WeightGradient ? gradients : byLayer;
            if (tensor.Kind != TensorKind.Tokens && !IsSortedByExpert(tensor)) rows[tensor.Layer] = Math.Max(rows.GetValueOrDefault(tensor.Layer), Math.Max(difference, LeastShown));
            if (tolerance is double most && difference <= most) continue;
            bool once = tensor.Kind is TensorKind.Weight or TensorKind.WeightGradient;
            found.Add((Order(tensor.Kind, tolerance is null ? microBatch : 0, t), new TensorDifference(tensor, once || tolerance is not null ? -1 : microBatch, difference, left, right, b.Tensors[place].Format)));
        }

        foreach ((int layer, double difference) in gradients) byLayer.TryAdd(layer, difference);
        tensors = (both, onlyA, places.Count - both);
        found.Sort((x, y) => x.Order.CompareTo(y.Order));
        return found.ConvertAll(f => f.Difference);
    }

    /// <summary>Stands for a difference that the sketches do not resolve.</summary>
    const double LeastShown = 1e-8;

    static bool IsSortedByExpert(RecordedTensor tensor) =>
        tensor.Kind is not (TensorKind.Weight or TensorKind.WeightGradient) && (tensor.Name.StartsWith("mlp.experts.", StringComparison.Ordinal) || tensor.Name.StartsWith("Routed.", StringComparison.Ordinal));

    /// <summary>Weights first, then micro-batch by micro-batch, then weight gradients; inside, as they were computed.</summary>
    static long Order(TensorKind kind, int microBatch, int place) => kind switch
    {
        TensorKind.Weight => place,
        TensorKind.WeightGradient => ((long)RecordFormat.MostMicroBatches << 32) + place,
        TensorKind.Tokens => ((long)(microBatch + 1) << 32) - 1,
        _ => ((long)(microBatch + 1) << 32) + place,
    };

    static int FirstDifferent(ulong[] a, ulong[] b)
    {
        for (int m = 0; m < Math.Max(a.Length, b.Length); m++)
            if (m >= a.Length || m >= b.Length || a[m] != b[m]) return m;
        return -1;
    }

    static long? FirstLoss(IReadOnlyList<(long Step, double Loss)> a, IReadOnlyList<(long Step, double Loss)> b, double tolerance)
    {
        var other = new Dictionary<long, double>();
        foreach ((long step, double loss) in b) other[step] = loss;
        foreach ((long step, double loss) in a)
            if (other.TryGetValue(step, out double theirs) && !(Math.Abs(loss - theirs) <= tolerance * Math.Abs(theirs))) return step;
        return null;
    }

    static string Range(IReadOnlyCollection<long> steps) => steps.Count == 1 ? $"step {steps.First()}" : $"{steps.Count} steps from {steps.First()} to {steps.Last()}";

    /// <summary>Losses of every step of a run, from its metrics; empty when it has none.</summary>
    public static IReadOnlyList<(long Step, double Loss)> Losses(string run)
    {
        string metrics = Path.Combine(run, TrainingRun.MetricsFileName);
        return File.Exists(metrics) ? MetricsHistory.Read(metrics).Losses : [];
    }
}
