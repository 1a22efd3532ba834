using Hadal.Kernels.Dsl;
using Hadal.Kernels.Interpreter;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Launch;
using Hadal.Kernels.Library.Cases;
using Hadal.Kernels.Library.Ladder;

namespace Hadal.Kernels.Tests;

/// <summary>Every hazard that the interpreter reports: a kernel that has it, found under every order of events tried, and one that has not.</summary>
public sealed class HazardTests
{
    static readonly ulong[] Seeds = [1, 2, 3, 4, 5];

    [Fact]
    public void The_specimen_without_fault_runs()
    {
        foreach (ulong seed in Seeds) Assert.Equal(Specimen.Expected(), new Specimen(Fault.None).Run(seed));
    }

    [Theory]
    [InlineData(Fault.ReleaseUnderProduct, HazardKind.Race)]
    [InlineData(Fault.ReadUnderProduct, HazardKind.UnfinishedRead)]
    [InlineData(Fault.ReadWithoutWait, HazardKind.UnfinishedRead, HazardKind.UninitializedRead)]
    [InlineData(Fault.ProductLeftBehind, HazardKind.LeftBehind)]
    [InlineData(Fault.LoadMissing, HazardKind.WrongByteCount)]
    [InlineData(Fault.ProducerStopsEarly, HazardKind.Deadlock)]
    [InlineData(Fault.ConsumerStopsEarly, HazardKind.LeftBehind)]
    [InlineData(Fault.NeverReleased, HazardKind.Deadlock)]
    [InlineData(Fault.WrongConsumerWarps, HazardKind.Deadlock)]
    [InlineData(Fault.NoProxyFence, HazardKind.MissingProxyFence)]
    [InlineData(Fault.FenceByOneThread, HazardKind.MissingProxyFence)]
    [InlineData(Fault.NoSync, HazardKind.Race, HazardKind.UninitializedRead)]
    public void Faults_of_the_specimen_are_found(Fault fault, params HazardKind[] kinds)
    {
        var specimen = new Specimen(fault);
        foreach (ulong seed in Seeds) Assert.Contains(Assert.Throws<KernelHazardException>(() => specimen.Run(seed)).Kind, kinds);
    }

    [Fact]
    public void A_deadlock_says_who_waits_for_what()
    {
        var specimen = new Specimen(Fault.WrongConsumerWarps);
        string message = Assert.Throws<KernelHazardException>(() => specimen.Run(1)).Message;
        Assert.StartsWith("kernel specimen: nothing can go on.", message, StringComparison.Ordinal);
        Assert.Contains($"waits at Specimen.cs:{specimen.AcquireLine} (barrier_wait): ring.empty[0] phase 0: 4 of 5 arrivals, no bytes due (set up at Specimen.cs:{specimen.Line}", message, StringComparison.Ordinal);
        Assert.Contains("block 0 warp 4 waits", message, StringComparison.Ordinal);
        Assert.Contains("block 0 warp 0 waits", message, StringComparison.Ordinal);
    }

    [Fact]
    public void Waiting_in_a_loop_for_what_never_comes_is_found()
    {
        Kernel Make(bool signal) => KernelBuilder.Define("k", 32, k =>
        {
            U64 p = k.Pointer("p", ElementType.F32);
            if (signal) k.Store(p, k.Constant(1));
            k.While(() => k.Load<U32>(p).Is(0), () => { });
        });
        var memory = new SimulatedMemory();
        LaunchArgument argument = memory.Upload<uint>([0u]);
        var found = Assert.Throws<KernelHazardException>(() => KernelInterpreter.Run(Make(signal: false), 1, memory, [argument], new InterpreterOptions { MaximumOperations = 10_000 }));
        Assert.Equal(HazardKind.Deadlock, found.Kind);
        Assert.Contains("after 10000 operations", found.Message, StringComparison.Ordinal);
        Fine(Make(signal: true), 4);
    }

    [Fact]
    public void A_wrong_byte_count_says_what_is_missing()
    {
        var specimen = new Specimen(Fault.LoadMissing);
        Assert.Contains("ring.full[0] phase 0: 1 of 1 arrivals, 1024 announced bytes missing", Assert.Throws<KernelHazardException>(() => specimen.Run(1)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(typeof(WgmmaFence), HazardKind.MissingWgmmaFence)]
    [InlineData(typeof(FenceBarrierInitialize), HazardKind.BarrierNotReady)]
    [InlineData(typeof(NamedBarrier), HazardKind.BarrierNotReady, HazardKind.Race)]
    public void What_the_language_always_emits_is_needed(Type dropped, params HazardKind[] kinds)
    {
        var specimen = new Specimen(Fault.None);
        specimen.Change(o => o.GetType() == dropped ? [] : [o]);
        foreach (ulong seed in Seeds) Assert.Contains(Assert.Throws<KernelHazardException>(() => specimen.Run(seed)).Kind, kinds);
    }

    [Fact]
    public void A_stage_announced_twice_has_too_many_arrivals()
    {
        var specimen = new Specimen(Fault.None);
        specimen.Change(o => o is BarrierExpect ? [o, o] : [o]);
        foreach (ulong seed in Seeds)
        {
            var found = Assert.Throws<KernelHazardException>(() => specimen.Run(seed));
            Assert.Equal(HazardKind.TooManyArrivals, found.Kind);
            Assert.Contains("arrives at ring.full[0], which has had its arrivals", found.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_slot_overwritten_while_others_read_it_is_a_race()
    {
        // Too few arrivals asked for: the producer fills a stage that some warps still read.
        var specimen = new Specimen(Fault.None);
        specimen.Change(o => o is BarrierInitialize { Count: 4 } b ? [b with { Count = 1 }] : [o]);
        foreach (ulong seed in Seeds) Assert.Contains(Assert.Throws<KernelHazardException>(() => specimen.Run(seed)).Kind, (HazardKind[])[HazardKind.Race, HazardKind.UnfinishedRead, HazardKind.Deadlock]);
    }

    [Fact]
    public void Warps_that_share_memory_meet()
    {
        Kernel Make(bool meet) => KernelBuilder.Define("k", 64, k =>
        {
            U64 p = k.Pointer("p", ElementType.F32);
            U32 shared = k.Address(k.Shared("s", 256));
            k.StoreShared(shared + (k.ThreadIndex << 2), k.ThreadIndex);
            if (meet) k.Sync();
            k.Store(p.At(k.ThreadIndex, 4), k.LoadShared<U32>(shared + ((k.ThreadIndex ^ 32) << 2)));
        });
        Hazard(Make(meet: false), 256, HazardKind.Race, HazardKind.UninitializedRead);
        Assert.Equal(Enumerable.Range(0, 64).Select(i => (uint)i ^ 32), Fine(Make(meet: true), 256));
    }

    [Fact]
    public void Lanes_that_share_memory_meet()
    {
        Kernel Make(bool meet) => KernelBuilder.Define("k", 32, k =>
        {
            U64 p = k.Pointer("p", ElementType.F32);
            U32 shared = k.Address(k.Shared("s", 128));
            k.StoreShared(shared + (k.Lane << 2), k.Lane);
            if (meet) k.WarpSync();
            k.Store(p.At(k.Lane, 4), k.LoadShared<U32>(shared + ((k.Lane ^ 1) << 2)));
        });
        Hazard(Make(meet: false), 128, HazardKind.Race);
        Assert.Equal(Enumerable.Range(0, 32).Select(i => (uint)i ^ 1), Fine(Make(meet: true), 128));
    }

    [Fact]
    public void Lanes_meet_before_they_overwrite_what_others_read()
    {
        Kernel Make(bool meet) => KernelBuilder.Define("k", 32, k =>
        {
            U64 p = k.Pointer("p", ElementType.F32);
            U32 shared = k.Address(k.Shared("s", 128));
            k.StoreShared(shared + (k.Lane << 2), k.Lane);
            k.WarpSync();
            U32 first = k.LoadShared<U32>(shared);
            if (meet) k.WarpSync();
            k.StoreShared(shared + (k.Lane << 2), first + k.Lane);
            k.Store(p.At(k.Lane, 4), k.LoadShared<U32>(shared + (k.Lane << 2)));
        });
        Hazard(Make(meet: false), 128, HazardKind.Race);
        Assert.Equal(Enumerable.Range(0, 32).Select(i => (uint)i), Fine(Make(meet: true), 128));
    }

    [Fact]
    public void A_lane_that_does_not_load_has_no_result()
    {
        Kernel Make(bool select) => KernelBuilder.Define("k", 32, k =>
        {
            U64 p = k.Pointer("p", ElementType.F32);
            Predicate inside = k.Lane < 3;
            F32 v = k.Load<F32>(p.At(k.Lane, 4), where: inside);
            k.Store(p.At(k.Lane, 4), select ? inside.Select(v, k.Constant(0f)) : v);
        });
        Assert.True(float.IsNaN(BitConverter.UInt32BitsToSingle(Fine(Make(select: false), 128)[3])));
        Assert.All(Fine(Make(select: true), 128), v => Assert.Equal(0u, v));
    }

    [Fact]
    public void A_kernel_refuses_what_it_cannot_work_on()
    {
        Kernel Make(int allowed) => KernelBuilder.Define("k", 32, k =>
        {
            U64 p = k.Pointer("p", ElementType.F32);
            k.Refuse(k.Load<U32>(p).IsNot(allowed), "a zero");
            k.Store(p, k.Constant(1));
        });
        var memory = new SimulatedMemory();
        LaunchArgument argument = memory.Upload<uint>([0u]);
        var found = Assert.Throws<KernelHazardException>(() => KernelInterpreter.Run(Make(allowed: 7), 1, memory, [argument]));
        Assert.Equal(HazardKind.Refused, found.Kind);
        Assert.Contains("it refuses its arguments: a zero", found.Message, StringComparison.Ordinal);
        Fine(Make(allowed: 0), 4);
        Assert.Contains("trap;", Ptx.PtxPrinter.Print(Make(allowed: 0)), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1f, -2f, 1f)]
    [InlineData(float.NaN, 2f, float.NaN)]
    [InlineData(2f, float.NaN, float.NaN)]
    [InlineData(3f, float.PositiveInfinity, float.PositiveInfinity)]
    public void A_maximum_may_keep_what_is_no_number(float left, float right, float largest)
    {
        Kernel kernel = KernelBuilder.Define("k", 32, k =>
        {
            U64 p = k.Pointer("p", ElementType.F32);
            F32[] two = k.LoadVector<F32>(2, p);
            k.If(k.Lane.Is(0), () => k.Store<F32>(p, [two[0].MaximumOrNaN(two[1]), two[0].Maximum(two[1])], 8));
        });
        var memory = new SimulatedMemory();
        ulong address = memory.Upload<float>([left, right, 0, 0]);
        KernelInterpreter.Run(kernel, 1, memory, [(LaunchArgument)address]);
        float[] after = memory.Download<float>(address, 4);
        Assert.Equal(largest, after[2]);
        Assert.False(float.IsNaN(after[3]));
        Assert.Contains("max.NaN.f32", Ptx.PtxPrinter.Print(kernel), StringComparison.Ordinal);
    }

    [Fact]
    public void Shared_memory_starts_unwritten()
    {
        Kernel Make(bool write) => KernelBuilder.Define("k", 32, k =>
        {
            U64 p = k.Pointer("p", ElementType.F32);
            U32 shared = k.Address(k.Shared("s", 128)) + (k.Lane << 2);
            if (write) k.StoreShared(shared, k.Lane);
            k.Store(p.At(k.Lane, 4), k.LoadShared<U32>(shared));
        });
        Hazard(Make(write: false), 128, HazardKind.UninitializedRead);
        Fine(Make(write: true), 128);
    }

    [Fact]
    public void Accesses_stay_inside_an_allocation()
    {
        Kernel kernel = KernelBuilder.Define("k", 32, k => k.Store(k.Pointer("p", ElementType.F32).At(k.Lane, 4), k.Lane));
        Hazard(kernel, 124, HazardKind.OutOfBounds);
        Fine(kernel, 128);
    }

    [Fact]
    public void Shared_accesses_stay_inside_the_block()
    {
        Kernel Make(int shift) => KernelBuilder.Define("k", 32, k =>
        {
            U64 p = k.Pointer("p", ElementType.F32);
            k.StoreShared(k.Address(k.Shared("s", 128)) + (k.Lane << shift), k.Lane);
            k.Store(p.At(k.Lane, 4), k.Lane);
        });
        Hazard(Make(3), 128, HazardKind.OutOfBounds);
        Fine(Make(2), 128);
    }

    [Fact]
    public void Addresses_are_aligned_at_run_time_too()
    {
        // The verifier trusts words that it cannot know.
        Kernel kernel = KernelBuilder.Define("k", 32, k =>
        {
            U64 p = k.Pointer("p", ElementType.F32);
            k.Store<U32>(p + k.Load<U32>(p).Wide(), [k.Lane, k.Lane]);
        });
        Hazard(kernel, [4], HazardKind.Misaligned);
        Fine(kernel, [8, 0, 0, 0]);
    }

    [Fact]
    public void Lanes_agree_where_they_promised_to()
    {
        // Loaded words may differ between lanes: only a run shows it.
        Kernel kernel = KernelBuilder.Define("k", 32, k =>
        {
            U64 p = k.Pointer("p", ElementType.F32);
            U32 word = k.LoadShared<U32>(Fill(k));
            k.If(word.Is(3), () => k.Store(p, word), uniform: true);
        });
        Hazard(kernel, 4, HazardKind.Divergence);

        static U32 Fill(KernelScope k)
        {
            U32 at = k.Address(k.Shared("s", 128)) + (k.Lane << 2);
            k.StoreShared(at, k.Lane);
            return at;
        }
    }

    [Fact]
    public void Collective_operations_have_all_lanes()
    {
        Kernel Make(int lanes) => KernelBuilder.Define("k", 32, k =>
        {
            U64 p = k.Pointer("p", ElementType.F32);
            k.If(k.Lane < lanes, () => k.Store(p.At(k.Lane, 4), k.ShuffleButterfly(k.Lane, 1)));
        });
        Hazard(Make(16), 128, HazardKind.Divergence);
        Fine(Make(32), 128);
    }

    /// <summary>Mutation: without any one of the operations that order others, the run has a hazard. (Warp syncs after a divergent branch only bring the lanes together.)</summary>
    [Theory]
    [InlineData(3, 3)]
    [InlineData(5, 2)]
    [InlineData(6, 2)]
    [InlineData(7, 6)]
    [InlineData(8, 9)]
    [InlineData(10, 9)]
    public void No_ordering_operation_of_the_ladder_is_idle(int number, int operations) => Mutate(number, operations, 0);

    /// <summary>The rest, slower. Rung 9 fills its first stages ahead of the loop: those waits for a free stage wait for nothing.</summary>
    [Theory]
    [Trait("tier", "full")]
    [InlineData(9, 15, 3)]
    [InlineData(11, 9, 0)]
    [InlineData(12, 9, 0)]
    public void No_ordering_operation_of_the_upper_rungs_is_idle(int number, int operations, int firstFillings) => Mutate(number, operations, firstFillings);

    /// <summary>
    /// Clusters (a barrier of both blocks before the first copy; producers that stay until their peers have signalled) and tiles that leave through the copy engine (commit, wait until shared memory was read, wait until all is
    /// written): without any one of their operations that order others, some order of events has a hazard.
    /// </summary>
    [Theory]
    [InlineData(typeof(ClusterSync), 1)]
    [InlineData(typeof(BarrierArrive), 1)]
    [InlineData(typeof(BarrierWait), 3)]
    public void No_meeting_of_the_clusters_of_a_product_is_idle(Type kind, int least) => MutateFamily("fp8_gemm_100x72x272_UnevenScales_wg1w1n32s2c2g16late", kind, least);

    [Theory]
    [InlineData(typeof(BulkCommit), 1)]
    [InlineData(typeof(BulkWait), 2)]
    [InlineData(typeof(FenceProxyAsync), 1)]
    public void No_order_of_a_gradients_tensor_stores_is_idle(Type kind, int least) => MutateFamily("fp8_gradient 150x76x400 Normal 1x1x64x32_s2_c1_g16_a0_late_tma", kind, least);

    /// <summary>Takes out every operation of a kind, all of one C# line at a time: a late epilogue records its line several times, and a path of it may not be taken.</summary>
    static void MutateFamily(string name, Type kind, int least)
    {
        KernelCase launch = KernelCases.Conformance().Single(c => string.Equals(c.Name, name, StringComparison.Ordinal));
        Kernel kernel = launch.Build();
        Assert.False(Fails(launch, kernel, 1));
        string[] lines = [.. kernel.AllOperations().Where(o => o.GetType() == kind).Select(o => o.Source.ToString()).Distinct(StringComparer.Ordinal)];
        Assert.True(lines.Length >= least, $"{kernel.Name} has {kind.Name} on {lines.Length} lines.");
        foreach (string line in lines)
        {
            Kernel mutant = Specimen.Edit(kernel, o => o.GetType() == kind && string.Equals(o.Source.ToString(), line, StringComparison.Ordinal) ? [] : [o]);
            Assert.True(Seeds.Any(seed => Fails(launch, mutant, seed)), $"{kernel.Name}: nothing is found without {kind.Name} of {line}.");
        }
    }

    static void Mutate(int number, int operations, int firstFillings)
    {
        LadderRung rung = LadderRung.All[number - 1];
        KernelCase launch = rung.Case("mutated", rung.IsVector ? new MatrixShape(5003) : new MatrixShape(140, 260, 320), 3);
        Kernel kernel = launch.Build();
        Operation[] ordering = [.. kernel.AllOperations().Where(o => o is NamedBarrier or FenceProxyAsync or WgmmaFence or WgmmaCommit or WgmmaWait or FenceBarrierInitialize or BarrierWait or BarrierArrive or BarrierExpect)];
        Assert.Equal(operations, ordering.Length);
        Operation[] idle = [.. ordering.Where(dropped => !Seeds.Any(seed => Fails(launch, Specimen.Edit(kernel, o => ReferenceEquals(o, dropped) ? [] : [o]), seed)))];
        Assert.True(idle.Length == firstFillings && idle.All(o => o is BarrierWait), $"{rung}: nothing is found without {string.Join(", ", idle.Select(o => $"'{o.Mnemonic}' of {o.Source}"))}.");
    }

    static bool Fails(KernelCase launch, Kernel mutant, ulong seed)
    {
        var memory = new SimulatedMemory();
        ulong[] addresses = [.. launch.Buffers.Select(b => b.Content is { } content ? memory.Upload<byte>(content()) : memory.Allocate(b.Bytes))];
        try
        {
            KernelInterpreter.Run(mutant, launch.Blocks(2), memory, launch.Resolve(addresses), new InterpreterOptions { Seed = seed, Verify = false });
            return false;
        }
        catch (KernelHazardException)
        {
            return true;
        }
    }

    static void Hazard(Kernel kernel, int bytes, params HazardKind[] kinds) => Hazard(kernel, new uint[bytes / 4], kinds);

    static void Hazard(Kernel kernel, uint[] data, params HazardKind[] kinds)
    {
        foreach (ulong seed in Seeds)
        {
            var memory = new SimulatedMemory();
            LaunchArgument argument = memory.Upload<uint>(data);
            Assert.Contains(Assert.Throws<KernelHazardException>(() => KernelInterpreter.Run(kernel, 1, memory, [argument], new InterpreterOptions { Seed = seed, Verify = false })).Kind, kinds);
        }
    }

    static uint[] Fine(Kernel kernel, int bytes) => Fine(kernel, new uint[bytes / 4]);

    static uint[] Fine(Kernel kernel, uint[] data)
    {
        uint[] result = [];
        foreach (ulong seed in Seeds)
        {
            var memory = new SimulatedMemory();
            ulong address = memory.Upload<uint>(data);
            KernelInterpreter.Run(kernel, 1, memory, [address], new InterpreterOptions { Seed = seed, Verify = false });
            result = memory.Download<uint>(address, data.Length);
        }

        return result;
    }
}
