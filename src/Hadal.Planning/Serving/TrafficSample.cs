using Hadal.Parallel.Experts;
using Hadal.Parallel.Serving;

namespace Hadal.Planning.Serving;

/// <summary>Two lots of tokens with their experts: placements are made by the first and measured on the second. Every unit that is tried gets the same tokens, dealt out over its GPUs.</summary>
sealed class TrafficSample
{
    readonly int[][] _measured;
    readonly double[][] _loads;
    readonly int _topK, _tokens;

    TrafficSample(int[][] measured, double[][] loads, int topK, int tokens)
    {
        (_measured, _loads, _topK, _tokens) = (measured, loads, topK, tokens);
    }

    /// <summary>Draws both lots.</summary>
    /// <param name="routing">Who chooses which experts.</param>
    /// <param name="layers">Layers.</param>
    /// <param name="tokens">Tokens of a lot.</param>
    /// <param name="options">How many at once, and when to end early.</param>
    public static TrafficSample Draw(IRoutingSource routing, int layers, int tokens, ParallelOptions options)
    {
        int[][] measured = new int[layers][];
        double[][] loads = new double[layers][];
        System.Threading.Tasks.Parallel.For(0, layers, options, layer =>
        {
            int[] first = new int[tokens * routing.TopK];
            routing.Choose(TimeSpan.Zero, layer, 0, first);
            double[] load = new double[routing.Experts];
            foreach (int expert in first) load[expert]++;
            int[] second = new int[tokens * routing.TopK];
            routing.Choose(routing.OtherTokensAt, layer, 1, second);
            (measured[layer], loads[layer]) = (second, load);
        });
        return new(measured, loads, routing.TopK, tokens);
    }

    /// <summary>Rows and pairs of a token on a unit balanced for the first lot, averages over the layers.</summary>
    /// <param name="unit">The unit.</param>
    /// <param name="path">How rows reach experts.</param>
    public TrafficPerToken Of(ExpertUnit unit, UnitPath path)
    {
        int run = Math.Max(1, _tokens / unit.Gpus) * _topK;
        double balance = 0, between = 0, inside = 0;
        for (int layer = 0; layer < _loads.Length; layer++)
        {
            ReplicaPlan plan = ExpertBalancer.Plan(_loads[layer], unit.Slots, unit.Groups, unit.Nodes, unit.Gpus);
            var traffic = new UnitTraffic(unit, path);
            for (int gpu = 0; gpu < unit.Gpus && (gpu + 1) * run <= _measured[layer].Length; gpu++) traffic.Add(plan, gpu, _measured[layer].AsSpan(gpu * run, run), _topK);
            TrafficPerToken one = TrafficPerToken.Of(traffic, unit.Gpus);
            (balance, between, inside) = (balance + one.Balance, between + one.Between, inside + one.Inside);
        }

        return new(balance / _loads.Length, between / _loads.Length, inside / _loads.Length);
    }
}
