using Hadal.Model;
using Hadal.Parallel.Serving;
using Hadal.Planning.Serving;
using Hadal.Tensors.Operations;

namespace Hadal.Planning.Tests.Serving;

/// <summary>Units whose ranks really run on the virtual cluster: gate, exchange, slots, loop.</summary>
public sealed class UnitRunTests
{
    static readonly ExpertUnit Small = new(16, 4, 2, 2, 5);
    static readonly GateParameters SmallGate = new(16, 4, 4, 2, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, RoutedScale: 2.5);

    static UnitRunReport Run(ExpertUnit unit, GateParameters gate, UnitPath path, IRoutingSource routing, int steps, int tokens, int layers = 2)
    {
        var model = new ServingModel(KnownShapes.V3671B with { Gate = gate });
        bool through = path == UnitPath.ThroughNodes;
        return UnitRun.Run(new()
        {
            Unit = unit, Path = path, Gate = gate, Layers = layers, Tokens = tokens, Steps = steps, Rounds = 16, StepTime = TimeSpan.FromMinutes(5), Hidden = 32, Patience = TimeSpan.FromMinutes(2),
            Work = through ? new(16_384, 16_384 * 2048.0, 0, 0) : new(0, 0, 128, 128 * 4989.0), Policy = new PlacementPolicy { LeastCountsPerExpert = 5 },
        }, routing, new ServingCosts(model, ServingHardware.H800, unit.SlotsPerGpu));
    }

    static void Right(UnitRunReport report)
    {
        Assert.Equal(0, report.WrongRows);
        Assert.Equal(2L * report.Options.Steps * report.Options.Layers * report.Options.Unit.Gpus * report.Options.Tokens, report.CheckedRows);
        Assert.Equal(0, report.WrongSlots);
        Assert.Equal((long)report.Options.Steps * report.Options.Layers * report.Options.Unit.Slots, report.CheckedSlots);
        Assert.Equal(report.Counted, report.Ports); // every byte on every port, by the formula
        Assert.True(report.Ports.Sum(p => p.BetweenOut) > 0 && report.Ports.Sum(p => p.InsideOut) > 0);
        Assert.Equal(report.Ports.Sum(p => p.BetweenOut), report.Ports.Sum(p => p.BetweenIn));
    }

    static string Told(UnitRunReport report) => string.Join(Environment.NewLine, report.Steps.Select(step => FormattableString.Invariant(
        $"{step.Time.TotalMinutes,5:0.0} min: balance {step.Balance:0.000}, layer {1e6 * step.LayerSeconds:0.0} us, priced {1e6 * step.PricedSeconds:0.0} or {1e6 * step.PricedAloneSeconds:0.0}, moved {step.MovedBytes / 1e9:0.00} GB in {1e3 * step.MoveSeconds:0.00} ms, {step.Switched} switched")));

    /// <summary>Skewed routing, real ranks: experts move while tokens go on; every row has the bits of one rank, every port the bytes of the formula.</summary>
    [Theory]
    [InlineData(UnitPath.ThroughNodes)]
    [InlineData(UnitPath.Straight)]
    [Implements("V3 §3.4.1", "Prefilling on units of 32 GPUs with redundant experts, rearranged every ten minutes from online statistics")]
    public void Experts_move_between_ranks_that_run_and_no_bit_or_byte_is_wrong(UnitPath path)
    {
        UnitRunReport report = Run(Small, SmallGate, path, new SyntheticRouting(SmallGate, 1, seed: 3), steps: 8, tokens: 24);
        TestContext.Current.TestOutputHelper!.WriteLine(Told(report));
        Right(report);
        Assert.Contains(report.Decisions, decision => decision.Pays);
        Assert.True(report.Steps.Sum(step => step.Switched) >= 1 && report.Steps.Sum(step => step.MovedBytes) > 0);
        Assert.True(report.After.Any());
        Assert.True(report.After.Average(step => step.Balance) < report.Before.Average(step => step.Balance), Told(report));
        double expert = new ServingModel(KnownShapes.V3671B).ExpertBytes;
        Assert.All(report.Steps, step => Assert.Equal(0, step.MovedBytes % expert, 0.5)); // whole experts

        // No layer is faster than arithmetic and links allow when nothing waits.
        Assert.All(report.Steps, step => Assert.True(step.LayerSeconds > 0.99 * step.PricedSeconds, Told(report)));
    }

    [Fact]
    public void Recorded_routing_goes_through_the_gate_unchanged()
    {
        var source = new SyntheticRouting(SmallGate, 0.8, seed: 9);
        RoutingWindow Window(int at)
        {
            int[] choices = new int[64 * 4], counts = new int[16];
            source.Choose(TimeSpan.FromMinutes(at), 0, 0, choices);
            foreach (int expert in choices) counts[expert]++;
            return new($"window {at}", 64, [counts], [[.. choices.Select(expert => (ushort)expert)]]);
        }

        var record = new RoutingRecord("small", 16, 4, 4, 2, [0], [Window(0), Window(50)]);
        var routing = new RecordedRouting(record, TimeSpan.FromMinutes(10));
        UnitRunReport report = Run(Small, SmallGate, UnitPath.ThroughNodes, routing, steps: 4, tokens: 16);
        Right(report);
        int[] chosen = new int[16 * 4];

        // The first step's balance is that of the record's choices, averaged over micro-batches and layers.
        double sum = 0;
        for (int batch = 0; batch < 2; batch++)
        {
            var traffic = new UnitTraffic(Small, UnitPath.ThroughNodes);
            for (int gpu = 0; gpu < 4; gpu++)
            {
                routing.Choose(TimeSpan.Zero, 0, (2 * gpu) + batch, chosen);
                traffic.Add(Small.FirstPlan(), gpu, chosen, 4);
            }

            sum += traffic.Balance / 2;
        }

        Assert.Equal(sum, report.Steps[0].Balance, 1e-9);
        Assert.True(report.NodesPerToken <= 2);
    }

    /// <summary>The published prefilling unit, 32 ranks, with V3's gate.</summary>
    [Fact]
    [Trait("tier", "full")]
    [Implements("V3 §3.4.1", "Prefilling on units of 32 GPUs with redundant experts, rearranged every ten minutes from online statistics")]
    public void The_prefilling_unit_of_32_gpus_runs()
    {
        GateParameters gate = KnownShapes.V3671B.Gate;
        UnitRunReport report = Run(ExpertUnit.Prefill, gate, UnitPath.ThroughNodes, new SyntheticRouting(gate, 0.5, seed: 3), steps: 7, tokens: 64);
        TestContext.Current.TestOutputHelper!.WriteLine(Told(report));
        Right(report);
        Assert.InRange(report.NodesPerToken, 3, 4);
        Assert.True(report.After.Average(step => step.Balance) < report.Before.Average(step => step.Balance), Told(report));
    }

    /// <summary>The decoding unit as it ran in production, 144 ranks.</summary>
    [Fact]
    [Trait("tier", "full")]
    public void The_decoding_unit_of_144_gpus_runs()
    {
        GateParameters gate = KnownShapes.V3671B.Gate;
        UnitRunReport report = Run(ExpertUnit.Decode, gate, UnitPath.Straight, new SyntheticRouting(gate, 0.5, seed: 3), steps: 4, tokens: 8);
        TestContext.Current.TestOutputHelper!.WriteLine(Told(report));
        Right(report);
        Assert.Contains(report.Decisions, decision => decision.Pays);
    }
}
