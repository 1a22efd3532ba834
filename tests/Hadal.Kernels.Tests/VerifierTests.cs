using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Library.Cases;
using Hadal.Kernels.Ptx;
using Hadal.Kernels.Verify;

namespace Hadal.Kernels.Tests;

/// <summary>Every rule of the verifier: a kernel that breaks it, with the message it gives, and one that does not.</summary>
public sealed class VerifierTests
{
    [Fact]
    public void Kernels_of_the_library_verify()
    {
        // Many cases share a kernel.
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (Kernel kernel in KernelCases.DeviceConformance().Concat(KernelCases.Benchmarks()).Select(c => c.Build()))
            if (!seen.Contains(kernel.Name) || kernel.Name.StartsWith("ladder", StringComparison.Ordinal))
            {
                seen.Add(kernel.Name);
                Assert.True(KernelVerifier.Verify(kernel).Count == 0, $"{kernel.Name}: {string.Join(" ", KernelVerifier.Verify(kernel))}");
            }

        Assert.True(seen.Count > 50);
    }

    [Fact]
    public void The_specimen_without_fault_verifies() => Assert.Empty(KernelVerifier.Verify(new Specimen(Fault.None).Kernel));

    [Fact]
    public void Printing_and_interpreting_verify_first()
    {
        Kernel kernel = new Specimen(Fault.ReleaseUnderProduct).Kernel;
        var refused = Assert.Throws<KernelVerificationException>(() => PtxPrinter.Print(kernel));
        Assert.Equal(VerifierRule.SlotReleased, Assert.Single(refused.Findings).Rule);
        Assert.StartsWith("Kernel specimen does not verify:\n  Specimen.cs:", refused.Message, StringComparison.Ordinal);
        Assert.Throws<KernelVerificationException>(() => Interpreter.KernelInterpreter.Run(kernel, 1, new Interpreter.SimulatedMemory(), []));
        Assert.NotEmpty(PtxPrinter.Print(kernel, verify: false));
    }

    [Theory]
    [InlineData(Fault.ReleaseUnderProduct, VerifierRule.SlotReleased, "a ring slot is given back while the product of Specimen.cs:*P may still read it; wait for the product first.")]
    [InlineData(Fault.ReadUnderProduct, VerifierRule.UnwaitedProduct, "'fill_fragment' uses #sum.0[64x8] while the product of Specimen.cs:*P may still add to it; wait for the product first.")]
    [InlineData(Fault.ProductLeftBehind, VerifierRule.UnwaitedProduct, "role 'consumer' ends while this product may be in flight; wait for every product.")]
    [InlineData(Fault.LoadMissing, VerifierRule.ByteCount, "a stage of ring 'ring' announces 9216 bytes, its 1 copies bring 8192; load every operand of the ring once a stage.")]
    [InlineData(Fault.ProducerStopsEarly, VerifierRule.Turns, "ring 'ring' is filled 2 times and given back 3 times; let both sides make the same number of turns.")]
    [InlineData(Fault.ConsumerStopsEarly, VerifierRule.Turns, "ring 'ring' is filled 3 times and given back 2 times; let both sides make the same number of turns.")]
    [InlineData(Fault.NeverReleased, VerifierRule.Turns, "ring 'ring' of 2 stages is filled 3 times and no stage is given back; dispose or release its slots.")]
    [InlineData(Fault.WrongConsumerWarps, VerifierRule.Arrivals, "ring 'ring' waits for 5 arrivals before it fills a stage again, 4 warps give stages back; make it with 4 consumer warps.")]
    [InlineData(Fault.NoProxyFence, VerifierRule.ProxyFence, "'tensor_store' reads region 'result' through the asynchronous proxy, and the stores of Specimen.cs:*S were not fenced for it by the threads that made them; call FenceProxyAsync after the stores, before the threads meet.")]
    [InlineData(Fault.FenceByOneThread, VerifierRule.ProxyFence, "'tensor_store' reads region 'result' through the asynchronous proxy, and the stores of Specimen.cs:*S were not fenced for it by the threads that made them; call FenceProxyAsync after the stores, before the threads meet.")]
    public void Faults_of_the_specimen_are_found(Fault fault, VerifierRule rule, string message)
    {
        var specimen = new Specimen(fault);
        VerifierFinding finding = Assert.Single(KernelVerifier.Verify(specimen.Kernel));
        Assert.Equal(rule, finding.Rule);
        string expected = $"Specimen.cs:{specimen.Line}: {message}".Replace("*P", $"{specimen.ProductLine}", StringComparison.Ordinal).Replace("*S", $"{specimen.StoreLine}", StringComparison.Ordinal);
        Assert.Equal(expected, finding.ToString());
    }

    [Fact]
    public void Every_operation_has_its_rules()
    {
        string source = Path.Combine(GoldenTests.Root(), "src", "Hadal.Kernels");
        string Text(string folder, string pattern) => string.Concat(Directory.EnumerateFiles(Path.Combine(source, folder), pattern).Select(File.ReadAllText));
        string verifier = Text("Verify", "TypeRules.cs"), printer = Text("Ptx", "*.cs"), interpreter = Text("Interpreter", "*.cs");
        Type[] operations = [.. typeof(Operation).Assembly.GetTypes().Where(t => t.IsSubclassOf(typeof(Operation)))];
        Assert.True(operations.Length > 40);
        foreach (Type operation in operations)
            foreach ((string where, string text) in new[] { ("verifier", verifier), ("printer", printer), ("interpreter", interpreter) })
                Assert.True(System.Text.RegularExpressions.Regex.IsMatch(text, $@"\b{operation.Name}\b"), $"The {where} has no rule for {operation.Name}.");
    }

    [Fact]
    public void A_block_has_whole_warps()
    {
        int line = Specimen.Here(); Kernel kernel = KernelBuilder.Define("k", 100, k => { });
        Found(kernel, VerifierRule.Launch, line, "a block has 100 threads, expected a multiple of 32 up to 1024; choose whole warps.");
        Clean(KernelBuilder.Define("k", 96, k => { }));
    }

    [Fact]
    public void A_variable_is_written_before_it_is_read()
    {
        int line = 0;
        Kernel Make(bool write) => KernelBuilder.Define("k", 32, k =>
        {
            Register<U32> x = k.Register<U32>("x");
            if (write) x.Value = k.Constant(3);
            line = Specimen.Here(); k.Sync();
            U32 y = x.Value + 1;
            k.Store(k.Pointer("p", ElementType.F32), y);
        });
        Found(Make(write: false), VerifierRule.Definition, line, "variable 'x' is read where nothing has written it; give it a value first.");
        Clean(Make(write: true));
    }

    [Fact]
    public void A_value_lives_in_its_block()
    {
        int line = 0;
        Kernel Make(bool inside) => KernelBuilder.Define("k", 32, k =>
        {
            U64 p = k.Pointer("p", ElementType.F32);
            U32 kept = k.Constant(1);
            k.If(k.Lane < 3, () =>
            {
                U32 made = k.Lane + 5;
                if (inside) kept = made;
            });
            line = Specimen.Here(); k.Store(p, kept);
        });
        Kernel wrong = Make(inside: true);
        var store = (StoreGlobal)wrong.Body.Operations[^1];
        Found(wrong, VerifierRule.Definition, line, $"'store_global' uses {store.Stored[0]}, which is not defined before it in a block around it; define it outside, or carry it in a register.");
        Clean(Make(inside: false));
    }

    [Fact]
    public void Operands_have_their_types()
    {
        int line = 0;
        Kernel good = KernelBuilder.Define("k", 32, k =>
        {
            U64 p = k.Pointer("p", ElementType.F32);
            line = Specimen.Here(); k.Store(p, k.Lane);
        });
        Value lane = ((StoreGlobal)good.Body.Operations[^1]).Stored[0];
        Found(Specimen.Edit(good, o => o is StoreGlobal store ? [store with { Address = lane }] : [o]), VerifierRule.Type, line, $"'store_global' is given {lane}, expected u64; give it what it takes.");
        Clean(good);
    }

    [Fact]
    public void Vectors_are_aligned()
    {
        int line = 0;
        Kernel Make(int bytesPerThread, int offset) => KernelBuilder.Define("k", 32, k =>
        {
            U64 p = k.Pointer("p", ElementType.F32), mine = p.At(k.ThreadIndex, bytesPerThread);
            line = Specimen.Here(); k.LoadVector<F32>(4, mine, offset);
        });
        Found(Make(4, 0), VerifierRule.Alignment, line, "'load_global' of 16 bytes has an address that is a multiple of 4 only, expected 16; align the address or move less at once.");
        Found(Make(16, 8), VerifierRule.Alignment, line, "'load_global' of 16 bytes has an address that is a multiple of 8 only, expected 16; align the address or move less at once.");
        Clean(Make(16, 32));
    }

    [Fact]
    public void Operands_of_wgmma_start_at_the_period_of_the_swizzle()
    {
        int line = 0;
        Kernel Make(int firstRow) => KernelBuilder.Define("k", 128, k =>
        {
            SharedRegion a = k.Shared("a", 72 * 128, 1024), b = k.Shared("b", 8 * 128, 1024);
            ConsumerScope c = k.AsConsumer();
            Accumulator sum = c.Accumulator(8, "sum");
            MatrixOperand left = c.Matrix(a, ElementType.BF16, k.Constant(firstRow)), right = c.Matrix(b, ElementType.BF16);
            line = Specimen.Here(); c.Multiply(sum, left, right).Wait();
        });
        Found(Make(4), VerifierRule.Alignment, line, "'wgmma' reads A from an address that is a multiple of 512 bytes only, expected 1024, the period of the swizzle; align the region, and step by multiples of 8 rows.");
        Clean(Make(8));
    }

    [Fact]
    public void The_swizzle_fits_the_box()
    {
        int line = 0;
        Kernel Make(int columns) => KernelBuilder.Define("k", 32, k => { line = Specimen.Here(); k.TensorMap("m", ElementType.BF16, 8, columns, Swizzle.Bytes128); });
        Found(Make(32), VerifierRule.TensorMap, line, "map 'm' swizzles by 128 bytes box rows of 64 bytes, expected 128; make the box 64 columns wide, or drop the swizzle.");
        Clean(Make(64));
    }

    [Fact]
    public void Boxes_have_at_most_256_rows()
    {
        int line = 0;
        Kernel Make(int rows) => KernelBuilder.Define("k", 32, k => { line = Specimen.Here(); k.TensorMap("m", ElementType.F32, rows, 4); });
        Found(Make(257), VerifierRule.TensorMap, line, "map 'm' has a box of 257×4 elements, expected 1 to 256 each way; bring the tile in several boxes.");
        Clean(Make(256));
    }

    [Fact]
    public void Shared_memory_has_a_limit()
    {
        int line = 0;
        Kernel Make(int bytes) => KernelBuilder.Define("k", 32, k =>
        {
            k.Shared("a", 200_000);
            line = Specimen.Here(); k.Shared("b", bytes);
        });
        Found(Make(32_464), VerifierRule.SharedMemory, line, "with region 'b' of 32464 bytes the block needs 232464 bytes of shared memory, 232448 exist; use fewer stages or a smaller tile.");
        Clean(Make(32_448));
    }

    [Fact]
    public void Blocks_that_share_a_multiprocessor_share_its_memory()
    {
        int line = Specimen.Here(); Kernel kernel = KernelBuilder.Define("k", 32, k => k.Shared("a", 115_728), blocksPerMultiprocessor: 2);
        Found(kernel, VerifierRule.SharedMemory, line, "2 blocks of 115728 bytes of shared memory (and 1024 reserved each) are to share a multiprocessor, which has 233472; use fewer stages, a smaller tile or fewer blocks.");
        Clean(KernelBuilder.Define("k", 32, k => k.Shared("a", 115_712), blocksPerMultiprocessor: 2));
    }

    [Fact]
    public void Accesses_stay_in_their_region()
    {
        int line = 0;
        Kernel Make(int offset) => KernelBuilder.Define("k", 32, k =>
        {
            SharedRegion a = k.Shared("a", 64);
            k.Shared("b", 64);
            line = Specimen.Here(); k.StoreShared(k.Address(a), k.Lane, offset);
        });
        Found(Make(64), VerifierRule.SharedMemory, line, "'store_shared' touches bytes 64 to 67 of region 'a', which has 64; reserve more or address less.");
        Clean(Make(60));
    }

    [Fact]
    public void Registers_of_roles_fit_the_block()
    {
        int line = 0;
        Kernel Make(int producer) => KernelBuilder.Define("k", 384, k =>
        {
            k.Consumers(2, 240, c => { });
            line = Specimen.Here(); k.Producer(producer, p => { });
        });
        Found(Make(32), VerifierRule.Registers, line, "roles ask for 65536 registers (256·240 + 128·32), the block has 64512 (384·168); lower a budget.");
        Found(Make(20), VerifierRule.Registers, line, "role 'producer' asks for 20 registers a thread, expected a multiple of 8 from 24 to 256; give every role such a number, or none.");
        Clean(Make(24));
    }

    [Fact]
    public void Fragments_fit_the_registers()
    {
        int line = 0;
        Kernel Make(int columns) => KernelBuilder.Define("k", 512, k =>
        {
            line = Specimen.Here(); k.Consumers(4, 128, c => c.Fragment(columns, "sum").Fill(c.Constant(0f)));
        });
        Found(Make(256), VerifierRule.Registers, line, "the fragments of role 'consumer' take 128 registers a thread of 128; make the tile smaller or raise the budget.");
        Clean(Make(128));
    }

    [Fact]
    public void Barriers_are_set_up_before_their_use()
    {
        Kernel good = new Specimen(Fault.None).Kernel;
        VerifierFinding unmet = Assert.Single(KernelVerifier.Verify(Specimen.Edit(good, o => o is NamedBarrier { Index: 0 } ? [] : [o])));
        Assert.Equal(VerifierRule.BarrierSetup, unmet.Rule);
        Assert.Contains("before the block has met; call Sync in between.", unmet.ToString(), StringComparison.Ordinal);
        VerifierFinding unfenced = Assert.Single(KernelVerifier.Verify(Specimen.Edit(good, o => o is FenceBarrierInitialize ? [] : [o])));
        Assert.Equal(VerifierRule.BarrierSetup, unfenced.Rule);
        Assert.Contains("lets copies signal a barrier whose set-up was not fenced for the asynchronous proxy; emit fence_barrier_initialize after the set-up.", unfenced.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Named_barriers_count_who_reaches_them()
    {
        int line = 0;
        Kernel Make(int threads) => KernelBuilder.Define("k", 384, k =>
        {
            k.Consumers(2, 0, c => { line = Specimen.Here(); c.Sync(1, threads); });
            k.Producer(0, p => { });
        });
        Found(Make(384), VerifierRule.Arrivals, line, "named barrier 1 counts 384 threads, 256 reach it; count those, or let the others arrive.");
        Clean(Make(256));
    }

    [Fact]
    public void Products_are_fenced_and_committed()
    {
        Kernel good = new Specimen(Fault.None).Kernel;
        VerifierFinding fence = Assert.Single(KernelVerifier.Verify(Specimen.Edit(good, o => o is WgmmaFence ? [] : [o])));
        Assert.Equal(VerifierRule.WgmmaFence, fence.Rule);
        Assert.EndsWith("a product starts into #sum.0[64x8], whose registers were accessed after the last wgmma fence; emit wgmma_fence before it.", fence.ToString(), StringComparison.Ordinal);
        Assert.Contains(KernelVerifier.Verify(Specimen.Edit(good, o => o is WgmmaCommit ? [] : [o])), f => f.Rule == VerifierRule.UnwaitedProduct && f.What.EndsWith("is in no committed group", StringComparison.Ordinal));
    }

    [Fact]
    public void Another_role_reads_fenced_stores_only()
    {
        int line = 0;
        Kernel Make(bool fence) => KernelBuilder.Define("k", 256, k =>
        {
            TensorMap map = k.TensorMap("m", ElementType.F32, 1, 32);
            SharedRegion row = k.Shared("row", 128, 128);
            k.Consumers(1, 0, c =>
            {
                c.StoreShared(c.Address(row) + (c.Lane << 2), c.Constant(1f));
                if (fence) c.FenceProxyAsync();
                c.Arrive(1, 256);
            });
            k.Producer(0, p =>
            {
                line = Specimen.Here(); p.Store(map, row, p.Constant(0), p.Constant(0));
            });
        });
        VerifierFinding finding = Assert.Single(KernelVerifier.Verify(Make(fence: false)), f => f.Rule == VerifierRule.ProxyFence);
        Assert.Equal($"VerifierTests.cs:{line}", finding.Source.ToString());
        Assert.DoesNotContain(KernelVerifier.Verify(Make(fence: true)), f => f.Rule == VerifierRule.ProxyFence);
    }

    [Fact]
    public void Collective_operations_are_where_their_lanes_are()
    {
        int line = 0;
        Kernel Make(Func<KernelScope, Predicate> condition, bool uniform) => KernelBuilder.Define("k", 128, k => k.If(condition(k), () =>
        {
            line = Specimen.Here(); k.WarpSync();
        }, uniform: uniform));
        Found(Make(k => k.Lane < 16, uniform: false), VerifierRule.Divergence, line, "'warp_sync' needs all 32 lanes of a warp, and is under a condition that may hold for some of them only; move it out, or make the condition the same for them and say uniform: true.");
        Clean(Make(k => k.Warp < 2, uniform: true));
    }

    [Fact]
    public void A_promise_of_uniformity_is_kept()
    {
        int line = 0;
        Kernel Make(Func<KernelScope, U32> number) => KernelBuilder.Define("k", 128, k =>
        {
            U32 n = number(k);
            Predicate condition = n < 16;
            line = Specimen.Here(); k.If(condition, () => k.WarpSync(), uniform: true);
        });
        Found(Make(k => k.Lane), VerifierRule.Divergence, line, "a branch is declared uniform and its condition differs between the lanes of a warp; drop the promise, or take the condition from one lane through Uniform.");
        Clean(Make(k => k.Uniform(k.Lane + 3)));
        Clean(Make(k => k.BlockIndex()));
    }

    [Fact]
    public void Products_need_their_warpgroup()
    {
        int line = 0;
        Kernel Make(Func<KernelScope, U32> number) => KernelBuilder.Define("k", 256, k =>
        {
            ConsumerScope c = k.AsConsumer();
            Accumulator sum = c.Accumulator(8, "sum");
            SharedRegion a = k.Shared("a", 64 * 128, 1024), b = k.Shared("b", 8 * 128, 1024);
            U32 n = number(k);
            k.If(n.Is(0), () => { line = Specimen.Here(); c.Multiply(sum, c.Matrix(a, ElementType.BF16), c.Matrix(b, ElementType.BF16)).Wait(); }, uniform: true);
        });
        Assert.All(KernelVerifier.Verify(Make(k => k.Warp & 1)), f =>
        {
            Assert.Equal(VerifierRule.Divergence, f.Rule);
            Assert.Contains("needs all four warps of a warpgroup", f.What, StringComparison.Ordinal);
            Assert.Equal(line, f.Source.Line);
        });
        Assert.NotEmpty(KernelVerifier.Verify(Make(k => k.Warp & 1)));
        Clean(Make(k => k.Warp >> 2));
    }

    [Fact]
    public void Copies_are_started_by_one_thread()
    {
        int line = 0;
        Kernel Make(bool alone) => KernelBuilder.Define("k", 32, k =>
        {
            TensorMap map = k.TensorMap("m", ElementType.F32, 1, 32);
            SharedRegion row = k.Shared("row", 128, 128);
            k.StoreShared(k.Address(row) + (k.Lane << 2), k.Constant(1f));
            k.FenceProxyAsync();
            k.Sync();
            if (alone) k.If(k.Lane.Is(0), Store);
            else Store();

            void Store() { line = Specimen.Here(); k.AsProducer().Store(map, row, k.Constant(0), k.Constant(0)); }
        });
        Found(Make(alone: false), VerifierRule.Divergence, line, "'tensor_store' is for one thread, and whole warps reach it; put it under a condition that one thread meets.");
        Clean(Make(alone: true));
    }

    static void Found(Kernel kernel, VerifierRule rule, int line, string message)
    {
        VerifierFinding finding = Assert.Single(KernelVerifier.Verify(kernel));
        Assert.Equal(rule, finding.Rule);
        Assert.Equal($"VerifierTests.cs:{line}: {message}", finding.ToString());
    }

    static void Clean(Kernel kernel) => Assert.Empty(KernelVerifier.Verify(kernel));
}
