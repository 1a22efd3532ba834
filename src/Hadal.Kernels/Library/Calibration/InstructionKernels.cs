using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Calibration;

/// <summary>Kernels of one instruction each, whose outputs show where it puts what and how it rounds. All write to pointer d.</summary>
static class InstructionKernels
{
    /// <summary>Scalar operations, each applied to the words at i, i + 1, i + 2 and i + 3 of x: one thread a place, outputs [operation][place].</summary>
    public static IReadOnlyList<(string Name, Func<ThreadScope, U32[], U32> Apply)> Scalar { get; } =
    [
        ("add", (_, w) => (w[0].AsF32() + w[1].AsF32()).AsU32()),
        ("multiply", (_, w) => (w[0].AsF32() * w[1].AsF32()).AsU32()),
        ("divide", (_, w) => (w[0].AsF32() / w[1].AsF32()).AsU32()),
        ("reciprocal", (_, w) => w[0].AsF32().Reciprocal().AsU32()),
        ("fused_multiply_add", (_, w) => w[0].AsF32().MultiplyAdd(w[1].AsF32(), w[2].AsF32()).AsU32()),
        ("maximum", (_, w) => w[0].AsF32().Maximum(w[1].AsF32()).AsU32()),
        ("absolute", (_, w) => w[0].AsF32().Absolute().AsU32()),
        ("less", (s, w) => (w[0].AsF32() < w[1].AsF32()).Select(s.Constant(1), s.Constant(0))),
        ("greater", (s, w) => (w[0].AsF32() > w[1].AsF32()).Select(s.Constant(1), s.Constant(0))),
        ("word_divide", (_, w) => w[0] / (w[1] | 1)),
        ("word_remainder", (_, w) => w[0] % (w[1] | 1)),
        ("shift", (_, w) => (w[0] << 7) ^ (w[1] >> 9)),
        ("shuffle", (s, w) => s.ShuffleButterfly(w[0], 5) ^ s.Uniform(w[1])),
        ("pack_bf16", (s, w) => s.PackBF16(w[0].AsF32(), w[1].AsF32())),
        ("pack_e4m3", (s, w) => s.PackE4M3(w[0].AsF32(), w[1].AsF32(), w[2].AsF32(), w[3].AsF32())),
        ("unpack_e4m3_first", (s, w) => s.UnpackE4M3(w[0])[0].AsU32()),
        ("unpack_e4m3_third", (s, w) => s.UnpackE4M3(w[0])[2].AsU32()),
    ];

    /// <summary>All of <see cref="Scalar"/>. Parameters: pointers x [count + 4] and d; count is a multiple of 32.</summary>
    public static Kernel ScalarOperations(int count) => KernelBuilder.Define("instruction_scalar", 32, k =>
    {
        U64 x = k.Pointer("x", ElementType.F32), d = k.Pointer("d", ElementType.F32);
        U32 place = k.BlockIndex() * 32 + k.ThreadIndex;
        U32[] words = [.. Enumerable.Range(0, 4).Select(i => k.Load<U32>(x.At(place, 4), 4 * i))];
        for (int i = 0; i < Scalar.Count; i++) k.Store(d.At(place, 4), Scalar[i].Apply(k, words), 4L * i * count);
    });

    /// <summary>Loads one box of x by TMA and writes shared memory out as it lies. Parameters: map x, pointer d.</summary>
    public static Kernel BoxLoad(ElementType element, int rows, int columns, Swizzle swizzle, int row, int column) => KernelBuilder.Define("instruction_box_load", 128, k =>
    {
        TensorMap x = k.TensorMap("x", element, rows, columns, swizzle);
        U64 d = k.Pointer("d", ElementType.F32);
        RingOperand box = new(x, rows);
        Pipeline ring = k.Pipeline("ring", 1, 4, [box]);
        RingProducer fill = k.AsProducer().Fill(ring);
        RingConsumer read = k.AsConsumer().Read(ring);
        k.If(k.ThreadIndex.Is(0), () =>
        {
            using FillSlot slot = fill.Acquire();
            slot.Load(box, k.Constant(column), k.Constant(row));
        });
        k.WarpSync();
        using ReadSlot full = read.Wait();
        U32 from = k.Address(ring.RegionOf(box));
        int words = box.BytesPerStage / 4;
        for (int first = 0; first < words; first += 128)
        {
            U32 word = k.ThreadIndex + first;
            k.If(word < words, () => k.Store(d.At(word, 4), k.LoadShared<U32>(from + (word << 2))));
        }
    });

    /// <summary>stmatrix of the words x[0 … 128), then shared memory as it lies. Parameters: pointers x and d.</summary>
    public static Kernel MatrixStore() => KernelBuilder.Define("instruction_store_matrix", 32, k =>
    {
        U64 x = k.Pointer("x", ElementType.F32), d = k.Pointer("d", ElementType.F32);
        U32 shared = k.Address(k.Shared("s", 512, 128));
        U32[] words = k.LoadVector<U32>(4, x.At(k.Lane, 16));
        k.StoreMatrix(shared + (k.Lane << 4), words[0], words[1], words[2], words[3]);
        k.WarpSync();
        k.Store<U32>(d.At(k.Lane, 16), k.LoadShared<U32>(4, shared + (k.Lane << 4)));
    });

    /// <summary>ldmatrix of the 512 bytes of x. Parameters: pointers x and d.</summary>
    public static Kernel MatrixLoad(int count, bool transposed) => KernelBuilder.Define("instruction_load_matrix", 32, k =>
    {
        U64 x = k.Pointer("x", ElementType.F32), d = k.Pointer("d", ElementType.F32);
        U32 shared = k.Address(k.Shared("s", 512, 128));
        k.StoreShared<U32>(shared + (k.Lane << 4), k.LoadVector<U32>(4, x.At(k.Lane, 16)));
        k.WarpSync();

        // Rows in another order than they lie.
        U32[] loaded = k.LoadMatrix(count, shared + ((k.Lane ^ 11) << 4), transposed: transposed);
        for (int i = 0; i < count; i++) k.Store(d.At(k.Lane, 4), loaded[i], 128 * i);
    });

    /// <summary>mma.sync of words as the lanes hold them. Parameters: pointers x ([A 4][32], [B 2][32], [addends 4][32]) and d [4][32].</summary>
    public static Kernel WarpProduct() => KernelBuilder.Define("instruction_multiply_sync", 32, k =>
    {
        U64 x = k.Pointer("x", ElementType.F32).At(k.BlockIndex(), 1280).At(k.Lane, 4), d = k.Pointer("d", ElementType.F32).At(k.BlockIndex(), 512).At(k.Lane, 4);
        U32[] words = [.. Enumerable.Range(0, 10).Select(i => k.Load<U32>(x, 128 * i))];
        F32[] sums = k.MultiplySync(words.AsSpan(0, 4), words.AsSpan(4, 2), [words[6].AsF32(), words[7].AsF32(), words[8].AsF32(), words[9].AsF32()]);
        for (int i = 0; i < 4; i++) k.Store(d, sums[i], 128 * i);
    });

    /// <summary>One chunk of 128 bytes of K: four wgmma that add up. Parameters: maps a (64 rows) and b, pointer d [64, columns] f32.</summary>
    public static Kernel WarpgroupProduct(ElementType element, int columns) => KernelBuilder.Define("instruction_wgmma", 128, k =>
    {
        int width = 128 / Names.BytesOf(element);
        TensorMap a = k.TensorMap("a", element, 64, width, Swizzle.Bytes128), b = k.TensorMap("b", element, columns, width, Swizzle.Bytes128);
        U64 d = k.Pointer("d", ElementType.F32);
        RingOperand ofA = new(a, 64), ofB = new(b, columns);
        Pipeline ring = k.Pipeline("ring", 1, 4, [ofA, ofB]);
        RingProducer fill = k.AsProducer().Fill(ring);
        ConsumerScope c = k.AsConsumer();
        RingConsumer read = c.Read(ring);
        RingMatrix left = read.Matrix(ofA), right = read.Matrix(ofB);
        Accumulator sum = c.Accumulator(columns, "sum");
        k.If(k.ThreadIndex.Is(0), () =>
        {
            using FillSlot slot = fill.Acquire();
            slot.Load(ofA, k.Constant(0), k.Constant(0));
            slot.Load(ofB, k.Constant(0), k.Constant(0));
        });
        k.WarpSync();
        using ReadSlot full = read.Wait();
        Fragment tile = c.Multiply(sum, full[left], full[right]).Wait();
        for (int element = 0; element < columns / 2; element++)
        {
            U32 row = c.FragmentRow() + 8 * (element / 2 % 2), column = ((c.Lane & 3) << 1) + (8 * (element / 4) + element % 2);
            k.Store(d.At(row * columns + column, 4), tile.Element(element));
        }
    });
}
