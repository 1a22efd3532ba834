using Hadal.Planning.Layouts;

namespace Hadal.Planning.Costs;

/// <summary>Seconds that one micro-batch takes in one stage.</summary>
/// <param name="Forward">F.</param>
/// <param name="BackwardInput">b.</param>
/// <param name="BackwardWeights">W.</param>
/// <param name="Pair">F&amp;B with a stage of the same times, where it was measured; null: what its parts take.</param>
public readonly record struct StageTimes(double Forward, double BackwardInput, double BackwardWeights, double? Pair = null)
{
    /// <summary>B.</summary>
    public double Backward => BackwardInput + BackwardWeights;
}

/// <summary>Where the times of a plan come from.</summary>
public abstract record CostDescription
{
    /// <summary>The kind in files: step_totals, layers, rate.</summary>
    public abstract string Kind { get; }

    /// <summary>True when the times were taken on ranks that exchanged rows, so that waiting for the exchange is in them.</summary>
    public abstract bool IncludesExchange { get; }

    /// <summary>Ranks that shared the experts where <see cref="IncludesExchange"/> times were taken.</summary>
    public virtual int MeasuredExpertParallel => 1;

    /// <summary>The machines whose links are in <see cref="IncludesExchange"/> times; null: those that are planned for.</summary>
    public virtual ClusterDescription? MeasuredOn => null;

    /// <summary>Sentences a reader must know to judge the times.</summary>
    public abstract IEnumerable<string> Assumptions(TrainingWork work, ClusterDescription cluster);

    /// <summary>Times of a stage.</summary>
    /// <param name="stage">What it holds.</param>
    /// <param name="stages">Stages of the pipeline.</param>
    /// <param name="work">Model and micro-batch.</param>
    /// <param name="cluster">The machines.</param>
    /// <exception cref="PlanException">The times are of another model.</exception>
    public abstract StageTimes Of(StageContents stage, int stages, TrainingWork work, ClusterDescription cluster);

    /// <summary>Seconds of the optimizer's update on a rank that owns so many parameters' state.</summary>
    public virtual double Optimizer(double owned, ClusterDescription cluster)
    {
        // Gradient read, master and both moments read and written: 4 + 2·(4 + 2 + 2) bytes a parameter.
        ArgumentNullException.ThrowIfNull(cluster);
        return 20 * owned / cluster.MemoryBandwidth;
    }

    /// <summary>Reads a file, or the built-in times by the name <c>published</c>.</summary>
    /// <exception cref="PlanException">The file holds no times; the message names the key.</exception>
    public static CostDescription Load(string path) =>
        string.Equals(path, "published", StringComparison.Ordinal) ? StepTotals.Published : PlanFile.Read(path, Read);

    /// <summary>As <see cref="Load"/> from text; <paramref name="source"/> is named in messages.</summary>
    public static CostDescription Parse(string json, string source) => PlanFile.Parse(json, source, Read);

    static CostDescription Read(PlanFile file) => file.Text("kind") switch
    {
        "step_totals" => StepTotals.Read(file),
        "layers" => LayerCosts.Read(file),
        "rate" => RateCosts.Read(file),
        string other => throw file.Wrong("kind", $"\"{other}\"", "one of step_totals, layers, rate"),
        null => throw file.Wrong("kind", "missing", "one of step_totals, layers, rate"),
    };
}
