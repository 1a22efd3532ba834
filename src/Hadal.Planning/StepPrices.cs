using Hadal.Parallel.Schedules;
using Hadal.Planning.Costs;
using Hadal.Planning.Layouts;

namespace Hadal.Planning;

/// <summary>Times of the steps of a schedule: arithmetic of the stages, and the exchange of rows beside or after it.</summary>
sealed class StepPrices
{
    readonly StageTimes[] _times;
    readonly double[] _exchange, _open;
    readonly double _message, _perLayer;
    readonly bool _included;
    readonly StageContents[] _stages;

    /// <param name="work">The work.</param>
    /// <param name="cluster">The machines.</param>
    /// <param name="costs">Where times come from.</param>
    /// <param name="layout">The layout.</param>
    /// <param name="stages">The stages.</param>
    /// <param name="traffic">The exchange of the layout.</param>
    /// <param name="measured">The exchange where the times were taken, when it is in them.</param>
    public StepPrices(TrainingWork work, ClusterDescription cluster, CostDescription costs, TrainingLayout layout, StageContents[] stages, RoutingTraffic traffic, RoutingTraffic measured)
    {
        _stages = stages;
        _included = costs.IncludesExchange;
        _times = [.. stages.Select(stage => costs.Of(stage, stages.Length, work, cluster))];
        _perLayer = traffic.LayerSeconds(work.Tokens, cluster);
        _exchange = [.. stages.Select(stage => Exchanging(stage) * _perLayer)];

        // Where the exchange is in the times already, only what it takes more, or less, than there comes on top.
        double open = _perLayer - (_included ? measured.LayerSeconds(work.Tokens, costs.MeasuredOn ?? cluster) : 0);
        _open = [.. stages.Select(stage => Exchanging(stage) * open)];
        bool crosses = layout.PipelineCrossesNodes(cluster);
        _message = layout.Pipeline == 1 ? 0 : (MessageBytes(work) / (crosses ? cluster.NetworkBandwidth : cluster.NodeBandwidth)) + (crosses ? cluster.NetworkLatency : cluster.NodeLatency);
    }

    /// <summary>Blocks of a stage that exchange rows, MTP modules among them.</summary>
    public static int Exchanging(StageContents stage) => stage.Layers.Count(layer => layer.IsSparse);

    /// <summary>Bytes of an activation message between stages.</summary>
    public static double MessageBytes(TrainingWork work) => (double)work.Tokens * work.Shape.Hidden * work.ActivationBytes;

    /// <summary>Costs of an average stage: the unit, and what the formulas take.</summary>
    public StepCosts Average()
    {
        double f = 0, b = 0, w = 0, pair = 0;
        for (int stage = 0; stage < _times.Length; stage++)
        {
            f += Forward(stage) / _times.Length;
            b += Backward(stage) / _times.Length;
            w += _times[stage].BackwardWeights / _times.Length;
            pair += Pair(stage, stage) / _times.Length;
        }

        return new(f, b, w, _message, Overlapped: pair);
    }

    /// <summary>Time of a step that computes.</summary>
    public double Of(PipelinePlacement placement, int rank, ScheduleStep step)
    {
        int stage = placement.Stage(rank, step.Phase);
        return step.Kind switch
        {
            StepKind.Forward => Forward(stage),
            StepKind.Backward => Backward(stage) + _times[stage].BackwardWeights,
            StepKind.BackwardInput => Backward(stage),
            StepKind.BackwardWeights => _times[stage].BackwardWeights,
            StepKind.ForwardBackward => Pair(stage, placement.Stage(rank, step.BackwardPhase)),
            _ => 0,
        };
    }

    /// <summary>The exchange of a pair over what its arithmetic takes, in the stage where that is most: below 1 the pair hides it.</summary>
    public double PairShare => Enumerable.Range(0, _times.Length).Max(stage => 2 * _exchange[stage] / PairArithmetic(stage, stage));

    /// <summary>What the exchange costs a rank, and what pairs hide of it.</summary>
    public ExchangeTime Exchange(PipelineSchedule schedule, int rank)
    {
        double total = 0, hidden = 0;
        foreach (ScheduleStep step in schedule.Steps[rank])
        {
            double forward = step.HasForward ? _exchange[schedule.Placement.Stage(rank, step.Phase)] : 0;
            double backward = step.HasBackward ? _exchange[schedule.Placement.Stage(rank, step.BackwardPart.Phase)] : 0;
            total += forward + backward;
            if (step.Kind != StepKind.ForwardBackward) continue;
            (int first, int second) = (schedule.Placement.Stage(rank, step.Phase), schedule.Placement.Stage(rank, step.BackwardPhase));
            hidden += Math.Min(forward + backward, _included ? Pair(first, second) : Arithmetic(first, second));
        }

        return new(_perLayer, total, hidden, total - hidden);
    }

    double Forward(int stage) => WithExchange(_times[stage].Forward, stage);

    double Backward(int stage) => WithExchange(_times[stage].BackwardInput, stage);

    // The measured time may have hidden a part of its exchange: a tenth of it remains in any case.
    double WithExchange(double seconds, int stage) => Math.Max(seconds + _open[stage], 0.1 * seconds);

    double Arithmetic(int forward, int backward) => _times[forward].Forward + _times[backward].Backward;

    // Where pairs were measured, one of two stages takes as much of its parts as those of both stages do of theirs; else the slower of arithmetic and links counts.
    double PairArithmetic(int forward, int backward)
    {
        double alone = Arithmetic(forward, backward);
        return _times[forward].Pair is { } one && _times[backward].Pair is { } other ? alone * (one + other) / (Arithmetic(forward, forward) + Arithmetic(backward, backward)) : alone;
    }

    double Pair(int forward, int backward) => Math.Max(PairArithmetic(forward, backward), _exchange[forward] + _exchange[backward]);
}
