using System.Text.Json;
using Hadal.Parallel.Schedules;
using Hadal.Planning.Layouts;

namespace Hadal.Planning;

/// <summary>A plan for programs: seconds, bytes, counts.</summary>
public static class PlanJson
{
    /// <summary>Writes the properties of one object.</summary>
    public static void Write(Utf8JsonWriter json, TrainingPlan plan, PlanComparison? comparison, IReadOnlyList<PlanVariant>? variants = null)
    {
        ArgumentNullException.ThrowIfNull(json);
        ArgumentNullException.ThrowIfNull(plan);
        json.WriteString("work", plan.Work.Name);
        json.WriteString("recipe", plan.Work.Recipe.Name);
        json.WriteNumber("sequence_length", plan.Work.SequenceLength);
        json.WriteNumber("rows", plan.Work.Rows);
        json.WriteNumber("micro_batches", plan.Work.MicroBatches);
        json.WriteStartObject("cluster");
        plan.Cluster.Write(json);
        json.WriteEndObject();
        json.WriteString("costs", plan.Costs.Kind);
        json.WriteNumber("parameters", plan.Work.Size.Total);
        json.WriteNumber("multiplied_parameters", plan.Work.Size.Multiplied);
        json.WriteNumber("flops_per_token_causal", plan.Work.Size.FlopsPerToken(plan.Work.SequenceLength, causal: true));
        Layout(json, plan.Layout, plan.Schedule, plan.MicroBatches);
        json.WriteNumber("step_seconds", plan.StepSeconds);
        json.WriteNumber("pipeline_seconds", plan.Timed.Makespan);
        json.WriteNumber("optimizer_seconds", plan.OptimizerSeconds);
        json.WriteNumber("reduction_seconds", plan.ReductionSeconds);
        json.WriteBoolean("reduction_counts", plan.CountsReduction);
        json.WriteNumber("tokens_per_second", plan.TokensPerSecond);
        json.WriteNumber("utilisation_causal", plan.Utilisation(causal: true));
        json.WriteNumber("utilisation", plan.Utilisation(causal: false));
        json.WriteNumber("idle_seconds", plan.IdleSeconds);
        json.WriteNumber("idle_formula_seconds", ScheduleFormulas.Bubble(plan.Timed.Schedule.Placement, plan.Timed.Costs));
        json.WriteStartObject("chunk_seconds");
        json.WriteNumber("F", plan.Timed.Costs.Forward);
        json.WriteNumber("b", plan.Timed.Costs.BackwardInput);
        json.WriteNumber("W", plan.Timed.Costs.BackwardWeights);
        json.WriteNumber("F&B", plan.Timed.Costs.ForwardBackward);
        json.WriteNumber("message", plan.Timed.Costs.Communication);
        json.WriteEndObject();
        json.WriteStartObject("exchange");
        json.WriteNumber("layer_seconds", plan.Exchange.PerLayer);
        json.WriteNumber("total_seconds", plan.Exchange.Total);
        json.WriteNumber("hidden_seconds", plan.Exchange.Hidden);
        json.WriteNumber("exposed_seconds", plan.Exchange.Exposed);
        json.WriteNumber("pair_share", plan.PairShare);
        if (PlanVariants.LeastBandwidth(plan) is { } least) json.WriteNumber(PlanVariants.BoundByNetwork(plan) ? "hidden_down_to_network_bandwidth" : "hidden_down_to_node_bandwidth", least);
        json.WriteNumber("rows_between_nodes", plan.Traffic.RowsBetweenNodes);
        json.WriteNumber("rows_inside_nodes", plan.Traffic.RowsInsideNodes);
        json.WriteNumber("naive_rows_between_nodes", plan.Traffic.NaiveRowsBetweenNodes);
        json.WriteNumber("nodes_per_token", plan.Traffic.NodesPerToken);
        json.WriteNumber("experts_per_node", plan.Traffic.ExpertsPerNode);
        json.WriteNumber("most_nodes", plan.Traffic.MostNodes);
        json.WriteEndObject();
        json.WriteStartObject("bytes_sent");
        json.WriteNumber("rows_between_nodes", plan.Links.ExchangeBetweenNodes);
        json.WriteNumber("rows_between_nodes_without_relays", plan.Links.NaiveBetweenNodes);
        json.WriteNumber("rows_inside_nodes", plan.Links.ExchangeInsideNodes);
        json.WriteNumber("pipeline", plan.Links.Pipeline);
        json.WriteNumber("gradients", plan.Links.Gradients);
        json.WriteNumber("weights", plan.Links.Weights);
        json.WriteEndObject();
        json.WriteBoolean("fits", plan.Fits);
        json.WriteStartArray("ranks");
        foreach (RankMemory rank in plan.Memory) Rank(json, plan, rank);
        json.WriteEndArray();
        json.WriteStartArray("assumptions");
        foreach (string assumption in PlanText.Assumptions(plan)) json.WriteStringValue(assumption);
        json.WriteEndArray();
        json.WriteStartArray("memory_advice");
        foreach (string advice in MemoryAdvice.Of(plan)) json.WriteStringValue(advice);
        json.WriteEndArray();
        if (variants is not null) Write(json, variants);
        if (comparison is null) return;
        json.WriteNumber("layouts_tried", comparison.Tried);
        json.WriteNumber("layouts_refused", comparison.Refused);
        json.WriteStartArray("layouts");
        foreach (PlanRow row in comparison.Rows)
        {
            json.WriteStartObject();
            Layout(json, row.Layout, row.Schedule, row.MicroBatches);
            json.WriteNumber("step_seconds", row.StepSeconds);
            json.WriteNumber("idle_share", row.IdleShare);
            json.WriteNumber("exposed_seconds", row.ExposedSeconds);
            json.WriteNumber("memory_bytes", row.MemoryBytes);
            json.WriteBoolean("fits", row.Fits);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    static void Write(Utf8JsonWriter json, IReadOnlyList<PlanVariant> variants)
    {
        json.WriteStartArray("variants");
        foreach (PlanVariant variant in variants)
        {
            json.WriteStartObject();
            json.WriteString("what", variant.What);
            json.WriteString("from", variant.From);
            json.WriteString("to", variant.To);
            if (variant.Plan is { } plan)
            {
                Layout(json, plan.Layout, plan.Schedule, plan.MicroBatches);
                json.WriteNumber("step_seconds", plan.StepSeconds);
                json.WriteNumber("tokens_per_second", plan.TokensPerSecond);
                json.WriteNumber("idle_seconds", plan.IdleSeconds);
                json.WriteNumber("exposed_seconds", plan.Exchange.Exposed);
                json.WriteNumber("memory_bytes", plan.MemoryBytes);
                json.WriteBoolean("fits", plan.Fits);
            }
            else
            {
                json.WriteString("refusal", variant.Refusal);
            }

            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    /// <summary>Writes a simulated step as the property <c>simulation</c>.</summary>
    public static void Write(Utf8JsonWriter json, ClusterSimulation simulation)
    {
        ArgumentNullException.ThrowIfNull(json);
        ArgumentNullException.ThrowIfNull(simulation);
        json.WriteStartObject("simulation");
        json.WriteNumber("ranks", simulation.Busy.Count);
        json.WriteNumber("routed_micro_batches", simulation.Draws.Count);
        json.WriteNumber("heaviest_load_mean", simulation.Draws.Average(draw => draw.Heaviest));
        json.WriteNumber("heaviest_load_most", simulation.Draws.Max(draw => draw.Heaviest));
        json.WriteNumber("pipeline_seconds", simulation.PipelineSeconds);
        json.WriteNumber("step_seconds", simulation.StepSeconds);
        json.WriteNumber("busy_least", simulation.Busy.Min());
        json.WriteNumber("busy_most", simulation.Busy.Max());
        json.WriteNumber("idle_mean", simulation.MeanIdle);
        json.WriteNumber("idle_most", simulation.MostIdle);
        json.WriteEndObject();
    }

    static void Rank(Utf8JsonWriter json, TrainingPlan plan, RankMemory rank)
    {
        json.WriteStartObject();
        json.WriteNumber("rank", rank.Rank);
        json.WriteStartArray("stages");
        PipelinePlacement placement = plan.Timed.Schedule.Placement;
        for (int phase = 0; phase < placement.Phases; phase++) json.WriteNumberValue(placement.Stage(rank.Rank, phase));
        json.WriteEndArray();
        json.WriteNumber("idle_seconds", plan.Timed.Idle(rank.Rank));
        json.WriteNumber("parameters", rank.Parameters);
        json.WriteNumber("weights_bytes", rank.Weights);
        json.WriteNumber("gradients_bytes", rank.Gradients);
        json.WriteNumber("optimizer_bytes", rank.Optimizer);
        json.WriteNumber("activations_bytes", rank.Activations);
        json.WriteNumber("activation_peak", rank.ActivationPeak);
        json.WriteNumber("bytes", rank.Total);
        json.WriteEndObject();
    }

    static void Layout(Utf8JsonWriter json, TrainingLayout layout, ScheduleKind kind, int microBatches)
    {
        json.WriteString("layout", layout.ToString());
        json.WriteNumber("pipeline", layout.Pipeline);
        json.WriteNumber("expert_parallel", layout.ExpertParallel);
        json.WriteNumber("data_parallel", layout.DataParallel);
        json.WriteString("schedule", PipelineSchedule.Name(kind));
        json.WriteNumber("pipeline_micro_batches", microBatches);
    }
}
