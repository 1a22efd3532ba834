using Hadal.Parallel.Serving;

namespace Hadal.Planning.Serving;

/// <summary>
/// How many requests a second one unit carries within the goals. The rates that may be tried depend on the unit alone, and what comes of a rate depends on neither the load nor the goals. So a
/// larger load never needs fewer units, and a goal that is easier to keep never makes a unit carry less: the search halves the same list of rates, and wherever the stricter goal lets it go up,
/// the looser one does too.
/// </summary>
/// <param name="load">Lengths and goals.</param>
/// <param name="answerMean">Tokens of an answer as drawn, on average.</param>
/// <param name="promptMean">Tokens of a prompt as drawn, on average.</param>
/// <param name="leastSeconds">Shortest simulation.</param>
public sealed class UnitSearch(ServingLoad load, double promptMean, double answerMean, double leastSeconds)
{
    // 127 rates from the most that a unit could ever do down, each 6 % below the one before: to a thousandth and a half of it.
    const int Rates = 127, LeastRequests = 400;
    const double Ratio = 1.06;

    /// <summary>Finds it, by simulating some of the rates.</summary>
    /// <param name="role">What the unit does.</param>
    /// <param name="unit">Nodes, GPUs, slots.</param>
    /// <param name="chunk">Most prompt tokens of a GPU in a step; 0 where it reads none.</param>
    /// <param name="costs">Prices of its steps.</param>
    /// <param name="traffic">Rows and pairs of a token.</param>
    /// <param name="cancel">Ends it early.</param>
    public UnitChoice Find(UnitRole role, ExpertUnit unit, int chunk, ServingCosts costs, TrafficPerToken traffic, CancellationToken cancel)
    {
        var queue = new UnitQueue(costs, unit.Gpus, traffic, role, chunk);
        double bound = Bound(role, unit, chunk, costs), handover = load.Prompt.Mean * costs.Model.CacheBytes / costs.Hardware.Links.BetweenNodes;

        // An answer lasts for so many steps; a simulation for several answers, or it would end before the unit is full.
        double answer = role == UnitRole.Prefill ? 0 : answerMean * costs.StepSeconds(new(0, 0, 64, 64 * (promptMean + (answerMean / 2))), traffic, UnitPath.Straight);
        ServiceOutcome Try(double rate) => queue.Run(load, rate, Math.Max(Math.Max(leastSeconds, 4 * answer), LeastRequests / rate), cancel);
        bool Keeps(ServiceOutcome outcome) => role switch
        {
            UnitRole.Prefill => outcome.FirstToken + handover <= load.FirstTokenSeconds,
            UnitRole.Decode => outcome.NextToken <= load.NextTokenSeconds && outcome.FirstToken <= load.NextTokenSeconds,
            _ => outcome.Keeps(load),
        };

        int kept = 0, missed = Rates + 1;
        ServiceOutcome last = default!;
        while (missed - kept > 1)
        {
            int middle = (kept + missed) / 2;
            last = Try(Rate(bound, middle));
            if (Keeps(last)) kept = middle;
            else missed = middle;
        }

        if (kept == 0) return new(role, unit, chunk, 0, 0, last);
        double carried = Rate(bound, kept);
        long units = (long)Math.Ceiling((load.RequestsPerSecond / carried) - 1e-9);
        return new(role, unit, chunk, carried, units, Try(load.RequestsPerSecond / units));
    }

    static double Rate(double bound, int step) => bound * Math.Pow(Ratio, step - Rates);

    // No unit carries more than steps that are full, with nothing visible and even experts, bring.
    double Bound(UnitRole role, ExpertUnit unit, int chunk, ServingCosts costs)
    {
        double read = role == UnitRole.Decode ? double.MaxValue
            : chunk / costs.StepSeconds(new(chunk, 0, 0, 0), new(1, 0, 0), UnitPath.ThroughNodes) * unit.Gpus / Math.Max(1, promptMean * (1 - load.CachedPart));
        double written = role == UnitRole.Prefill ? double.MaxValue
            : UnitQueue.MostRunning / costs.StepSeconds(new(0, 0, UnitQueue.MostRunning, 0), new(1, 0, 0), UnitPath.Straight) * unit.Gpus / answerMean;
        return Math.Min(read, written);
    }
}
