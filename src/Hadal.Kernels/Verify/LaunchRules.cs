using System.Numerics;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Verify;

/// <summary>What a launch needs: threads, cluster, shared memory, tensor maps, registers of roles.</summary>
static class LaunchRules
{
    const int RegistersOfMultiprocessor = 65536, SharedBytesOfMultiprocessor = 233472, ReservedSharedBytes = 1024;

    public static void Check(Kernel kernel, Findings findings)
    {
        if (kernel.ThreadsPerBlock is < 32 or > 1024 || kernel.ThreadsPerBlock % 32 != 0)
            findings.Add(VerifierRule.Launch, kernel.Source, $"a block has {kernel.ThreadsPerBlock} threads, expected a multiple of 32 up to 1024", "choose whole warps");
        if (kernel.BlocksPerMultiprocessor is < 1 or > 32)
        {
            findings.Add(VerifierRule.Launch, kernel.Source, $"{kernel.BlocksPerMultiprocessor} blocks are to share a multiprocessor, expected 1 to 32", "choose one of them");
            return;
        }

        if (kernel.ClusterSize is not (1 or 2))
            findings.Add(VerifierRule.Launch, kernel.Source, $"a cluster has {kernel.ClusterSize} blocks, expected 1 or 2", "choose one of them");
        SharedMemory(kernel, findings);
        foreach (KernelParameter parameter in kernel.Parameters)
            if (parameter is TensorMapParameter map) TensorMap(map, findings);
        foreach (Operation operation in kernel.Body.Operations)
            if (operation is RoleSwitch roles) Roles(kernel, roles, findings);
        if (!kernel.Body.Operations.Any(o => o is RoleSwitch)) Accumulators("the kernel", kernel.Body, LaunchedRegisters(kernel), kernel.Source, findings);
    }

    /// <summary>Registers a thread has at launch.</summary>
    public static int LaunchedRegisters(Kernel kernel) => Math.Min(256, RegistersOfMultiprocessor / (kernel.ThreadsPerBlock * kernel.BlocksPerMultiprocessor) / 8 * 8);

    static void SharedMemory(Kernel kernel, Findings findings)
    {
        int end = 0;
        foreach (SharedRegion region in kernel.SharedRegions)
        {
            if (!BitOperations.IsPow2(region.Alignment) || region.Alignment > 1024)
                findings.Add(VerifierRule.SharedMemory, region.Source, $"region '{region.Name}' asks for an alignment of {region.Alignment} bytes, expected a power of two up to 1024", "choose one");
            else if (region.ByteOffset % region.Alignment != 0)
                findings.Add(VerifierRule.SharedMemory, region.Source, $"region '{region.Name}' lies at byte {region.ByteOffset}, expected a multiple of {region.Alignment}", "reserve it through Shared, which aligns");
            if (region.ByteOffset < end)
                findings.Add(VerifierRule.SharedMemory, region.Source, $"region '{region.Name}' begins at byte {region.ByteOffset}, inside the region before it, which ends at {end}", "reserve it through Shared, which places it");
            end = Math.Max(end, region.ByteOffset + region.Bytes);
            if (end > Kernel.MaximumSharedBytes)
                findings.Add(VerifierRule.SharedMemory, region.Source, $"with region '{region.Name}' of {region.Bytes} bytes the block needs {end} bytes of shared memory, {Kernel.MaximumSharedBytes} exist", "use fewer stages or a smaller tile");
        }

        if (kernel.BlocksPerMultiprocessor > 1 && kernel.BlocksPerMultiprocessor * (end + ReservedSharedBytes) > SharedBytesOfMultiprocessor)
            findings.Add(VerifierRule.SharedMemory, kernel.Source, $"{kernel.BlocksPerMultiprocessor} blocks of {end} bytes of shared memory (and {ReservedSharedBytes} reserved each) are to share a multiprocessor, which has {SharedBytesOfMultiprocessor}", "use fewer stages, a smaller tile or fewer blocks");
        if (kernel.SharedBytes < end)
            findings.Add(VerifierRule.SharedMemory, kernel.Source, $"the kernel declares {kernel.SharedBytes} bytes of shared memory, its regions end at {end}", "declare what the regions need");
    }

    static void TensorMap(TensorMapParameter map, Findings findings)
    {
        int rowBytes = map.BoxColumns * Names.BytesOf(map.Element);
        if (map.BoxRows is < 1 or > 256 || map.BoxColumns is < 1 or > 256)
            findings.Add(VerifierRule.TensorMap, map.Source, $"map '{map.Name}' has a box of {map.BoxRows}×{map.BoxColumns} elements, expected 1 to 256 each way", "bring the tile in several boxes");
        if (rowBytes % 16 != 0)
            findings.Add(VerifierRule.TensorMap, map.Source, $"map '{map.Name}' has box rows of {rowBytes} bytes, expected a multiple of 16", "widen the box");
        if (map.Swizzle == Swizzle.Bytes128 && rowBytes != 128)
            findings.Add(VerifierRule.TensorMap, map.Source, $"map '{map.Name}' swizzles by 128 bytes box rows of {rowBytes} bytes, expected 128", $"make the box {128 / Names.BytesOf(map.Element)} columns wide, or drop the swizzle");
    }

    static void Roles(Kernel kernel, RoleSwitch roles, Findings findings)
    {
        int next = 0, registers = 0, launched = LaunchedRegisters(kernel);
        bool some = roles.Roles.Any(r => r.Registers > 0);
        foreach (Role role in roles.Roles)
        {
            if (role.FirstWarpgroup != next || role.Warpgroups < 1)
                findings.Add(VerifierRule.Registers, role.Source, $"role '{role.Name}' has {role.Warpgroups} warpgroups from {role.FirstWarpgroup}, expected at least one from {next}", "declare roles one after the other");
            next = role.FirstWarpgroup + role.Warpgroups;
            if (some && (role.Registers is < 24 or > 256 || role.Registers % 8 != 0))
                findings.Add(VerifierRule.Registers, role.Source, $"role '{role.Name}' asks for {role.Registers} registers a thread, expected a multiple of 8 from 24 to 256", "give every role such a number, or none");
            registers += role.Warpgroups * (some ? role.Registers : launched);
            Accumulators($"role '{role.Name}'", role.Body, some ? role.Registers : launched, role.Source, findings);
        }

        if (128 * next != kernel.ThreadsPerBlock)
            findings.Add(VerifierRule.Registers, roles.Roles[^1].Source, $"roles take {128 * next} threads, the block has {kernel.ThreadsPerBlock}", "let the roles' warpgroups be the block's");
        if (128 * registers > launched * kernel.ThreadsPerBlock)
            findings.Add(VerifierRule.Registers, roles.Roles[^1].Source, $"roles ask for {128 * registers} registers ({string.Join(" + ", roles.Roles.Select(r => $"{128 * r.Warpgroups}·{r.Registers}"))}), the block has {launched * kernel.ThreadsPerBlock} ({kernel.ThreadsPerBlock}·{launched})", "lower a budget");
    }

    static void Accumulators(string who, Block body, int registers, SourceLine source, Findings findings)
    {
        int needed = 0;
        var seen = new HashSet<int>();
        foreach (Operation operation in Kernel.Walk(body))
            foreach (FragmentRegisters fragment in FlowRules.FragmentsOf(operation))
                if (seen.Add(fragment.Id)) needed += fragment.RegistersPerThread;
        if (needed >= registers)
            findings.Add(VerifierRule.Registers, source, $"the fragments of {who} take {needed} registers a thread of {registers}", "make the tile smaller or raise the budget");
    }
}
