using System.Globalization;
using Hadal.Model;
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

    /// <summary>Seconds of requests in the simulations of queues, at least; longer where answers last longer or requests are rare.</summary>
    public double QueueSeconds { get; init; } = 60;

    /// <summary>Layers that are drawn for balance.</summary>
    public int Layers { get; init; } = 3;
}

/// <summary>
/// Answers how many redundant experts, which units and whether to split: tries units of several sizes for prefilling, decoding and both, each with the slots that make its steps shortest on the
/// routing, finds by simulation how many requests a second one unit carries within the goals, and counts the nodes.
/// </summary>
public static class ServingPlanner
{
    static readonly int[] PrefillNodes = [1, 2, 4, 8], DecodeNodes = [1, 2, 4, 8, 12, 16, 18, 24, 32, 40], Chunks = [64, 128, 256, 512, 1024], PrefillChunks = [2048, 4096, 8192, PrefillChunk];
    const int PrefillChunk = 16_384, SampleTokens = 8192, LotTokens = 16_384, FullAnswers = 128, SlotsTried = 4, PublishedRedundant = 32;

    /// <summary>Plans.</summary>
    /// <param name="question">What is asked.</param>
    /// <param name="progress">Told what was tried, and how much is done, from 0 to 1; from several threads, one at a time.</param>
    /// <param name="cancel">Ends it early.</param>
    /// <exception cref="ArgumentException">The routing does not fit the model, or the model has no routed experts, or fits in no unit.</exception>
    public static ServingPlan Plan(ServingQuestion question, Action<string, double>? progress = null, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(question);
        GateParameters gate = question.Shape.Gate;
        if (gate.Experts == 0) throw new ArgumentException("The model has no routed experts: there is nothing to place.", nameof(question));
        if (question.Routing.Experts != gate.Experts || question.Routing.TopK != gate.TopK)
            throw new ArgumentException($"The routing has {question.Routing.Experts} experts, {question.Routing.TopK} of them for a token; the model has {gate.Experts} and {gate.TopK}. Record routing of a model with the same numbers, or leave --routing out.", nameof(question));
        var model = new ServingModel(question.Shape);
        return new Run(question, model, gate, progress ?? ((_, _) => { }), cancel).All();
    }

    sealed class Run(ServingQuestion question, ServingModel model, GateParameters gate, Action<string, double> progress, CancellationToken cancel)
    {
        readonly ParallelOptions _parallel = new() { MaxDegreeOfParallelism = Environment.ProcessorCount, CancellationToken = cancel };
        readonly Lock _saying = new();
        int _done, _parts = 1;

        ServingHardware Hardware => question.Hardware;

        public ServingPlan All()
        {
            // Slots first, then queues.
            (UnitPath Path, int Nodes)[] sizes = [.. Sizes(DecodeNodes).SelectMany(n => new[] { (UnitPath.ThroughNodes, n), (UnitPath.Straight, n) })];
            if (sizes.Length == 0) throw NoRoom();
            _parts = 2 + sizes.Length + (sizes.Length / 2 * (1 + Chunks.Length)) + (Sizes(PrefillNodes).Count() * PrefillChunks.Length);
            TrafficSample sample = TrafficSample.Draw(question.Routing, question.Layers, LotTokens, _parallel);
            RedundancyChoice[][] slots = new RedundancyChoice[sizes.Length][];
            System.Threading.Tasks.Parallel.For(0, sizes.Length, _parallel, i =>
            {
                slots[i] = [.. Redundancy(sample, sizes[i].Path, sizes[i].Nodes)];
                Say($"experts on {sizes[i].Nodes} nodes");
            });
            var fitting = slots.Select((tried, i) => (sizes[i].Path, sizes[i].Nodes, Tried: tried, Best: RedundancyChoice.Best(tried))).Where(s => Fits(s.Best)).ToArray();
            if (fitting.Length == 0) throw NoRoom();

            double prompt = question.Load.Prompt.MeanDrawn(), answer = question.Load.Answer.MeanDrawn();
            var search = new UnitSearch(question.Load, prompt, answer, question.QueueSeconds);
            var tasks = new List<(UnitRole Role, RedundancyChoice Slots, int Chunk)>();
            foreach ((UnitPath path, int nodes, _, RedundancyChoice best) in fitting)
            {
                if (path == UnitPath.Straight) tasks.Add((UnitRole.Decode, best, 0));
                else if (PrefillNodes.Contains(nodes)) tasks.AddRange(PrefillChunks.Select(c => (UnitRole.Prefill, best, c)));
                if (path == UnitPath.ThroughNodes) tasks.AddRange(Chunks.Select(c => (UnitRole.Both, best, c)));
            }

            _parts = 2 + sizes.Length + tasks.Count;
            UnitChoice[] choices = new UnitChoice[tasks.Count];
            UnitOutcome[] outcomes = new UnitOutcome[2];
            System.Threading.Tasks.Parallel.For(0, tasks.Count + 2, _parallel, at =>
            {
                // The longest first: the two units over time, then the largest units.
                if (at < 2)
                {
                    outcomes[at] = at == 0 ? OverTime(Usual(fitting, UnitPath.ThroughNodes, 4), UnitPath.ThroughNodes) : OverTime(Usual(fitting, UnitPath.Straight, 18), UnitPath.Straight);
                    Say($"a unit of {outcomes[at].Options.Unit.Nodes} nodes over {question.Duration.TotalMinutes:0} minutes");
                    return;
                }

                int i = tasks.Count + 1 - at;
                (UnitRole role, RedundancyChoice of, int chunk) = tasks[i];
                choices[i] = search.Find(role, of.Unit, chunk, Costs(of.SlotsPerGpu), of.Traffic, cancel);
                Say($"queues of {of.Unit.Nodes} nodes, {role switch { UnitRole.Prefill => "prefilling", UnitRole.Decode => "decoding", _ => "both" }}");
            });
            IReadOnlyList<UnitChoice> Of(UnitRole role) => [.. choices.Where(c => c.Role == role)];
            IReadOnlyList<RedundancyChoice> Table(UnitPath path, UnitChoice? best, int usual) =>
                fitting.FirstOrDefault(s => s.Path == path && s.Nodes == best?.Unit.Nodes).Tried ?? fitting.FirstOrDefault(s => s.Path == path && s.Nodes == usual).Tried ?? fitting.First(s => s.Path == path).Tried;
            var plan = new ServingPlan
            {
                Model = question.Name, Hardware = Hardware, Load = question.Load, Routing = question.Routing.Description, Prefill = Of(UnitRole.Prefill), Decode = Of(UnitRole.Decode), Together = Of(UnitRole.Both),
                Redundancy = [], DecodeRedundancy = [], PrefillUnit = outcomes[0], DecodeUnit = outcomes[1], Checks = [.. Checks()], Assumptions = [.. Assumptions()], NodesThere = question.Nodes,
            };
            return plan with { Redundancy = Table(UnitPath.ThroughNodes, plan.BestPrefill, 4), DecodeRedundancy = Table(UnitPath.Straight, plan.BestDecode, 18) };
        }

        IEnumerable<int> Sizes(int[] sizes) => sizes.Where(nodes => nodes <= (question.Nodes ?? int.MaxValue) && nodes * Hardware.GpusPerNode <= 2 * gate.Experts);

        bool Fits(RedundancyChoice choice) => choice.CachePositions >= question.Load.Prompt.Mean + question.Load.Answer.Mean;

        // The published unit over time where it fits, else the largest that does and is no larger, else the smallest; a redundant expert for each GPU, or as many as were published.
        ExpertUnit Usual((UnitPath Path, int Nodes, RedundancyChoice[] Tried, RedundancyChoice Best)[] fitting, UnitPath path, int published)
        {
            RedundancyChoice[] ofPath = [.. fitting.Where(s => s.Path == path).Select(s => s.Best)];
            ExpertUnit unit = (ofPath.LastOrDefault(b => b.Unit.Nodes <= published) ?? ofPath[0]).Unit;
            return unit with { SlotsPerGpu = (gate.Experts + Math.Min(unit.Gpus, PublishedRedundant) + unit.Gpus - 1) / unit.Gpus };
        }

        ArgumentException NoRoom() => new(string.Create(CultureInfo.InvariantCulture,
            $"{question.Name} fits in no unit that was tried: a GPU has {Hardware.UsableBytes / 1e9:0.#} GB for weights and cache, {model.ReplicatedBytes / 1e9:0.#} GB are on every GPU, and {model.SparseLayers * model.ExpertBytes * gate.Experts / 1e9:0.#} GB of experts are shared by the unit's GPUs{(question.Nodes is { } there ? $", at most {there * Hardware.GpusPerNode} of them" : "")}; a request has {question.Load.Prompt.Mean + question.Load.Answer.Mean:0} tokens of {model.CacheBytes / 1e3:0.#} kB. Give more nodes or more memory in --cluster, or shorter requests."));

        ServingCosts Costs(int slots) => new(model, Hardware, slots);

        // As few slots as hold the experts, and a few more.
        IEnumerable<RedundancyChoice> Redundancy(TrafficSample sample, UnitPath path, int nodes)
        {
            int gpus = nodes * Hardware.GpusPerNode, least = (gate.Experts + gpus - 1) / gpus;
            for (int slots = least; slots < least + SlotsTried; slots++)
            {
                cancel.ThrowIfCancellationRequested();
                var unit = new ExpertUnit(gate.Experts, gate.Groups, nodes, Hardware.GpusPerNode, slots);
                TrafficPerToken traffic = sample.Of(unit, path);
                StepWork work = path == UnitPath.ThroughNodes ? FullPrefill() : FullDecode();
                double seconds = Costs(slots).StepSeconds(work, traffic, path);
                yield return new(unit, traffic, seconds, work.Tokens / seconds * Hardware.GpusPerNode, Costs(slots).CachePositions);
            }
        }

        // Prompts of the mean length, as many as a GPU takes.
        StepWork FullPrefill()
        {
            double length = question.Load.Prompt.Mean, known = length * question.Load.CachedPart;
            return new(PrefillChunk, PrefillChunk * (known + length + 1) / 2, 0, 0);
        }

        // As many answers as the published unit has, half written.
        StepWork FullDecode() => new(0, 0, FullAnswers, FullAnswers * (question.Load.Prompt.Mean + (question.Load.Answer.Mean / 2)));

        UnitOutcome OverTime(ExpertUnit unit, UnitPath path)
        {
            StepWork work = path == UnitPath.ThroughNodes ? FullPrefill() : FullDecode();
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
            TrafficSample even = TrafficSample.Draw(new SyntheticRouting(gate, 0), question.Layers, LotTokens, _parallel);
            ServingCosts prefill = new(model, ServingHardware.H800, 9), decode = new(model, ServingHardware.H800, 2);
            StepWork read = new(PrefillChunk, PrefillChunk * 2048.5, 0, 0), write = new(0, 0, FullAnswers, FullAnswers * 4989.0);
            double reading = PrefillChunk / prefill.StepSeconds(read, even.Of(ExpertUnit.Prefill, UnitPath.ThroughNodes), UnitPath.ThroughNodes) * 8;
            double writing = FullAnswers / decode.StepSeconds(write, even.Of(ExpertUnit.Decode, UnitPath.Straight), UnitPath.Straight) * 8;
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
            yield return "Attention is data parallel: one GPU reads a whole prompt, chunk by chunk, and long prompts are not spread over several; weights FP8, cache BF16; two micro-batches hide each other's exchange in the published order of stages; prefilling's exchange takes 24 of 132 multiprocessors.";
            yield return "Dispatch FP8 with scales, combine BF16. Prefilling adds the rows of a node on their way back, as published; Hadal's own exchange of replicas sends every row by itself to keep the bits.";
            yield return "Requests come at random times and go to the GPU with the least to do. Units of one kind share the load evenly; each is simulated by itself. A first token waits for the handing over of the cache when units are split.";
            yield return string.Create(CultureInfo.InvariantCulture, $"Nine of ten requests must keep the goals: {question.Load.FirstTokenSeconds:0.###} s to the first token, {1000 * question.Load.NextTokenSeconds:0.#} ms for each further one. No speculative decoding.");
            yield return "What a unit carries is found in steps of 6 %. No spare units: one that fails, or a load above the one given, is not in the count.";
            yield return $"Balance comes from {question.Layers} drawn layers; the others are taken to be like them.";
        }

        void Say(string what)
        {
            lock (_saying) progress(what, Math.Min(1, (double)++_done / _parts));
        }
    }
}
