using System.Text.Json;
using Hadal.Parallel.Schedules;

namespace Hadal.Parallel.Drawing;

/// <summary>A schedule for programs. Times are in units of F.</summary>
public static class ScheduleJson
{
    /// <summary>
    /// Writes the properties of one object: what the schedule is, what it costs, and <c>ranks</c>, each with its <c>steps</c>. A step has <c>kind</c> (F, B, b,
    /// W, F&amp;B, send, recv), <c>phase</c> and <c>microBatch</c> (its index in that phase), <c>start</c> and <c>end</c>; a pair also <c>backwardPhase</c> and
    /// <c>backwardMicroBatch</c>, a message <c>cargo</c> (activation, gradient) and <c>peer</c>.
    /// </summary>
    public static void Write(Utf8JsonWriter json, TimedSchedule timed)
    {
        PipelineSchedule schedule = timed.Schedule;
        PipelinePlacement placement = schedule.Placement;
        double unit = timed.Costs.Forward;
        json.WriteString("schedule", PipelineSchedule.Name(schedule.Kind));
        json.WriteNumber("microBatches", schedule.MicroBatches);
        json.WriteNumber("stages", placement.Stages);
        json.WriteNumber("makespan", timed.Makespan / unit);
        json.WriteNumber("idle", timed.Bubble / unit);
        json.WriteNumber("idleFormula", ScheduleFormulas.Bubble(placement, timed.Costs) / unit);
        json.WriteNumber("activationPeak", schedule.Steps.Max(ScheduleChecker.ActivationPeak));
        json.WriteNumber("activationPeakFormula", ScheduleFormulas.ActivationPeak(placement));
        json.WriteStartObject("costs");
        json.WriteNumber("F", 1);
        json.WriteNumber("B", timed.Costs.Backward / unit);
        json.WriteNumber("b", timed.Costs.BackwardInput / unit);
        json.WriteNumber("W", timed.Costs.BackwardWeights / unit);
        json.WriteNumber("F&B", timed.Costs.ForwardBackward / unit);
        json.WriteNumber("communication", timed.Costs.Communication / unit);
        json.WriteEndObject();
        json.WriteStartArray("ranks");
        for (int rank = 0; rank < schedule.Ranks; rank++)
        {
            json.WriteStartObject();
            json.WriteNumber("rank", rank);
            json.WriteStartArray("stages");
            for (int phase = 0; phase < placement.Phases; phase++) json.WriteNumberValue(placement.Stage(rank, phase));
            json.WriteEndArray();
            json.WriteNumber("idle", timed.Idle(rank) / unit);
            json.WriteNumber("activationPeak", ScheduleChecker.ActivationPeak(schedule.Steps[rank]));
            json.WriteStartArray("steps");
            for (int i = 0; i < schedule.Steps[rank].Length; i++) Write(json, schedule.Steps[rank][i], timed.Times[rank][i], unit);
            json.WriteEndArray();
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    static void Write(Utf8JsonWriter json, ScheduleStep step, StepTime time, double unit)
    {
        json.WriteStartObject();
        json.WriteString("kind", step.Symbol);
        json.WriteNumber("phase", step.Phase);
        json.WriteNumber("microBatch", step.MicroBatch);
        if (step.Kind == StepKind.ForwardBackward)
        {
            json.WriteNumber("backwardPhase", step.BackwardPhase);
            json.WriteNumber("backwardMicroBatch", step.BackwardMicroBatch);
        }

        if (step.IsCommunication)
        {
            json.WriteString("cargo", step.Cargo == Cargo.Activation ? "activation" : "gradient");
            json.WriteNumber("peer", step.Peer);
        }

        json.WriteNumber("start", time.Start / unit);
        json.WriteNumber("end", time.End / unit);
        json.WriteEndObject();
    }
}
