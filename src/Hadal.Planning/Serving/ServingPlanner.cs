using System.Globalization;
using Hadal.Model;
using Hadal.Parallel.Experts;
using Hadal.Parallel.Serving;
using Hadal.Tensors.Operations;

namespace Hadal.Planning.Serving;

/// <summary>What to plan.</summary>
public sealed record ServingQuestion
{
    /// <summary>Name of the model.</summary>
    public required string Name { get; init; }

    /// <summary>The model.</summary>
    public required TransformerShape Shape { get; init; }

    /// <summary>The GPU and its links.</summary>
    public ServingHardware Hardware { get; init; } = ServingHardware.H800;

    /// <summary>Requests and goals.</summary>
    public required ServingLoad Load { get; init; }

    /// <summary>Who chooses which experts.</summary>
    public required IRoutingSource Routing { get; init; }

    /// <summary>When placements are looked at, and at what price.</summary>
    public PlacementPolicy Policy { get; init; } = new();

    /// <summary>Nodes there are; null for as many as needed.</summary>
    public int? Nodes { get; init; }

    /// <summary>How long the units are simulated for their balance.</summary>
    public TimeSpan Duration { get; init; } = TimeSpan.FromHours(1);

    /// <summary>Seconds of requests in the simulations of queues.</summary>
    public double QueueSeconds { get; init; } = 90;

    /// <summary>Layers that are drawn for balance.</summary>
    public int Layers { get; init; } = 3;
}

/// <summary>
/// Answers how many redundant experts, which units and whether to split: tries units of several sizes for prefilling, decoding and both, each with the balance that its placement has on the
/// routing, finds by simulation how many requests a second one unit carries within the goals, and counts the nodes.
/// </summary>
public static class ServingPlanner
{
    static readonly int[] PrefillNodes = [1, 2, 4, 8], DecodeNodes = [1, 2, 4, 8, 12, 16, 18, 24, 32, 40], Chunks = [64, 256, 1024], PrefillChunks = [4096, PrefillChunk];
    const int PrefillChunk = 16_384, SampleTokens = 8192, PublishedRedundant = 32, LeastRequests = 40;

    /// <summary>Plans.</summary>
    /// <param name="question">What is asked.</param>
    /// <param name="progress">Told what is being tried, and how much is done, from 0 to 1.</param>
    /// <param name="cancel">Ends it early.</param>
    /// <exception cref="ArgumentException">The routing does not fit the model, or the model has no routed experts.</exception>
    public static ServingPlan Plan(ServingQuestion question, Action<string, double>? progress = null, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(question);
        GateParameters gate = question.Shape.Gate;
        if (gate.Experts == 0) throw new ArgumentException("The model has no routed experts: there is nothing to place.", nameof(question));
        if (question.Routing.Experts != gate.Experts || question.Routing.TopK != gate.TopK)
            throw new ArgumentException($"The routing has {question.Routing.Experts} experts, {question.Routing.TopK} of them for a token; the model has {gate.Experts} and {gate.TopK}. Record routing of a model with the same numbers, or leave --routing out.", nameof(question));
        var model = new ServingModel(question.Shape);
        var plan = new Run(question, model, gate, progress ?? ((_, _) => { }), cancel);
        return plan.All();
    }

    sealed class Run(ServingQuestion question, ServingModel model, GateParameters gate, Action<string, double> progress, CancellationToken cancel)
    {
        int _done, _steps = 1;

        ServingHardware Hardware => question.Hardware;

        public ServingPlan All()
        {
            ExpertUnit[] prefills = [.. Units(PrefillNodes)], decodes = [.. Units(DecodeNodes)];
            _steps = 6 + (prefills.Length * PrefillChunks.Length) + (decodes.Length * (1 + Chunks.Length));
            ExpertUnit usual = prefills.FirstOrDefault(u => u.Nodes == 4) ?? prefills.FirstOrDefault() ?? throw NoRoom();
            RedundancyChoice[] redundancy = [.. Redundancy(usual)];
            UnitChoice[] prefill = [.. prefills.SelectMany(u => PrefillChunks.Select(c => Carry(UnitRole.Prefill, u, c)))];
            UnitChoice[] decode = [.. decodes.Select(u => Carry(UnitRole.Decode, u, 0))];
            UnitChoice[] together = [.. decodes.SelectMany(u => Chunks.Select(c => Carry(UnitRole.Both, u, c)))];
            ExpertUnit writing = decodes.FirstOrDefault(u => u.Nodes == 18) ?? decodes[^1];
            return new()
            {
                Model = question.Name, Hardware = Hardware, Load = question.Load, Routing = question.Routing.Description, Redundancy = redundancy, Prefill = prefill, Decode = decode,
                Together = together, PrefillUnit = OverTime(usual, UnitPath.ThroughNodes), DecodeUnit = OverTime(writing, UnitPath.Straight), Checks = [.. Checks()],
                Assumptions = [.. Assumptions()], NodesThere = question.Nodes,
            };
        }

        // Units of a size that hold the model, the fewest slots that leave a redundant expert for each GPU, or as many as were published.
        IEnumerable<ExpertUnit> Units(int[] sizes)
        {
            foreach (int nodes in sizes)
            {
                int gpus = nodes * Hardware.GpusPerNode;
                if (question.Nodes is { } there && nodes > there) continue;
                if (gpus > 2 * gate.Experts) continue;
                int slots = (gate.Experts + Math.Min(gpus, PublishedRedundant) + gpus - 1) / gpus;
                var unit = new ExpertUnit(gate.Experts, gate.Groups, nodes, Hardware.GpusPerNode, slots);
                if (Costs(slots).CachePositions >= question.Load.Prompt.Mean + question.Load.Answer.Mean) yield return unit;
            }
        }

        ArgumentException NoRoom() => new(string.Create(CultureInfo.InvariantCulture,
            $"The weights of {question.Name} fit in no unit that was tried: a GPU has {Hardware.UsableBytes / 1e9:0.#} GB for weights and cache, and {model.ReplicatedBytes / 1e9:0.#} GB are on every GPU. Give more nodes or more memory in --cluster."));

        ServingCosts Costs(int slots) => new(model, Hardware, slots);

        /// <summary>Places experts by a first lot of tokens and counts where a second one goes.</summary>
        TrafficPerToken Traffic(ExpertUnit unit, UnitPath path)
        {
            int perGpu = Math.Max(16, SampleTokens / unit.Gpus);
            int[] choices = new int[perGpu * gate.TopK];
            double balance = 0, between = 0, inside = 0;
            for (int layer = 0; layer < question.Layers; layer++)
            {
                double[] load = new double[gate.Experts];
                for (int gpu = 0; gpu < unit.Gpus; gpu++)
                {
                    question.Routing.Choose(TimeSpan.Zero, layer, gpu, choices);
                    foreach (int expert in choices) load[expert]++;
                }

                ReplicaPlan plan = ExpertBalancer.Plan(load, unit.Slots, unit.Groups, unit.Nodes, unit.Gpus);
                var traffic = new UnitTraffic(unit, path);
                for (int gpu = 0; gpu < unit.Gpus; gpu++)
                {
                    question.Routing.Choose(TimeSpan.FromSeconds(1), layer, gpu + unit.Gpus, choices);
                    traffic.Add(plan, gpu, choices, gate.TopK);
                }

                TrafficPerToken one = TrafficPerToken.Of(traffic, unit.Gpus);
                (balance, between, inside) = (balance + one.Balance, between + one.Between, inside + one.Inside);
            }

            return new(balance / question.Layers, between / question.Layers, inside / question.Layers);
        }

        IEnumerable<RedundancyChoice> Redundancy(ExpertUnit usual)
        {
            int least = (gate.Experts + usual.Gpus - 1) / usual.Gpus;
            for (int slots = least; slots < least + 4; slots++)
            {
                Say($"{slots} experts a GPU");
                ExpertUnit unit = usual with { SlotsPerGpu = slots };
                TrafficPerToken traffic = Traffic(unit, UnitPath.ThroughNodes);
                StepWork work = FullStep();
                double seconds = Costs(slots).StepSeconds(work, traffic, UnitPath.ThroughNodes);
                yield return new(slots, unit.RedundantSlots, traffic.Balance, seconds, work.PromptTokens / seconds * Hardware.GpusPerNode, Costs(slots).CachePositions);
            }
        }

        // A full step of prefilling: prompts of the mean length, as many as a GPU takes.
        StepWork FullStep()
        {
            double length = question.Load.Prompt.Mean, known = length * question.Load.CachedPart;
            return new(PrefillChunk, PrefillChunk * (known + length + 1) / 2, 0, 0);
        }

        UnitChoice Carry(UnitRole role, ExpertUnit unit, int chunk)
        {
            Say($"{role switch { UnitRole.Prefill => "prefilling", UnitRole.Decode => "decoding", _ => $"both, chunks of {chunk}," }} on {unit.Nodes} nodes");
            ServingLoad load = question.Load;
            var queue = new UnitQueue(Costs(unit.SlotsPerGpu), unit.Gpus, Traffic(unit, role == UnitRole.Decode ? UnitPath.Straight : UnitPath.ThroughNodes), role, chunk);
            double seconds = Math.Max(question.QueueSeconds, role == UnitRole.Prefill ? 0 : 3 * load.Answer.Mean * load.NextTokenSeconds), high = load.RequestsPerSecond, low = 0;
            ServiceOutcome Try(double rate) => queue.Run(load, rate, seconds, cancel);
            bool Keeps(ServiceOutcome outcome) => role switch
            {
                UnitRole.Prefill => outcome.FirstToken + Handover(load) <= load.FirstTokenSeconds,
                UnitRole.Decode => outcome.NextToken <= load.NextTokenSeconds && outcome.FirstToken <= load.NextTokenSeconds,
                _ => outcome.Keeps(load),
            };

            // A unit never sees more than its part: from the most that the load is, halve until the goals hold, then close in.
            ServiceOutcome best = Try(high = Math.Min(high, Bound(unit, role, chunk)));
            if (Keeps(best))
            {
                return new(role, unit, chunk, high, Count(load.RequestsPerSecond, high), best);
            }

            ServiceOutcome outcome = best;
            double probe = high;
            while (!Keeps(outcome) && probe * seconds > LeastRequests) outcome = Try(probe /= 2);
            if (!Keeps(outcome)) return new(role, unit, chunk, 0, 0, outcome);
            (low, high, best) = (probe, 2 * probe, outcome);
            for (int i = 0; i < 4; i++)
            {
                double middle = (low + high) / 2;
                outcome = Try(middle);
                if (Keeps(outcome)) (low, best) = (middle, outcome);
                else high = middle;
            }

            // The outcome shown is that of the rate which each of so many units gets.
            int units = Count(load.RequestsPerSecond, low);
            return new(role, unit, chunk, low, units, Try(load.RequestsPerSecond / units));
        }

        static int Count(double rate, double each) => (int)Math.Ceiling((rate / each) - 1e-9);

        double Handover(ServingLoad load) => load.Prompt.Mean * model.CacheBytes / Hardware.Links.BetweenNodes;

        // No unit carries more than full steps bring.
        double Bound(ExpertUnit unit, UnitRole role, int chunk)
        {
            ServingCosts costs = Costs(unit.SlotsPerGpu);
            double read = role == UnitRole.Decode ? double.MaxValue
                : chunk / costs.StepSeconds(new(chunk, 0, 0, 0), new(1, 0, 0), UnitPath.ThroughNodes) * unit.Gpus / Math.Max(1, question.Load.Prompt.MeanDrawn() * (1 - question.Load.CachedPart));
            double written = role == UnitRole.Prefill ? double.MaxValue
                : UnitQueue.MostRunning / costs.StepSeconds(new(0, 0, UnitQueue.MostRunning, 0), new(1, 0, 0), UnitPath.Straight) * unit.Gpus / question.Load.Answer.MeanDrawn();
            return Math.Min(read, written);
        }

        UnitOutcome OverTime(ExpertUnit unit, UnitPath path)
        {
            Say($"{unit.Nodes} nodes over {question.Duration.TotalMinutes:0} minutes");
            StepWork work = path == UnitPath.ThroughNodes ? FullStep() : new(0, 0, 128, 128 * (question.Load.Prompt.Mean + (question.Load.Answer.Mean / 2)));
            var options = new UnitSimulationOptions
            {
                Unit = unit, Path = path, Work = work, Layers = question.Layers, TokensPerGpu = Math.Max(16, SampleTokens / unit.Gpus), Duration = question.Duration,
                Tick = TimeSpan.FromTicks(Math.Min(TimeSpan.FromMinutes(2).Ticks, question.Policy.Interval.Ticks / 2)), Policy = question.Policy,
            };
            return UnitSimulation.Run(options, question.Routing, Costs(unit.SlotsPerGpu), cancel);
        }

        // The figures of the inference overview, with even routing and the units they were measured on.
        IEnumerable<ServingCheck> Checks()
        {
            if (question.Shape != KnownShapes.V3671B) yield break;
            var even = new Run(question with { Routing = new SyntheticRouting(gate, 0) }, model, gate, (_, _) => { }, cancel);
            ServingCosts prefill = new(model, ServingHardware.H800, 9), decode = new(model, ServingHardware.H800, 2);
            StepWork read = new(PrefillChunk, PrefillChunk * 2048.5, 0, 0), write = new(0, 0, 128, 128 * 4989.0);
            double reading = PrefillChunk / prefill.StepSeconds(read, even.Traffic(ExpertUnit.Prefill, UnitPath.ThroughNodes), UnitPath.ThroughNodes) * 8;
            double writing = 128 / decode.StepSeconds(write, even.Traffic(ExpertUnit.Decode, UnitPath.Straight), UnitPath.Straight) * 8;
            const double hits = 342.0 / 608;
            yield return new("prefilling on 4 nodes, 16,384 tokens a GPU, prompts of 4,096", 73_700 * (1 - hits), reading,
                "73,700 tokens a second with 56.3 % found in the cache: 32,200 computed; an average over a day of changing load");
            yield return new("decoding on 18 nodes, 128 answers a GPU, 4,989 positions each", 14_800, writing,
                "14,800 tokens a second, an average over a day; answers then ran at 20 to 22 tokens a second, so fewer of them at once or longer steps than here; drafts of MTP, if any, are in it");
        }

        IEnumerable<string> Assumptions()
        {
            yield return string.Create(CultureInfo.InvariantCulture,
                $"{Hardware.Name}: {Hardware.Fp8Flops / 1e12:0} TFLOP/s FP8 and {Hardware.Bf16Flops / 1e12:0} BF16, of which products reach {100 * Hardware.ComputeEfficiency:0.#} %; {Hardware.MemoryBandwidth / 1e12:0.##} TB/s; {Hardware.Links.InsideNode / 1e9:0.#} GB/s inside a node, {Hardware.Links.BetweenNodes / 1e9:0.#} GB/s between nodes; {Hardware.UsableBytes / 1e9:0.#} GB a GPU for weights and cache.");
            yield return "Each part of a layer takes the longer of its operations and its bytes; kernel starts, clocks, sampling and the host cost nothing. Real services stay below: see the published figures.";
            yield return "Attention is data parallel; weights FP8, cache BF16; two micro-batches hide each other's exchange in the published order of stages; prefilling's exchange takes 24 of 132 multiprocessors.";
            yield return "Dispatch FP8 with scales, combine BF16. Prefilling adds the rows of a node on their way back, as published; Hadal's own exchange of replicas sends every row by itself to keep the bits.";
            yield return "Requests come at random times and go to the GPU with the least to do. Units of one kind share the load evenly; each is simulated by itself. A first token waits for the handing over of the cache when units are split.";
            yield return string.Create(CultureInfo.InvariantCulture, $"Nine of ten requests must keep the goals: {question.Load.FirstTokenSeconds:0.###} s to the first token, {1000 * question.Load.NextTokenSeconds:0.#} ms for each further one. No speculative decoding.");
            yield return $"Balance comes from {question.Layers} drawn layers; the others are taken to be like them.";
        }

        void Say(string what) => progress(what, Math.Min(1, (double)_done++ / _steps));
    }
}
