using Hadal.Cli.Framework;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal plan</c>: what a run would do, without running it.</summary>
static class PlanVerb
{
    public static Verb Create(Context context) =>
        new("plan", "Shows what a run on many ranks would do, without running it.", "hadal plan schedule --kind dualpipe --ranks 8 --micro-batches 20", "hadal plan train --preset v3-671b --html plan.html", "hadal plan serve --load 200 --ttft 2 --tpot 50")
        {
            PlanScheduleVerb.Create(context),
            PlanTrainVerb.Create(context),
            PlanServeVerb.Create(context),
        };
}
