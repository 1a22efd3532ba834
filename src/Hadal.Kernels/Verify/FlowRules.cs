using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Verify;

/// <summary>
/// Follows every path: products are fenced, committed and awaited before their sums are used, their operands' slots given back or the role ends; stores are fenced
/// for the proxy that reads them; collective operations are where all their lanes and warps are. Loops are walked twice, so that a turn meets the one before.
/// </summary>
sealed class FlowRules
{
    readonly Kernel _kernel;
    readonly ValueFacts _facts;
    readonly Findings _findings;
    readonly HashSet<int> _fragments;

    FlowRules(Kernel kernel, ValueFacts facts, Findings findings)
    {
        (_kernel, _facts, _findings) = (kernel, facts, findings);
        _fragments = [.. kernel.AllOperations().SelectMany(FragmentsOf).Select(f => f.Id)];
    }

    /// <summary>Where a path is: the lowest bit of the thread index that conditions around it depend on, what is around it.</summary>
    readonly record struct Place(int Varies, bool Diverged, bool InRole, bool Nested)
    {
        public Place Inside(int varies, bool uniform) => this with { Varies = Math.Min(Varies, varies), Diverged = Diverged || !uniform, Nested = true };
    }

    public static void Check(Kernel kernel, ValueFacts facts, Findings findings)
    {
        var rules = new FlowRules(kernel, facts, findings);
        FlowState end = rules.Walk(kernel.Body, new FlowState(), new Place(Fact.Uniform, false, false, false));
        rules.End("the kernel", end, kernel.Body);
    }

    /// <summary>Fragments that an operation names.</summary>
    public static IEnumerable<FragmentRegisters> FragmentsOf(Operation operation) => operation switch
    {
        FillFragment o => [o.Fragment],
        ScaleFragment o => [o.Destination, o.Taken],
        ReadFragment o => [o.Fragment],
        PackFragment o => [o.Fragment],
        Wgmma o => [o.Fragment],
        _ => [],
    };

    FlowState Walk(Block block, FlowState state, Place place)
    {
        foreach (Operation operation in block.Operations) state = Step(operation, state, place);
        return state;
    }

    FlowState Step(Operation operation, FlowState state, Place place)
    {
        Collective(operation, place);
        switch (operation)
        {
            case If o: return Branch(o, state, place);
            case Loop o:
            {
                int varies = _facts.Of(o.Condition).Varies;
                RequireAgreement(o, "loop", o.Uniform, varies);
                Place inside = place.Inside(varies, o.Uniform);
                state = Walk(o.Test, state, place);
                FlowState once = Turn(o, state.Copy(), inside);
                FlowState twice = Turn(o, FlowState.Join(state, once), inside);
                return FlowState.Join(state, twice);
            }

            case RoleSwitch o:
                foreach (Role role in o.Roles) End($"role '{role.Name}'", Walk(role.Body, state.Copy(), place with { InRole = true }), role.Body);
                return state;
            default:
                Simple(operation, state);
                return state;
        }
    }

    FlowState Turn(Loop loop, FlowState state, Place place) => Walk(loop.Test, Walk(loop.Body, state, place), place);

    FlowState Branch(If o, FlowState state, Place place)
    {
        int varies = _facts.Of(o.Condition).Varies;
        RequireAgreement(o, "branch", o.Uniform, varies);
        Place inside = place.Inside(varies, o.Uniform);
        bool narrows = varies < Fact.Uniform;
        FlowState Enter()
        {
            FlowState entered = state.Copy();
            if (narrows)
                foreach ((int region, SourceLine line) in entered.Unfenced) entered.Foreign.TryAdd(region, line);
            return entered;
        }

        FlowState then = Walk(o.Then, Enter(), inside), otherwise = o.Otherwise is null ? state : Walk(o.Otherwise, Enter(), inside);
        FlowState joined = FlowState.Join(then, otherwise);
        if (!narrows) return joined;
        joined.Foreign.Clear();
        foreach ((int region, SourceLine line) in state.Foreign) joined.Foreign.TryAdd(region, line);
        foreach ((int region, SourceLine line) in state.Unfenced) joined.Unfenced.TryAdd(region, line);
        return joined;
    }

    void RequireAgreement(Operation operation, string what, bool uniform, int varies)
    {
        if (uniform && varies < 5)
            _findings.Add(VerifierRule.Divergence, operation.Source, $"a {what} is declared uniform and its condition differs between the lanes of a warp", "drop the promise, or take the condition from one lane through Uniform");
    }

    void Simple(Operation operation, FlowState state)
    {
        switch (operation)
        {
            case Wgmma o: Start(o, state); break;
            case WgmmaFence: state.Clean.UnionWith(_fragments); break;
            case WgmmaCommit:
                if (state.Flights.Count > 0 && !state.Flights[^1].Committed) state.Flights[^1] = state.Flights[^1] with { Committed = true };
                break;
            case WgmmaWait o: Wait(o, state); break;
            case BarrierArrive { ReleasesSlot: { } slot } o:
                if (state.Flights.Find(f => f.Slots.Contains(slot)) is { } reader)
                    _findings.Add(VerifierRule.SlotReleased, o.Source, $"a ring slot is given back while the product of {reader.Source} may still read it", "wait for the product first");
                break;
            case StoreShared o: Store(o, o.Address, state); break;
            case StoreMatrix o: Store(o, o.Address, state); break;
            case FenceProxyAsync: state.Unfenced.Clear(); break;
            case TensorStore o: RequireFence(o, _facts.Of(o.Taken).Regions, state); break;
            default:
                foreach (FragmentRegisters fragment in FragmentsOf(operation)) Access(operation, fragment, state);
                break;
        }
    }

    void Start(Wgmma o, FlowState state)
    {
        if (!state.Clean.Contains(o.Fragment.Id))
            _findings.Add(VerifierRule.WgmmaFence, o.Source, $"a product starts into {o.Fragment}, whose registers were accessed after the last wgmma fence", "emit wgmma_fence before it");
        RequireFence(o, _facts.Of(o.ADescriptor).Regions | _facts.Of(o.BDescriptor).Regions, state);
        if (state.Flights.Count == 0 || state.Flights[^1].Committed) state.Flights.Add(new Flight(o.Source, [], []));
        Flight open = state.Flights[^1];
        state.Flights[^1] = open with { Fragments = [.. open.Fragments, o.Fragment.Id], Slots = [.. open.Slots, .. o.Slots] };
    }

    void Wait(WgmmaWait o, FlowState state)
    {
        if (state.Flights.Find(f => !f.Committed) is { } open)
            _findings.Add(VerifierRule.UnwaitedProduct, o.Source, $"waits for products, but that of {open.Source} is in no committed group", "emit wgmma_commit after it");
        int due = state.Flights.Count(f => f.Committed) - o.Pending;
        for (int i = 0; i < due; i++) state.Flights.Remove(state.Flights.First(f => f.Committed));
    }

    void Access(Operation operation, FragmentRegisters fragment, FlowState state)
    {
        state.Clean.Remove(fragment.Id);
        if (state.Flights.Find(f => f.Fragments.Contains(fragment.Id)) is { } flight)
            _findings.Add(VerifierRule.UnwaitedProduct, operation.Source, $"'{operation.Mnemonic}' uses {fragment} while the product of {flight.Source} may still add to it", "wait for the product first");
    }

    void Store(Operation operation, Value address, FlowState state)
    {
        foreach (int region in Bits(_facts.Of(address).Regions)) state.Unfenced[region] = operation.Source;
    }

    void RequireFence(Operation operation, ulong regions, FlowState state)
    {
        foreach (int region in Bits(regions))
        {
            if (!state.Unfenced.TryGetValue(region, out SourceLine line) && !state.Foreign.TryGetValue(region, out line)) continue;
            _findings.Add(VerifierRule.ProxyFence, operation.Source, $"'{operation.Mnemonic}' reads region '{_kernel.SharedRegions[region].Name}' through the asynchronous proxy, and the stores of {line} were not fenced for it by the threads that made them", "call FenceProxyAsync after the stores, before the threads meet");
        }
    }

    void End(string who, FlowState state, Block body)
    {
        foreach (Flight flight in state.Flights)
            _findings.Add(VerifierRule.UnwaitedProduct, flight.Source, $"{who} ends while this product may be in flight", "wait for every product");
        if (state.Unfenced.Count == 0) return;

        // Other roles may read what this one stored.
        var own = new HashSet<Operation>(Kernel.Walk(body), ReferenceEqualityComparer.Instance);
        foreach (Operation operation in _kernel.AllOperations().Where(o => !own.Contains(o)))
        {
            if (operation is TensorStore store) RequireFence(store, _facts.Of(store.Taken).Regions, state);
            else if (operation is Wgmma product) RequireFence(product, _facts.Of(product.ADescriptor).Regions | _facts.Of(product.BDescriptor).Regions, state);
        }
    }

    void Collective(Operation operation, Place place)
    {
        switch (operation)
        {
            case Shuffle or StoreMatrix or LoadMatrix or MultiplySync or WarpSync or NamedBarrier:
                if (place.Diverged) Diverged(operation, "all 32 lanes of a warp");
                break;
            case Wgmma or WgmmaFence or WgmmaCommit or WgmmaWait:
                if (place.Diverged || place.Varies < 7) Diverged(operation, "all four warps of a warpgroup");
                break;
            case ClusterSync:
                if (place.Diverged || place.Varies < Fact.Uniform || place.InRole) Diverged(operation, "every thread of the cluster");
                break;
            case RoleSwitch:
                if (place.Nested || place.InRole) Diverged(operation, "every thread of the block");
                break;
            case TensorLoad or TensorStore or BarrierExpect:
                if (place.Varies >= 5)
                    _findings.Add(VerifierRule.Divergence, operation.Source, $"'{operation.Mnemonic}' is for one thread, and whole warps reach it", "put it under a condition that one thread meets");
                break;
            default:
                break;
        }
    }

    void Diverged(Operation operation, string who) =>
        _findings.Add(VerifierRule.Divergence, operation.Source, $"'{operation.Mnemonic}' needs {who}, and is under a condition that may hold for some of them only", "move it out, or make the condition the same for them and say uniform: true");

    static IEnumerable<int> Bits(ulong set)
    {
        for (; set != 0; set &= set - 1) yield return System.Numerics.BitOperations.TrailingZeroCount(set);
    }
}
