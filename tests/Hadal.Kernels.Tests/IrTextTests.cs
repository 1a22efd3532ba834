using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Library.Cases;

namespace Hadal.Kernels.Tests;

/// <summary>The IR is plain data: equal when built twice, and its text says everything that it holds.</summary>
public sealed class IrTextTests
{
    [Fact]
    public void A_kernel_reads_like_this()
    {
        Kernel kernel = KernelBuilder.Define("scale", 64, k =>
        {
            U64 x = k.Pointer("x", ElementType.F32);
            U32 count = k.Word("count");
            SharedRegion kept = k.Shared("kept", 256);
            U32 at = k.Address(kept) + (k.ThreadIndex << 2);
            k.If(k.ThreadIndex < count, () => k.StoreShared(at, k.Load<F32>(x.At(k.ThreadIndex, 4), cache: CacheHint.ReadOnly) * 2f));
            k.Sync();
            k.For(count, i => k.Store(x.At(i, 4), k.Constant(0f)));
        });
        Assert.Equal(
            """
            kernel scale threads 64 cluster 1 shared 256 blocks_per_multiprocessor 1
              parameter 0 x pointer to F32
              parameter 1 count u32
              shared kept at 0 bytes 256 aligned 16
              %0:u32 = special {ThreadIndex}
              %1:u32 = constant {31}
              %2:u32 = and %0:u32, %1:u32
              %3:u32 = constant {5}
              %4:u32 = shift_right %0:u32, %3:u32
              %5:u32 = shuffle %4:u32 {Index 0}
              %6:u32 = constant {0}
              %7:u64 = parameter {0}
              %8:u32 = parameter {1}
              %9:u32 = shared_address {+0}
              %10:u32 = constant {2}
              %11:u32 = shift_left %0:u32, %10:u32
              %12:u32 = add %9:u32, %11:u32
              %13:pred = compare %0:u32, %8:u32 {Less}
              if %13:pred
                %14:u32 = constant {4}
                %15:u64 = multiply_wide %0:u32, %14:u32
                %16:u64 = add %7:u64, %15:u64
                %17:f32 = load_global %16:u64 {+0 ReadOnly}
                %18:f32 = constant {2}
                %19:f32 = multiply %17:f32, %18:f32
                store_shared %12:u32, %19:f32 {+0}
              named_barrier_sync {0 threads 64}
              %20:u32 = constant {0}
              write %20:u32 {$index.0:u32}
              loop {while %22:pred uniform}
                %21:u32 = read {$index.0:u32}
                %22:pred = compare %21:u32, %8:u32 {Less}
              do
                %23:u32 = read {$index.0:u32}
                %24:u32 = constant {4}
                %25:u64 = multiply_wide %23:u32, %24:u32
                %26:u64 = add %7:u64, %25:u64
                %27:f32 = constant {0}
                store_global %26:u64, %27:f32 {+0 None}
                %28:u32 = constant {1}
                %29:u32 = add %23:u32, %28:u32
                write %29:u32 {$index.0:u32}

            """,
            kernel.ToString());
    }

    [Fact]
    public void Kernels_built_twice_are_equal()
    {
        foreach (KernelCase one in KernelCases.Conformance())
        {
            Kernel first = one.Build(), second = one.Build();
            Assert.Equal(first, second);
            Assert.Equal(first.GetHashCode(), second.GetHashCode());
            Assert.Equal(first.ToString(), second.ToString());
        }
    }

    /// <summary>Of all operations in the library, those with one text are equal but for their C# line, and the reverse.</summary>
    [Fact]
    public void The_text_of_an_operation_says_all_it_holds()
    {
        var seen = new Dictionary<string, Operation>(StringComparer.Ordinal);
        var kinds = new HashSet<Type>();
        foreach (Kernel kernel in KernelCases.Conformance().Select(c => c.Build()))
        {
            foreach (Operation operation in kernel.AllOperations().Where(o => o.Blocks.Count == 0))
            {
                Operation bare = operation with { Source = default };
                string text = IrText.Line(operation);
                kinds.Add(operation.GetType());
                if (seen.TryGetValue(text, out Operation? other)) Assert.True(bare.Equals(other), $"'{text}' stands for two different operations: {bare} and {other}.");
                else seen.Add(text, bare);
            }
        }

        Assert.True(kinds.Count >= 30, $"only {kinds.Count} kinds of operations were met");
        Assert.Equal(seen.Count, seen.Values.Distinct().Count());
    }

    [Fact]
    public void Every_part_of_a_kernel_shows_in_its_text()
    {
        Kernel kernel = new Specimen(Fault.None).Kernel;
        PipelineDeclaration ring = kernel.Pipelines[0];
        SharedRegion region = kernel.SharedRegions[0];
        var map = (TensorMapParameter)kernel.Parameters[0];
        Kernel Ring(PipelineDeclaration changed) => kernel with { Pipelines = [changed] };
        Kernel Region(SharedRegion changed) => kernel with { SharedRegions = [changed, .. kernel.SharedRegions.Skip(1)] };
        Kernel Map(TensorMapParameter changed) => kernel with { Parameters = [changed, .. kernel.Parameters.Skip(1)] };
        Kernel Roles(Func<Role, Role> change) => kernel with { Body = new Block([.. kernel.Body.Operations.Select(o => o is RoleSwitch s ? s with { Roles = [change(s.Roles[0]), .. s.Roles.Skip(1)] } : o)]) };
        Kernel[] changed =
        [
            kernel with { Name = "other" }, kernel with { ThreadsPerBlock = 512 }, kernel with { ClusterSize = 2 }, kernel with { SharedBytes = 1 }, kernel with { BlocksPerMultiprocessor = 2 },
            Ring(ring with { Name = "other" }), Ring(ring with { Stages = 9 }), Ring(ring with { BytesPerStage = 9 }), Ring(ring with { ConsumerArrivals = 9 }), Ring(ring with { FullOffset = 9 }),
            Ring(ring with { EmptyOffset = 9 }), Ring(ring with { ProducerSlots = [9] }), Ring(ring with { ConsumerSlots = [9] }), Ring(ring with { Shares = 9 }),
            Region(region with { Name = "other" }), Region(region with { ByteOffset = 9 }), Region(region with { Bytes = 9 }), Region(region with { Alignment = 9 }),
            Map(map with { Name = "other" }), Map(map with { Element = ElementType.E4M3 }), Map(map with { BoxColumns = 9 }), Map(map with { BoxRows = 9 }), Map(map with { Swizzle = Swizzle.None }),
            Roles(r => r with { Name = "other" }), Roles(r => r with { FirstWarpgroup = 9 }), Roles(r => r with { Warpgroups = 9 }), Roles(r => r with { Registers = 9 }), Roles(r => r with { Body = new Block([]) }),
            kernel with { Body = new Block([.. kernel.Body.Operations.Skip(1)]) },
        ];
        string[] texts = [kernel.ToString(), .. changed.Select(k => k.ToString())];
        Assert.Equal(texts.Length, texts.Distinct(StringComparer.Ordinal).Count());
        Assert.All(changed, k => Assert.NotEqual(kernel, k));
    }
}
