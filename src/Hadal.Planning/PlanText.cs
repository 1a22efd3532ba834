using System.Globalization;
using System.Text;
using Hadal.Parallel.Schedules;
using Hadal.Planning.Layouts;

namespace Hadal.Planning;

/// <summary>A plan in words and columns.</summary>
public static class PlanText
{
    /// <summary>Rows of a comparison that are shown.</summary>
    public const int ShownRows = 12;

    /// <summary>Writes a plan, the comparison it comes from, and what it depends on.</summary>
    public static string Write(TrainingPlan plan, PlanComparison? comparison, IReadOnlyList<PlanVariant>? variants = null)
    {
        ArgumentNullException.ThrowIfNull(plan);
        var text = new StringBuilder();
        text.Append(Headline(plan)).Append('\n').Append('\n');
        foreach ((string what, string value) in Figures(plan)) text.Append(CultureInfo.InvariantCulture, $"  {what,-34} {value}\n");
        text.Append("\nmemory of a rank, GB\n  rank  stages      parameters  weights  gradients  optimizer  activations   total\n");
        foreach (RankMemory rank in plan.Memory)
        {
            text.Append(CultureInfo.InvariantCulture,
                $"  {rank.Rank,4}  {StagesOf(plan, rank.Rank),-9} {Count(rank.Parameters),12} {Gb(rank.Weights),8} {Gb(rank.Gradients),10} {Gb(rank.Optimizer),10} {Gb(rank.Activations),12} {Gb(rank.Total),7}\n");
        }

        text.Append(CultureInfo.InvariantCulture, $"  a GPU has {Gb(plan.Cluster.MemoryBytes)}, of which {Gb(plan.Cluster.ReservedBytes)} are left for temporaries and buffers: {(plan.Fits ? "it fits" : "it does not fit")}\n");
        foreach (string advice in MemoryAdvice.Of(plan)) text.Append("  ").Append(advice).Append('\n');
        if (comparison is not null) Compare(text, comparison);
        if (variants is not null) Vary(text, plan, variants);
        text.Append("\nassumptions\n");
        foreach (string assumption in Assumptions(plan)) text.Append("  - ").Append(assumption).Append('\n');
        return text.ToString();
    }

    /// <summary>A simulated step beside its plan.</summary>
    public static string Write(ClusterSimulation simulation)
    {
        ArgumentNullException.ThrowIfNull(simulation);
        return string.Create(CultureInfo.InvariantCulture, $"""

            all {simulation.Busy.Count:N0} ranks, loads drawn through the gate
              {string.Join("\n  ", Lines(simulation))}

            """).ReplaceLineEndings("\n");
    }

    /// <summary>What a simulated step showed, sentence by sentence.</summary>
    public static IEnumerable<string> Lines(ClusterSimulation simulation)
    {
        ArgumentNullException.ThrowIfNull(simulation);
        TrainingPlan plan = simulation.Plan;
        double[] heaviest = [.. simulation.Draws.Select(draw => draw.Heaviest)];
        yield return string.Create(CultureInfo.InvariantCulture, $"the heaviest rank of an expert group gets {100 * (heaviest.Average() - 1):0.0} % more rows than the mean, at most {100 * (heaviest.Max() - 1):0.0} % ({heaviest.Length} micro-batches routed)");
        yield return $"pipeline {Seconds(simulation.PipelineSeconds)} ({Seconds(simulation.PipelineSeconds - plan.Timed.Makespan)} longer than with equal loads), step {Seconds(simulation.StepSeconds)}";
        yield return $"a rank computes {Seconds(simulation.Busy.Min())} to {Seconds(simulation.Busy.Max())} and waits {Seconds(simulation.MeanIdle)} on average, {Seconds(simulation.MostIdle)} at most; with equal loads {Seconds(plan.IdleSeconds)} at most";
    }

    /// <summary>The plan in one line.</summary>
    public static string Headline(TrainingPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        return string.Create(CultureInfo.InvariantCulture,
            $"{plan.Work.Name} on {plan.Cluster.Name}: PP{plan.Layout.Pipeline} × EP{plan.Layout.ExpertParallel} × DP{plan.Layout.DataParallel}, {PipelineSchedule.Title(plan.Schedule)}, {plan.MicroBatches} micro-batches a pipeline: {Seconds(plan.StepSeconds)} a step, {plan.TokensPerSecond:N0} tokens/s");
    }

    /// <summary>The figures, one a line.</summary>
    public static IEnumerable<(string What, string Value)> Figures(TrainingPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        double formula = ScheduleFormulas.Bubble(plan.Timed.Schedule.Placement, plan.Timed.Costs);
        yield return ("pipeline", $"{Seconds(plan.Timed.Makespan)}; a rank waits at most {Seconds(plan.IdleSeconds)}, {Percent(plan.IdleSeconds / plan.StepSeconds)} of the step (formula {ScheduleFormulas.BubbleText(plan.Schedule)}: {Seconds(formula)})");
        StepCosts costs = plan.Timed.Costs;
        yield return ("a chunk, average stage", $"F {Seconds(costs.Forward)}, b {Seconds(costs.BackwardInput)}, W {Seconds(costs.BackwardWeights)}, F&B {Seconds(costs.ForwardBackward)}, message {Seconds(costs.Communication)}");
        yield return ("for hadal train", string.Create(CultureInfo.InvariantCulture,
            $"--ranks {plan.Layout} --schedule {PipelineSchedule.Name(plan.Schedule)}, {plan.Traffic.Layout.Nodes} {(plan.Traffic.Layout.Nodes == 1 ? "node" : "nodes")} to an expert group"));
        yield return ("optimizer", Seconds(plan.OptimizerSeconds));
        yield return ("gradients and weights between copies", $"{Seconds(plan.ReductionSeconds)}{(plan.CountsReduction ? "" : ", not added: the measured step has it in its parts")}");
        if (plan.Exchange.Total > 0)
            yield return ("exchange of rows", $"{Seconds(plan.Exchange.Total)} on the links a step: {Seconds(plan.Exchange.Hidden)} behind arithmetic, {Seconds(plan.Exchange.Exposed)} in the open; {Seconds(plan.Exchange.PerLayer)} for a layer and direction");
        if (PlanVariants.LeastBandwidth(plan) is { } least)
            yield return ("exchange in a pair", $"{Percent(plan.PairShare)} of the pair's arithmetic where it is most; it stays hidden down to {Bytes(least)}/s {(PlanVariants.BoundByNetwork(plan) ? "between nodes" : "inside nodes")}");
        yield return ("utilisation", string.Create(CultureInfo.InvariantCulture, $"{100 * plan.Utilisation(causal: true):0.0} % of {plan.Cluster.PeakFlops / 1e12:0.#} TFLOP/s counting visible positions, {100 * plan.Utilisation(causal: false):0.0} % counting all"));
        yield return ("sent by a GPU in a step", Sent(plan.Links));
        if (plan.Traffic.Layout.Nodes > 1)
        {
            yield return ("a token in a layer", string.Create(CultureInfo.InvariantCulture,
                $"{plan.Traffic.RowsBetweenNodes:0.00} rows to other nodes (straight to the experts: {plan.Traffic.NaiveRowsBetweenNodes:0.00}), at most {plan.Traffic.MostNodes} nodes, {plan.Traffic.ExpertsPerNode:0.00} experts on each"));
        }
    }

    /// <summary>What the figures rest on.</summary>
    public static IEnumerable<string> Assumptions(TrainingPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        foreach (string own in plan.Costs.Assumptions(plan.Work, plan.Cluster)) yield return own;
        yield return "Experts get equal loads, and all pipelines run alike: no rank is slower than another.";
        if (plan.Traffic.Layout.Ranks > 1)
        {
            yield return "Rows move at the links' full speed, inside and between nodes at the same time; the multiprocessors that move them are not charged. That is a lower bound of the time.";
            yield return plan.Costs.IncludesExchange
                ? "What pairs hide is the links' time, at most as long as the pair."
                : "Outside of pairs nothing hides the exchange; in a pair the slower of arithmetic and links counts.";
        }

        if (plan.CountsReduction) yield return "Nothing hides the reduction of gradients and the gathering of weights.";
        yield return "Memory holds weights in the recipe's formats, FP32 gradients, FP32 masters and BF16 moments shared by all copies, and the records of the held micro-batches with equal loads; what W waits for is counted in the format of its products' operands.";
        yield return "Layers are cut as the executor cuts them: evenly, earlier stages take the rest; the last stage has head and MTP.";
    }

    /// <summary>Stages of a rank: <c>0, 15</c>.</summary>
    public static string StagesOf(TrainingPlan plan, int rank)
    {
        ArgumentNullException.ThrowIfNull(plan);
        PipelinePlacement placement = plan.Timed.Schedule.Placement;
        return string.Join(", ", Enumerable.Range(0, placement.Phases).Select(phase => placement.Stage(rank, phase)));
    }

    /// <summary>A time: <c>1.23 s</c>, <c>45.6 ms</c>, <c>7.8 µs</c>.</summary>
    public static string Seconds(double seconds) => Math.Abs(seconds) switch
    {
        0 => "0 s",
        >= 100 => string.Create(CultureInfo.InvariantCulture, $"{seconds:N0} s"),
        >= 1 => string.Create(CultureInfo.InvariantCulture, $"{seconds:0.00} s"),
        >= 0.1 => string.Create(CultureInfo.InvariantCulture, $"{1e3 * seconds:0} ms"),
        >= 1e-2 => string.Create(CultureInfo.InvariantCulture, $"{1e3 * seconds:0.0} ms"),
        >= 1e-3 => string.Create(CultureInfo.InvariantCulture, $"{1e3 * seconds:0.00} ms"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{1e6 * seconds:0.#} µs"),
    };

    /// <summary>A number of bytes: <c>1.2 GB</c>.</summary>
    public static string Bytes(double bytes) => bytes switch
    {
        >= 1e12 => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e12:0.0} TB"),
        >= 1e9 => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e9:0.0} GB"),
        >= 1e6 => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e6:0.0} MB"),
        >= 1e3 => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e3:0.0} kB"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{bytes:0} B"),
    };

    /// <summary>A number of parameters: <c>3.27 billion</c>.</summary>
    public static string Count(double number) => number switch
    {
        >= 1e9 => string.Create(CultureInfo.InvariantCulture, $"{number / 1e9:0.00} billion"),
        >= 1e6 => string.Create(CultureInfo.InvariantCulture, $"{number / 1e6:0.00} million"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{number:N0}"),
    };

    /// <summary>A part: <c>12.3 %</c>.</summary>
    public static string Percent(double part) => string.Create(CultureInfo.InvariantCulture, $"{100 * part:0.0} %");

    static string Sent(LinkBytes links)
    {
        string exchange = links.ExchangeBetweenNodes > 0
            ? $"rows {Bytes(links.ExchangeBetweenNodes)} between nodes (without relays {Bytes(links.NaiveBetweenNodes)}) and {Bytes(links.ExchangeInsideNodes)} inside, "
            : links.ExchangeInsideNodes > 0 ? $"rows {Bytes(links.ExchangeInsideNodes)} inside its node, " : "";
        return $"{exchange}pipeline {Bytes(links.Pipeline)}, gradients {Bytes(links.Gradients)}, weights {Bytes(links.Weights)}";
    }

    static void Compare(StringBuilder text, PlanComparison comparison)
    {
        text.Append(CultureInfo.InvariantCulture, $"\nlayouts, the fastest first ({comparison.Tried} tried, {comparison.Refused} cannot be run)\n");
        text.Append("  PPxEPxDP      schedule   micro-batches        step     idle  exposed   memory\n");
        foreach (PlanRow row in comparison.Rows.Take(ShownRows))
        {
            text.Append(CultureInfo.InvariantCulture,
                $"  {row.Layout,-13} {PipelineSchedule.Title(row.Schedule),-10} {row.MicroBatches,13} {Seconds(row.StepSeconds),11} {Percent(row.IdleShare),8} {Seconds(row.ExposedSeconds),8} {Gb(row.MemoryBytes),8}{(row.Fits ? "" : "  does not fit")}\n");
        }

        if (comparison.Rows.Count > ShownRows) text.Append(CultureInfo.InvariantCulture, $"  and {comparison.Rows.Count - ShownRows} more: --json lists all\n");
    }

    static void Vary(StringBuilder text, TrainingPlan plan, IReadOnlyList<PlanVariant> variants)
    {
        text.Append("\nif one thing were different\n");
        text.Append(CultureInfo.InvariantCulture, $"  {"",-27} {"",24} {"step",9} {"tokens/s",9} {"idle",7} {"exposed",8} {"memory",7}\n");
        foreach (PlanVariant variant in variants)
        {
            text.Append(CultureInfo.InvariantCulture, $"  {variant.What,-27} {variant.To,24}");
            if (variant.Plan is { } other)
                text.Append(CultureInfo.InvariantCulture, $" {Seconds(other.StepSeconds),9} {Change(plan, other),9} {Percent(other.IdleSeconds / other.StepSeconds),7} {Seconds(other.Exchange.Exposed),8} {Gb(other.MemoryBytes),7}{(other.Fits ? "" : "  does not fit")}\n");
            else text.Append("  cannot be run: ").Append(variant.Refusal).Append('\n');
        }
    }

    /// <summary>Tokens a second of another plan against one: <c>+1.2 %</c>.</summary>
    public static string Change(TrainingPlan plan, TrainingPlan other)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(other);
        double change = (other.TokensPerSecond / plan.TokensPerSecond) - 1;
        return Math.Abs(change) < 5e-4 ? "±0.0 %" : string.Create(CultureInfo.InvariantCulture, $"{100 * change:+0.0;−0.0} %");
    }

    static string Gb(double bytes) => (bytes / 1e9).ToString(bytes < 1e9 ? "0.###" : "0.0", CultureInfo.InvariantCulture);
}
