using System.Text.Json;
using Hadal.Model;
using Hadal.Parallel.Schedules;
using Hadal.Planning.Costs;
using Hadal.Planning.Layouts;
using Hadal.Tensors.Operations;

namespace Hadal.Planning.Tests;

/// <summary>
/// The planner against steps that were traced: a recorded run of <c>hadal bench pipeline --compare</c> (benchmarks/results), where layers and schedules were timed in the same rounds, so that the machine's
/// speed is in both and cancels in ratios. No time is taken here.
/// </summary>
public sealed class RecordedPipelineTests
{
    /// <summary>
    /// What a planned ratio of two steps may be off by, and by how much two traced ones differ before their order counts. Both are the record's own noise: from round to round the ratio of the same two steps has
    /// its quartiles 3, 6, 7, 9, 14 and 15 % from its median for the six pairs. The planned ratios are off by at most 6.9 %.
    /// </summary>
    const double Band = 1.15, Apart = 1.1;

    /// <summary>Part of the step that measured waiting may differ from the clock's: the means over the ranks of two runs of the same command differ by 3.5 to 6.8 points (docs/log.md, 2026-12-01).</summary>
    const double WaitingBand = 0.06;

    // The preset nano as it was recorded: equal layers, no MTP, 64 entries.
    static readonly TransformerShape Recorded = new()
    {
        Vocabulary = 64, Hidden = 128, Layers = 8, DenseLayers = 0, DenseIntermediate = 352, ExpertIntermediate = 96, Heads = 4, QueryLoraRank = 64, KeyValueLoraRank = 48, QkNopeHeadDim = 32, QkRopeHeadDim = 16,
        ValueHeadDim = 32, SharedExperts = 1, Gate = new GateParameters(8, 2, 4, 2, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, RoutedScale: 2.5), GateBias = true, MtpDepth = 0,
        NormEpsilon = 1e-6, RotaryTheta = 10000, MaxPositions = 1024,
    };

    static JsonElement Record()
    {
        DirectoryInfo folder = new(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder.FullName, "Hadal.slnx"))) folder = folder.Parent!;
        return JsonDocument.Parse(File.ReadAllText(Path.Combine(folder.FullName, "benchmarks", "results", "xeon-model-167-2-cores", "pipeline.json"))).RootElement;
    }

    static ScheduleKind Kind(JsonElement runs) => Enum.GetValues<ScheduleKind>().Single(kind => PipelineSchedule.Name(kind).Equals(runs.GetProperty("schedule").GetString(), StringComparison.Ordinal));

    [Fact]
    public void Planned_ratios_of_steps_are_those_that_were_traced()
    {
        JsonElement record = Record();
        CostDescription costs = CostDescription.Parse(record.GetProperty("layer_costs").GetRawText(), "pipeline.json");
        int Count(string name) => record.GetProperty(name).GetInt32();
        var work = new TrainingWork("recorded", ModelSize.Of(Recorded), Recipe.Fp32, Count("sequence_length"), Count("rows"), Count("micro_batches"));
        (ScheduleKind Kind, double Planned, double[] Traced)[] steps = [.. record.GetProperty("schedules").EnumerateArray().Select(runs => (
            Kind(runs), TrainingPlanner.Plan(work, Shapes.Cluster(1, Count("ranks")), costs, new(Count("ranks"), 1, 1), Kind(runs)).Timed.Makespan,
            runs.GetProperty("rounds").EnumerateArray().Select(round => round.GetProperty("seconds").GetDouble()).ToArray()))];
        Assert.Equal(4, steps.Length);
        int ordered = 0;
        foreach ((ScheduleKind kind, double planned, double[] traced) in steps)
        {
            foreach ((ScheduleKind other, double otherPlanned, double[] otherTraced) in steps)
            {
                // Inside a round the machine was as fast for both: the median over the rounds.
                double found = traced.Zip(otherTraced, (one, two) => one / two).Order().ElementAt(traced.Length / 2), said = planned / otherPlanned;
                Assert.True(said / found is > 1 / Band and < Band, $"{kind} over {other}: planned {said:F3}, traced {found:F3}");
                if (found < Apart) continue;
                Assert.True(said > 1, $"{kind} was slower than {other} and is planned faster");
                ordered++;
            }
        }

        Assert.True(ordered > 0);
    }

    /// <summary>The times of pairs are in the record, and the plan's pairs take them.</summary>
    [Fact]
    public void Recorded_pairs_are_priced_as_measured()
    {
        JsonElement record = Record();
        var costs = (LayerCosts)CostDescription.Parse(record.GetProperty("layer_costs").GetRawText(), "pipeline.json");
        BlockTimes block = costs.Sparse!;
        Assert.InRange(block.PairShare!.Value, 0.85, 1.15); // where the published formula bounds or nearly bounds the waiting (StepCosts.FormulaBounds; docs/log.md)
        var work = new TrainingWork("recorded", ModelSize.Of(Recorded), Recipe.Fp32, costs.SequenceLength, costs.Rows, 8);
        TrainingPlan plan = TrainingPlanner.Plan(work, Shapes.Cluster(1, 2), costs, new(2, 1, 1), ScheduleKind.DualPipe);
        double both = costs.EmbeddingForward + costs.EmbeddingBackward + costs.Head;
        Assert.Equal(4 * block.Pair!.Value, plan.Timed.Costs.ForwardBackward - (both / 2), 0.02 * 4 * block.Pair.Value);
    }

    /// <summary>Waiting in wall time lies beside the clock on which sends wait for their receivers, with the steps that were traced; ZB1P waits twice what the formula's clock says, for that reason.</summary>
    [Fact]
    public void Recorded_waiting_is_that_of_a_clock_on_which_sends_wait()
    {
        JsonElement record = Record();
        double dual = 1;
        foreach (JsonElement runs in record.GetProperty("schedules").EnumerateArray().OrderByDescending(runs => Kind(runs) == ScheduleKind.DualPipe))
        {
            ScheduleKind kind = Kind(runs);
            double Of(string symbol) => runs.GetProperty("step_seconds").TryGetProperty(symbol, out JsonElement seconds) ? seconds.GetDouble() : 0;
            double b = Of("b"), w = Of("W"), full = Of("B");
            if (b == 0) (b, w) = (full / 2, full / 2);
            var costs = new StepCosts(Of("F"), b, w, FullBackward: full > 0 ? full : null, Overlapped: Of("F&B") is > 0 and var pair ? pair : null);
            var schedule = PipelineSchedule.Create(kind, record.GetProperty("ranks").GetInt32(), record.GetProperty("micro_batches").GetInt32());
            TimedSchedule waits = MeetingClock.Run(schedule, costs), free = ScheduleClock.Run(schedule, costs);
            double traced = runs.GetProperty("traced_idle_shares").EnumerateArray().Average(share => share.GetDouble());
            Assert.True(Math.Abs(traced - Share(waits)) < WaitingBand, $"{kind}: traced {traced:F3}, on the clock {Share(waits):F3}");
            if (kind == ScheduleKind.ZeroBubble) Assert.True(Share(waits) > 2 * Share(free));
            if (kind == ScheduleKind.DualPipe) dual = traced;
            else Assert.True(traced > 1.5 * dual);
        }

        static double Share(TimedSchedule timed) => Enumerable.Range(0, timed.Schedule.Ranks).Average(timed.Idle) / timed.Makespan;
    }
}
