using System.Globalization;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Verify;

/// <summary>Barriers are set up for all who use them, and expect the arrivals and bytes that come.</summary>
static class BarrierRules
{
    /// <summary>An operation with what surrounds it: its role, and whether some threads of the role do not reach it.</summary>
    readonly record struct Placed(Operation Operation, Role? Role, bool Narrowed, Block Block);

    public static void Check(Kernel kernel, ValueFacts facts, Findings findings)
    {
        List<Placed> all = [];
        Place(kernel.Body, null, false, facts, all);
        SetUp(kernel, findings);
        foreach (PipelineDeclaration ring in kernel.Pipelines)
        {
            Arrivals(kernel, ring, all, findings);
            Bytes(kernel, ring, all, findings);
        }

        foreach (IGrouping<int, Placed> group in all.Where(p => p.Operation is NamedBarrier).GroupBy(p => ((NamedBarrier)p.Operation).Index)) Named(kernel, [.. group], findings);
    }

    static void Place(Block block, Role? role, bool narrowed, ValueFacts facts, List<Placed> all)
    {
        foreach (Operation operation in block.Operations)
        {
            all.Add(new Placed(operation, role, narrowed, block));
            switch (operation)
            {
                case If branch:
                {
                    bool narrows = narrowed || facts.Of(branch.Condition).Varies < Fact.Uniform;
                    Place(branch.Then, role, narrows, facts, all);
                    if (branch.Otherwise is { } otherwise) Place(otherwise, role, narrows, facts, all);
                    break;
                }

                case Loop loop:
                    Place(loop.Test, role, narrowed, facts, all);
                    Place(loop.Body, role, narrowed || facts.Of(loop.Condition).Varies < Fact.Uniform, facts, all);
                    break;
                case RoleSwitch roles:
                    foreach (Role one in roles.Roles) Place(one.Body, one, narrowed, facts, all);
                    break;
                default: break;
            }
        }
    }

    static void SetUp(Kernel kernel, Findings findings)
    {
        // In program order: set up, fence for the asynchronous proxy, meet, use.
        SourceLine? unmet = null, unfenced = null;
        foreach (Operation operation in kernel.AllOperations())
        {
            switch (operation)
            {
                case BarrierInitialize: unmet = unfenced = operation.Source; break;
                case FenceBarrierInitialize: unfenced = null; break;
                case NamedBarrier { Wait: true } sync when sync.Threads == kernel.ThreadsPerBlock && kernel.ClusterSize == 1: unmet = null; break;
                case ClusterSync: unmet = null; break;
                case BarrierWait or BarrierArrive or BarrierExpect or TensorLoad when unmet is { } line:
                    findings.Add(VerifierRule.BarrierSetup, operation.Source, $"'{operation.Mnemonic}' uses barriers that one thread set up at {line}, before the {(kernel.ClusterSize == 1 ? "block" : "cluster")} has met", $"call {(kernel.ClusterSize == 1 ? "Sync" : "ClusterSync")} in between");
                    unmet = null;
                    break;
                default: break;
            }

            if (unfenced is { } setUp && operation is BarrierExpect or TensorLoad)
            {
                findings.Add(VerifierRule.BarrierSetup, operation.Source, $"'{operation.Mnemonic}' lets copies signal a barrier whose set-up was not fenced for the asynchronous proxy", "emit fence_barrier_initialize after the set-up");
                unfenced = null;
            }
        }
    }

    static void Arrivals(Kernel kernel, PipelineDeclaration ring, List<Placed> all, Findings findings)
    {
        List<Placed> releases = all.FindAll(p => p.Operation is BarrierArrive { ReleasesSlot: { } slot } && ring.ConsumerSlots.Contains(slot));
        if (releases.Count == 0 || releases.Exists(p => p.Narrowed)) return;
        var roles = new HashSet<Role?>(releases.Select(p => p.Role));
        int peers = ((BarrierArrive)releases[0].Operation).InCluster ? kernel.ClusterSize : 1;
        int warps = roles.Sum(r => r is null ? kernel.ThreadsPerBlock / 32 : 4 * r.Warpgroups) / ring.Shares, come = warps * peers;
        if (come != ring.ConsumerArrivals)
            findings.Add(VerifierRule.Arrivals, ring.Source, $"ring '{ring.Name}' waits for {ring.ConsumerArrivals} arrivals before it fills a stage again, {warps} warps{(peers > 1 ? $" of {peers} blocks" : "")} give stages back", $"make it with {warps} consumer warps");
    }

    static void Bytes(Kernel kernel, PipelineDeclaration ring, List<Placed> all, Findings findings)
    {
        foreach (Placed placed in all)
        {
            if (placed.Operation is not BarrierExpect { Slot: { } slot } expect || !ring.ProducerSlots.Contains(slot)) continue;
            List<Placed> loads = all.FindAll(p => p.Operation is TensorLoad load && load.Slot == slot);
            if (loads.Exists(p => !ReferenceEquals(p.Block, placed.Block))) continue;
            long bytes = loads.Sum(p => ((TensorMapParameter)kernel.Parameters[((TensorLoad)p.Operation).Map]).BoxBytes * (((TensorLoad)p.Operation).MulticastMask == 0 ? 1L : kernel.ClusterSize));
            if (bytes != expect.Bytes)
                findings.Add(VerifierRule.ByteCount, expect.Source, $"a stage of ring '{ring.Name}' announces {expect.Bytes} bytes, its {loads.Count} copies bring {bytes}", "load every operand of the ring once a stage");
        }
    }

    static void Named(Kernel kernel, Placed[] uses, Findings findings)
    {
        var first = (NamedBarrier)uses[0].Operation;
        foreach (Placed use in uses)
        {
            var barrier = (NamedBarrier)use.Operation;
            if (barrier.Threads != first.Threads)
                findings.Add(VerifierRule.Arrivals, barrier.Source, $"named barrier {barrier.Index} counts {barrier.Threads} threads here and {first.Threads} at {first.Source}", "let all uses of a barrier count the same threads, or take another barrier");
        }

        if (uses.Any(u => u.Narrowed)) return;
        int reach = uses.Any(u => u.Role is null) ? kernel.ThreadsPerBlock : uses.Select(u => u.Role).Distinct().Sum(r => 128 * r!.Warpgroups);
        if (reach != first.Threads)
            findings.Add(VerifierRule.Arrivals, first.Source, string.Create(CultureInfo.InvariantCulture, $"named barrier {first.Index} counts {first.Threads} threads, {reach} reach it"), reach < first.Threads ? "count those, or let the others arrive" : "count those, or put it under a condition");
    }
}
