using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Ptx;

/// <content>Barriers, copies and control flow.</content>
public sealed partial class PtxPrinter
{
    void PrintBarrierInitialize(BarrierInitialize o) => Line($"mbarrier.init.shared::cta.b64 [{UseRegister(o.Address)}], {o.Count};");

    void PrintBarrierArrive(BarrierArrive o)
    {
        string address = UseRegister(o.Address);
        string? guard = o.Guard is null ? null : UseRegister(o.Guard);

        // Without .release.cluster: its fences cost every chunk, and nothing written by the arriving thread is read by the woken one.
        Line($"{Guard(guard)}mbarrier.arrive.shared::{(o.InCluster ? "cluster" : "cta")}.b64 _, [{address}];");
    }

    void PrintBarrierExpect(BarrierExpect o) => Line($"mbarrier.arrive.expect_tx.shared::cta.b64 _, [{UseRegister(o.Address)}], {o.Bytes};");

    void PrintBarrierWait(BarrierWait o)
    {
        string address = UseRegister(o.Address), parity = UseRegister(o.Parity), done = New(ScalarType.Predicate), again = NewLabel("wait");
        Label(again);
        Line($"mbarrier.try_wait.parity.shared::cta.b64 {done}, [{address}], {parity};");
        Line($"@!{done} bra {again};");
    }

    void PrintTensorLoad(TensorLoad o)
    {
        string map = UseRegister(o.MapAddress), destination = UseRegister(o.Destination), barrier = UseRegister(o.Barrier);
        string coordinates = string.Join(", ", UseRegisters(o.Coordinates));
        const string Word = "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes";
        if (o.MulticastMask == 0)
        {
            Line($"{Word} [{destination}], [{map}, {{{coordinates}}}], [{barrier}];");
            return;
        }

        string mask = NewHalf();
        Line($"mov.b16 {mask}, {o.MulticastMask};");
        Line($"{Word}.multicast::cluster [{destination}], [{map}, {{{coordinates}}}], [{barrier}], {mask};");
    }

    void PrintTensorStore(TensorStore o)
    {
        string map = UseRegister(o.MapAddress), from = UseRegister(o.Taken);
        string word = o.Add ? "cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.tile.bulk_group" : "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group";
        Line($"{word} [{map}, {{{string.Join(", ", UseRegisters(o.Coordinates))}}}], [{from}];");
    }

    void PrintPrefetchTensorMap(PrefetchTensorMap o) => Line($"prefetch.tensormap [{UseRegister(o.MapAddress)}];");

    void PrintMapToPeer(MapToPeer o)
    {
        string address = UseRegister(o.Address), rank = Use(o.Rank);
        Line($"mapa.shared::cluster.u32 {Define(o.Result)}, {address}, {rank};");
    }

    void PrintClusterSync()
    {
        Line("barrier.cluster.arrive.release.aligned;");
        Line("barrier.cluster.wait.acquire.aligned;");
    }

    void PrintIf(If o)
    {
        string condition = UseRegister(o.Condition), branch = o.Uniform ? "bra.uni" : "bra", end = NewLabel("end");
        if (o.Otherwise is null)
        {
            Line($"@!{condition} {branch} {end};");
            Print(o.Then);
            Label(end);
            return;
        }

        string otherwise = NewLabel("else");
        Line($"@!{condition} {branch} {otherwise};");
        Print(o.Then);
        Line($"bra.uni {end};");
        Label(otherwise);
        Print(o.Otherwise);
        Label(end);
    }

    /// <summary>A rotated loop: the test once before and once at the end of each turn.</summary>
    void PrintLoop(Loop o)
    {
        string branch = o.Uniform ? "bra.uni" : "bra", top = NewLabel("loop"), end = NewLabel("done");
        Print(o.Test);
        Line($"@!{UseRegister(o.Condition)} {branch} {end};");
        Label(top);
        Print(o.Body);
        Print(o.Test);
        Line($"@{UseRegister(o.Condition)} {branch} {top};");
        Label(end);
    }

    void PrintRoleSwitch(RoleSwitch o)
    {
        string end = NewLabel("roles_end");
        string warpgroup = UseRegister(o.Warpgroup);
        int launched = LaunchedRegisters();
        for (int i = 0; i < o.Roles.Count; i++)
        {
            Role role = o.Roles[i];
            string next = NewLabel("role");
            bool last = i == o.Roles.Count - 1;
            if (!last)
            {
                string mine = New(ScalarType.Predicate);
                Line($"setp.lt.u32 {mine}, {warpgroup}, {role.FirstWarpgroup + role.Warpgroups};");
                Line($"@!{mine} bra.uni {next};");
            }

            if (role.Registers > 0) Line($"setmaxnreg.{(role.Registers > launched ? "inc" : "dec")}.sync.aligned.u32 {role.Registers};");
            Print(role.Body);
            if (last) break;
            Line($"bra.uni {end};");
            Label(next);
        }

        Label(end);
    }

    /// <summary>Registers per thread that ptxas gives a block of this size when as many as declared share a multiprocessor.</summary>
    int LaunchedRegisters() => Math.Min(255, 65536 / (_kernel.ThreadsPerBlock * _kernel.BlocksPerMultiprocessor) / 8 * 8);
}
