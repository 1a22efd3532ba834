using System.Globalization;
using Hadal.Planning.Layouts;

namespace Hadal.Planning.Costs;

/// <summary>Times from operations: those of a step divided by a part of the cluster's peak. The roughest of the three, for machines on which nothing was measured.</summary>
public sealed record RateCosts : CostDescription
{
    /// <summary>Part of the peak that computing reaches, without waiting for messages and other ranks.</summary>
    public required double Efficiency { get; init; }

    /// <summary>What the default comes from, for the assumptions; null when the user gave the efficiency.</summary>
    public string? Origin { get; init; }

    /// <summary>
    /// The part that the published pairs reach: a pair of V3 is the forward and backward of one chunk of 4,096 tokens in 61/16 layers, counted causally, and takes 13.95 s divided by
    /// their number; the exchange is hidden inside.
    /// </summary>
    public static RateCosts Published { get; } = OfPublishedPairs();

    /// <inheritdoc/>
    public override string Kind => "rate";

    /// <inheritdoc/>
    public override bool IncludesExchange => false;

    static RateCosts OfPublishedPairs()
    {
        StepTotals totals = StepTotals.Published;
        double flops = TrainingWork.PublishedV3.Size.FlopsPerToken(4096, causal: true) * totals.Tokens / totals.Ranks;
        double efficiency = flops / totals.Chunks().Pair!.Value / ClusterDescription.Published.PeakFlops;
        return new() { Efficiency = efficiency, Origin = "what the overlapped pairs of the published V3 step reach on an H800" };
    }

    /// <inheritdoc/>
    public override StageTimes Of(StageContents stage, int stages, TrainingWork work, ClusterDescription cluster)
    {
        ArgumentNullException.ThrowIfNull(stage);
        ArgumentNullException.ThrowIfNull(work);
        ArgumentNullException.ThrowIfNull(cluster);
        double rate = Efficiency * cluster.PeakFlops, products = 0, attention = 0, mtpProducts = 0, mtpAttention = 0, head = 0;
        double perLayer = work.Size.AttentionFlops(work.SequenceLength, causal: true);
        foreach (LayerSize layer in stage.Layers)
        {
            bool mtp = layer.Layer >= work.Shape.Layers;
            (mtp ? ref mtpProducts : ref products) += 2 * layer.Multiplied(work.Shape);
            (mtp ? ref mtpAttention : ref attention) += perLayer;
        }

        // The head's gradients follow its losses at once, and every MTP module uses the head once more.
        if (stage.IsLast) head = 6.0 * (work.Size.Head == 0 ? work.Size.Embedding : work.Size.Head) * (1 + work.Size.Mtp.Count);
        double tokens = work.Tokens;
        return new(
            tokens * (products + attention + mtpProducts + mtpAttention + head) / rate,
            tokens * (products + (2 * attention) + (2 * mtpProducts) + (2 * mtpAttention)) / rate,
            tokens * products / rate);
    }

    /// <inheritdoc/>
    public override IEnumerable<string> Assumptions(TrainingWork work, ClusterDescription cluster)
    {
        ArgumentNullException.ThrowIfNull(cluster);
        yield return string.Create(CultureInfo.InvariantCulture,
            $"Nothing was measured: every operation runs at {Efficiency * cluster.PeakFlops / 1e12:0.#} TFLOP/s, {100 * Efficiency:0.#} % of the peak{(Origin is null ? "" : ", " + Origin)}; recomputed projections are in that part.");
        yield return "The optimizer is bound by memory: 20 bytes for each parameter whose state a rank owns.";
    }

    internal static RateCosts Read(PlanFile file) => new() { Efficiency = file.Number("efficiency", 1e-6, 1) };
}
