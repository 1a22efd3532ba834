using System.Collections.Immutable;
using System.Globalization;
using System.Text.Json;
using Hadal.Cli.Framework;
using Hadal.Parallel.Schedules;
using Hadal.Planning;
using Hadal.Planning.Costs;
using Hadal.Planning.Layouts;
using Hadal.Tensors;
using Hadal.Training.Measurement;

namespace Hadal.Cli.Verbs;

/// <summary>What <c>hadal bench pipeline --compare</c> shows: all schedules with the real layers, their waiting by the formula, on a simulated clock and in wall time, the planned step beside the traced one.</summary>
sealed class BenchPipelineComparison
{
    readonly TrainingWork _work;
    readonly string _machine;
    readonly (PipelineSchedule Schedule, ImmutableArray<double> Idle, double Makespan)[] _rankTime;
    readonly ScheduleComparison? _measured;
    readonly LayerCosts? _costs;
    readonly Dictionary<ScheduleKind, TrainingPlan> _plans = [];

    BenchPipelineComparison(TrainingWork work, string machine, ClusterDescription cluster, (PipelineSchedule Schedule, ImmutableArray<double> Idle, double Makespan)[] rankTime, ScheduleComparison? measured)
    {
        (_work, _machine, _rankTime, _measured) = (work, machine, rankTime, measured);
        if (measured is null) return;
        _costs = BenchLayerVerb.Costs(measured.Layers, work, $"{machine}, {cluster.Gpus} ranks at once");
        foreach (ScheduleRuns runs in measured.Schedules) _plans.Add(runs.Schedule.Kind, TrainingPlanner.Plan(work, cluster, _costs, new(cluster.Gpus, 1, 1), runs.Schedule.Kind));
    }

    static ScheduleKind[] Kinds => [ScheduleKind.OneForwardOneBackward, ScheduleKind.ZeroBubble, ScheduleKind.DualPipe, ScheduleKind.DualPipeV];

    /// <summary>Why the schedules cannot be compared so; null when they can.</summary>
    public static string? Refusal(int ranks, int microBatches) => ranks == 1 ? "One rank was given; expected at least 2: a pipeline of one has nothing to wait for."
        : Kinds.Select(kind => PipelineSchedule.Refusal(kind, ranks, microBatches)).FirstOrDefault(reason => reason is not null)
            ?? (microBatches % ranks == 0 || ranks > Environment.ProcessorCount ? null : $"{microBatches} micro-batches were given for {ranks} ranks; expected a multiple: they are dealt to the ranks beside the pipelines.");

    /// <summary>Measures and shows.</summary>
    public static void Run(Context context, TrainingWork work, Func<IBackend> backend, string machine, ClusterDescription cluster, int warmUp, int rounds, string? file, bool json)
    {
        PipelineSchedule[] schedules = [.. Kinds.Select(kind => PipelineSchedule.Create(kind, cluster.Gpus, work.MicroBatches))];
        BenchPipelineComparison found;
        using (var progress = new ProgressLine(context.Terminal))
        {
            var rankTime = new List<(PipelineSchedule, ImmutableArray<double>, double)>();
            foreach (PipelineSchedule schedule in schedules)
            {
                context.Cancellation.ThrowIfCancellationRequested();
                progress.Report("on the simulated clock", rankTime.Count, schedules.Length, "schedules");
                (ImmutableArray<double> idle, double makespan) = ScheduleComparison.RankTime(schedule, StepCosts.Unit, backend, work.Shape, work.Recipe, work.Rows, work.SequenceLength);
                rankTime.Add((schedule, idle, makespan));
            }

            ScheduleComparison? measured = cluster.Gpus > Environment.ProcessorCount
                ? null
                : ScheduleComparison.Measure(schedules, backend, work.Shape, work.Recipe, work.Rows, work.SequenceLength, warmUp, rounds, (done, all) => progress.Report("in turns", done, all, "steps"), context.Cancellation);
            found = new(work, machine, cluster, [.. rankTime], measured);
        }

        if (file is not null)
        {
            File.WriteAllText(file, Terminal.Json(found.WriteJson));
            context.Terminal.Error.WriteLine($"written to {file}");
        }

        if (json) context.Terminal.WriteJson(found.WriteJson);
        else
            foreach (string text in found.Text()) context.Terminal.Output.WriteLine(text);
        if (measuredNothing(found)) context.Terminal.Error.WriteLine($"note: {cluster.Gpus} ranks on {Environment.ProcessorCount} processors would wait for processors; wall time was not taken");

        static bool measuredNothing(BenchPipelineComparison comparison) => comparison._measured is null;
    }

    IEnumerable<string> Text()
    {
        PipelineSchedule first = _rankTime[0].Schedule;
        yield return string.Create(CultureInfo.InvariantCulture,
            $"{_work.Name}: {_work.Shape.Layers} layers of hidden {_work.Shape.Hidden}, vocabulary {_work.Shape.Vocabulary}; recipe {_work.Recipe.Name}; {first.Ranks} ranks of one thread, {first.MicroBatches} micro-batches of {_work.Rows} × {_work.SequenceLength} tokens");
        yield return _machine;
        yield return "";
        yield return "rank-time: executed with the real layers, every step at its unit cost (F = b = W = 1, B = 2, F&B = 3) on a simulated clock; idle time of a rank in F";
        yield return $"{"",-12}{"formula",9}{"executed, each rank",22}{"step",8}{"idle",9}";
        foreach ((PipelineSchedule schedule, ImmutableArray<double> idle, double makespan) in _rankTime)
        {
            string ranks = idle.Distinct().Count() == 1 ? string.Create(CultureInfo.InvariantCulture, $"{idle[0]:0.##}") : string.Join(" ", idle.Select(one => one.ToString("0.##", CultureInfo.InvariantCulture)));
            yield return string.Create(CultureInfo.InvariantCulture, $"{PipelineSchedule.Title(schedule.Kind),-12}{ScheduleFormulas.Bubble(schedule.Placement, StepCosts.Unit),9:0.##}{ranks,22}{makespan,8:0.##}{100 * idle.Max() / makespan,7:0.0} %");
        }

        if (_measured is null) yield break;
        yield return "";
        yield return string.Create(CultureInfo.InvariantCulture, $"wall time: medians over {_measured.Alone.Length} rounds, all in turns; ratios are medians of those inside a round; idle time of a rank as part of the step");
        yield return $"{"",-12}{"step",10}{"of one rank",13}{"formula",10}{"on the clock",16}{"if sends wait",16}{"measured",16}{"F",10}{"b",10}{"W",10}{"B",10}{"F&B",10}";
        yield return $"{"one rank",-12}{PlanText.Seconds(_measured.AloneSeconds),10}{"1.00 x",13}";
        yield return $"{"data ranks",-12}{PlanText.Seconds(_measured.DealtSeconds),10}{Times(_measured.Dealt),13}";
        foreach (ScheduleRuns runs in _measured.Schedules)
        {
            int ranks = runs.Schedule.Ranks;
            TimedSchedule clock = runs.OnTheClock(), meeting = runs.OnTheClock(sendsWait: true);
            string Of(TimedSchedule timed) => string.Join(" ", Enumerable.Range(0, ranks).Select(rank => Percent(timed.Idle(rank) / timed.Makespan)));
            string simulated = Of(clock), waiting = Of(meeting), found = string.Join(" ", Enumerable.Range(0, ranks).Select(rank => Percent(runs.IdleShare(rank))));
            yield return string.Create(CultureInfo.InvariantCulture,
                $"{PipelineSchedule.Title(runs.Schedule.Kind),-12}{PlanText.Seconds(runs.Seconds),10}{Times(runs.Rounds.Select(round => round.Makespan)),13}{Percent(ScheduleFormulas.Bubble(runs.Schedule.Placement, runs.Costs) / clock.Makespan),10}{simulated,16}{waiting,16}{found,16}{Step(runs, StepKind.Forward)}{Step(runs, StepKind.BackwardInput)}{Step(runs, StepKind.BackwardWeights)}{Step(runs, StepKind.Backward)}{Step(runs, StepKind.ForwardBackward)}");
        }

        yield return "";
        yield return "planned from the layers timed in the same rounds, and traced";
        yield return $"{"",-12}{"planned",10}{"traced",10}{"difference",12}{"of 1F1B: planned",18}{"traced",9}";
        double plannedFirst = _plans[ScheduleKind.OneForwardOneBackward].Timed.Makespan;
        foreach (ScheduleRuns runs in _measured.Schedules)
        {
            double planned = _plans[runs.Schedule.Kind].Timed.Makespan;
            yield return string.Create(CultureInfo.InvariantCulture,
                $"{PipelineSchedule.Title(runs.Schedule.Kind),-12}{PlanText.Seconds(planned),10}{PlanText.Seconds(runs.Seconds),10}{100 * ((runs.Seconds / planned) - 1),10:+0.0;-0.0} %{planned / plannedFirst,18:0.000}{ScheduleRuns.Median(runs.Rounds.Zip(_measured.Schedules[0].Rounds, (one, first) => one.Makespan / first.Makespan)),9:0.000}");
        }

        if (_costs!.Sparse?.PairShare is { } share) yield return string.Create(CultureInfo.InvariantCulture, $"F&B of a block with experts, its phases in turns: {share:0.000} of F + b + W");

        string Times(IEnumerable<double> seconds) => string.Create(CultureInfo.InvariantCulture, $"{ScheduleRuns.Median(_measured!.Alone.Zip(seconds, (alone, one) => alone / one)):0.00} x");
        static string Percent(double part) => string.Create(CultureInfo.InvariantCulture, $"{100 * part:0.0}%");
        static string Step(ScheduleRuns runs, StepKind kind) => $"{(runs.Of(kind) is > 0 and var seconds ? PlanText.Seconds(seconds) : "–"),10}";
    }

    void WriteJson(Utf8JsonWriter json)
    {
        json.WriteString("model", _work.Name);
        json.WriteString("machine", _machine);
        json.WriteString("recipe", _work.Recipe.Name);
        json.WriteNumber("ranks", _rankTime[0].Schedule.Ranks);
        json.WriteNumber("micro_batches", _work.MicroBatches);
        json.WriteNumber("rows", _work.Rows);
        json.WriteNumber("sequence_length", _work.SequenceLength);
        json.WriteNumber("layers", _work.Shape.Layers);
        json.WriteNumber("vocabulary", _work.Shape.Vocabulary);
        json.WriteStartArray("rank_time");
        foreach ((PipelineSchedule schedule, ImmutableArray<double> idle, double makespan) in _rankTime)
        {
            json.WriteStartObject();
            json.WriteString("schedule", PipelineSchedule.Name(schedule.Kind));
            json.WriteNumber("formula", ScheduleFormulas.Bubble(schedule.Placement, StepCosts.Unit));
            Numbers(json, "idle", idle);
            json.WriteNumber("step", makespan);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        if (_measured is null) return;
        Numbers(json, "one_rank_seconds", _measured.Alone);
        Numbers(json, "data_ranks_seconds", _measured.Dealt);
        json.WriteStartArray("schedules");
        foreach (ScheduleRuns runs in _measured.Schedules)
        {
            TimedSchedule clock = runs.OnTheClock(), meeting = runs.OnTheClock(sendsWait: true);
            int[] ranks = [.. Enumerable.Range(0, runs.Schedule.Ranks)];
            json.WriteStartObject();
            json.WriteString("schedule", PipelineSchedule.Name(runs.Schedule.Kind));
            json.WriteNumber("planned_seconds", _plans[runs.Schedule.Kind].Timed.Makespan);
            json.WriteNumber("traced_seconds", runs.Seconds);
            json.WriteNumber("formula_seconds", ScheduleFormulas.Bubble(runs.Schedule.Placement, runs.Costs));
            Numbers(json, "clock_idle_shares", ranks.Select(rank => clock.Idle(rank) / clock.Makespan));
            Numbers(json, "clock_idle_shares_if_sends_wait", ranks.Select(rank => meeting.Idle(rank) / meeting.Makespan));
            Numbers(json, "traced_idle_shares", ranks.Select(runs.IdleShare));
            json.WriteStartObject("step_seconds");
            foreach (ScheduleStep step in runs.Schedule.Steps[0].Concat(runs.Schedule.Steps[^1]).Where(step => !step.IsCommunication).DistinctBy(step => step.Kind)) json.WriteNumber(step.Symbol, runs.Of(step.Kind));
            json.WriteEndObject();
            json.WriteStartArray("rounds");
            foreach (TimedSchedule round in runs.Rounds)
            {
                json.WriteStartObject();
                json.WriteNumber("seconds", round.Makespan);
                Numbers(json, "idle_seconds", ranks.Select(round.Idle));
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartObject("layer_costs");
        _costs!.Write(json);
        json.WriteEndObject();
    }

    static void Numbers(Utf8JsonWriter json, string name, IEnumerable<double> values)
    {
        json.WriteStartArray(name);
        foreach (double value in values) json.WriteNumberValue(value);
        json.WriteEndArray();
    }
}
