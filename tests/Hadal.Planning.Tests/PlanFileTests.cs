using Hadal.Parallel.Schedules;
using Hadal.Planning.Costs;
using Hadal.Planning.Layouts;

namespace Hadal.Planning.Tests;

/// <summary>Files that a plan reads: written and read again, and refused in words.</summary>
public sealed class PlanFileTests
{
    [Fact]
    public void A_cluster_reads_what_it_writes() => Assert.Equal(ClusterDescription.Published, ClusterDescription.Parse(ClusterDescription.Published.ToJson(), "file"));

    [Theory]
    [InlineData("{", "not JSON")]
    [InlineData("[]", "holds no object")]
    [InlineData("{}", "'nodes' is missing; expected a whole number from 1 to 16384")]
    [InlineData("""{"nodes":0}""", "'nodes' is 0; expected")]
    [InlineData("""{"nodes":1.5}""", "'nodes' is 1.5; expected")]
    [InlineData("""{"nodes":"many"}""", "'nodes' is \"many\"; expected")]
    [InlineData("""{"nodes":1,"gpus_per_node":8,"memory_bytes":-1}""", "'memory_bytes' is -1; expected")]
    [InlineData("""{"nodes":1,"gpus_per_node":8,"memory_bytes":1e999}""", "'memory_bytes' is 1e999; expected")]
    [InlineData("""{"nodes":1,"gpus_per_node":8,"memory_bytes":8e10,"peak_flops":1e14,"memory_bandwidth":1e12,"node_bandwidth":1e11,"network_bandwidth":1e10,"nodez":2}""", "'nodez' is not known here; known are")]
    [InlineData("""{"nodes":1,"gpus_per_node":8,"memory_bytes":8e10,"reserved_bytes":9e10,"peak_flops":1e14,"memory_bandwidth":1e12,"node_bandwidth":1e11,"network_bandwidth":1e10}""", "'reserved_bytes' is 90000000000; expected less than memory_bytes")]
    public void A_cluster_that_is_none_is_refused(string json, string because) =>
        Assert.Contains(because, Assert.Throws<PlanException>(() => ClusterDescription.Parse(json, "file")).Message, StringComparison.Ordinal);

    [Fact]
    public void A_file_that_is_not_there_is_named() => Assert.Contains("nowhere.json cannot be read", Assert.Throws<PlanException>(() => ClusterDescription.Load("nowhere.json")).Message, StringComparison.Ordinal);

    [Fact]
    public void Layer_times_read_what_they_write()
    {
        LayerCosts costs = PlannerTests.Layers();
        Assert.Equal(costs, CostDescription.Parse(costs.ToJson(), "file"));
    }

    [Fact]
    public void Step_totals_and_rates_are_read()
    {
        var totals = (StepTotals)CostDescription.Parse("""{"kind":"step_totals","ranks":16,"micro_batches":120,"layers":61,"tokens":4096,"expert_parallel":64,"forward":1.13,"backward":1.99,"weights":0.48,"pairs":13.95,"optimizer":0.29}""", "file");
        Assert.Equal(StepTotals.Published.Chunks(), totals.Chunks());
        Assert.Null(totals.Machines);
        Assert.Equal(0.5, ((RateCosts)CostDescription.Parse("""{"kind":"rate","efficiency":0.5}""", "file")).Efficiency);
    }

    [Fact]
    public void Step_totals_of_other_machines_take_the_difference_of_their_links()
    {
        const string Start = """{"kind":"step_totals","ranks":16,"micro_batches":120,"layers":61,"tokens":4096,"expert_parallel":64,"forward":1.13,"backward":1.99,"weights":0.48,"pairs":13.95,"optimizer":0.29""";
        var here = (StepTotals)CostDescription.Parse(Start + "}", "file");
        var there = (StepTotals)CostDescription.Parse($$"""{{Start}},"machines":{{ClusterDescription.Published.ToJson()}}}""", "file");
        Assert.Equal(ClusterDescription.Published, there.MeasuredOn);
        ClusterDescription slower = ClusterDescription.Published with { Name = "slower", NetworkBandwidth = ClusterDescription.Published.NetworkBandwidth / 2 };
        double Step(StepTotals costs) => TrainingPlanner.Plan(TrainingWork.PublishedV3, slower, costs, TrainingLayout.Published, ScheduleKind.DualPipe).StepSeconds;
        Assert.True(Step(there) > 1.02 * Step(here), $"{Step(there)} s, {Step(here)} s");
    }

    [Theory]
    [InlineData("{}", "'kind' is missing; expected one of step_totals, layers, rate")]
    [InlineData("""{"kind":"guess"}""", "'kind' is \"guess\"")]
    [InlineData("""{"kind":"rate","efficiency":1.5}""", "'efficiency' is 1.5")]
    [InlineData("""{"kind":"layers","model":"x","recipe":"fp32","rows":1,"sequence_length":8,"dense":{"forward":1,"backward_input":1,"backward_weights":1,"w":2}}""", "'dense.w' is not known")]
    [InlineData("""{"kind":"step_totals","ranks":15,"micro_batches":120,"layers":61,"tokens":4096,"expert_parallel":64,"forward":1,"backward":2,"weights":1,"pairs":9}""", "expected an even number")]
    [InlineData("""{"kind":"step_totals","ranks":16,"micro_batches":120,"layers":61,"tokens":4096,"expert_parallel":64,"forward":1,"backward":0.1,"weights":1,"pairs":9}""", "for a backward without its weight gradients")]
    [InlineData("""{"kind":"step_totals","schedule":"1f1b","ranks":4,"micro_batches":8,"layers":61,"tokens":4096,"expert_parallel":64,"forward":1,"backward":2,"weights":1}""", "no steps of its own")]
    public void Times_that_are_none_are_refused(string json, string because) =>
        Assert.Contains(because, Assert.Throws<PlanException>(() => CostDescription.Parse(json, "file")).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("16x64")]
    [InlineData("16x64x2x1")]
    [InlineData("0x1x1")]
    [InlineData("axbxc")]
    [InlineData("16384x16384x16384")]
    [InlineData("-1x2x3")]
    public void A_layout_that_is_none_is_refused(string text) =>
        Assert.Contains("expected PPxEPxDP", Assert.Throws<PlanException>(() => TrainingLayout.Parse(text)).Message, StringComparison.Ordinal);

    [Fact]
    public void A_layout_reads_what_it_writes() => Assert.Equal(TrainingLayout.Published, TrainingLayout.Parse(TrainingLayout.Published.ToString()));
}
