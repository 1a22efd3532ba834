using System.Text.Json;
using Hadal.Parallel.Drawing;
using Hadal.Parallel.Schedules;

namespace Hadal.Parallel.Tests.Drawing;

public sealed class ScheduleJsonTests
{
    public static TheoryData<ScheduleKind> Kinds => [.. Enum.GetValues<ScheduleKind>()];

    /// <summary>Every step of every rank, in order and in units of F whatever F costs, with the fields of its kind and no others.</summary>
    [Theory]
    [MemberData(nameof(Kinds))]
    public void Every_step_is_there_in_units_of_F(ScheduleKind kind)
    {
        TimedSchedule timed = ScheduleClock.Run(PipelineSchedule.Create(kind, 4, 10), new StepCosts(0.5, 0.75, 0.25, 0.125));
        using var memory = new MemoryStream();
        using (var json = new Utf8JsonWriter(memory))
        {
            json.WriteStartObject();
            ScheduleJson.Write(json, timed);
            json.WriteEndObject();
        }

        JsonElement[] ranks = [.. JsonDocument.Parse(memory.ToArray()).RootElement.GetProperty("ranks").EnumerateArray()];
        Assert.Equal(4, ranks.Length);
        for (int rank = 0; rank < 4; rank++)
        {
            Assert.Equal(rank, ranks[rank].GetProperty("rank").GetInt32());
            JsonElement[] steps = [.. ranks[rank].GetProperty("steps").EnumerateArray()];
            Assert.Equal(timed.Schedule.Steps[rank].Length, steps.Length);
            for (int i = 0; i < steps.Length; i++)
            {
                ScheduleStep step = timed.Schedule.Steps[rank][i];
                string[] fields = [.. steps[i].EnumerateObject().Select(property => property.Name)];
                Assert.Equal(
                    step.Kind == StepKind.ForwardBackward ? ["kind", "phase", "microBatch", "backwardPhase", "backwardMicroBatch", "start", "end"]
                        : step.IsCommunication ? ["kind", "phase", "microBatch", "cargo", "peer", "start", "end"] : ["kind", "phase", "microBatch", "start", "end"],
                    fields);
                Assert.Equal((step.Symbol, step.Phase, step.MicroBatch), (steps[i].GetProperty("kind").GetString(), steps[i].GetProperty("phase").GetInt32(), steps[i].GetProperty("microBatch").GetInt32()));
                if (step.Kind == StepKind.ForwardBackward)
                    Assert.Equal((step.BackwardPhase, step.BackwardMicroBatch), (steps[i].GetProperty("backwardPhase").GetInt32(), steps[i].GetProperty("backwardMicroBatch").GetInt32()));
                Assert.Equal((timed.Times[rank][i].Start / 0.5, timed.Times[rank][i].End / 0.5), (steps[i].GetProperty("start").GetDouble(), steps[i].GetProperty("end").GetDouble()));
            }
        }
    }
}
