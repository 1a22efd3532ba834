using System.Runtime.InteropServices;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Library.Cases;
using Hadal.Numerics;

namespace Hadal.Kernels.Library.Calibration;

/// <summary>
/// One launch an instruction with inputs that tell its layout and rounding apart. What a GPU makes of them is kept as test data (<see cref="InstructionDump"/>), and
/// the interpreter is held to it. A case has the buffer "d"; its check passes always: the dump is the definition.
/// </summary>
static class InstructionCases
{
    public const int Places = 4096;
    const int Products = 64;

    /// <summary>All cases.</summary>
    public static IEnumerable<KernelCase> All() =>
    [
        Make("scalar", () => InstructionKernels.ScalarOperations(Places), Places / 32, Places * InstructionKernels.Scalar.Count, CaseBuffer.Of("x", Places + 4, () => Hostile(Places + 4))),
        Box("e4m3 swizzled", ElementType.E4M3, 64, 128, Swizzle.Bytes128, 0, 0),
        Box("e4m3 swizzled tail", ElementType.E4M3, 64, 128, Swizzle.Bytes128, 40, 96),
        Box("bf16 swizzled", ElementType.BF16, 16, 64, Swizzle.Bytes128, 3, 8),
        Box("bf16 swizzled tail", ElementType.BF16, 72, 64, Swizzle.Bytes128, 24, 96),
        Box("f32 swizzled tail", ElementType.F32, 8, 32, Swizzle.Bytes128, 76, 20),
        Box("f32 row", ElementType.F32, 1, 64, Swizzle.None, 5, 12),
        Box("f32 rows tail", ElementType.F32, 4, 16, Swizzle.None, 78, 32),
        Box("outside", ElementType.BF16, 8, 64, Swizzle.Bytes128, 200, 0),
        Make("store_matrix", InstructionKernels.MatrixStore, 1, 128, CaseBuffer.Of("x", 128, () => Hostile(128))),
        .. new[] { (1, false), (2, false), (4, false), (4, true) }.Select(p =>
            Make($"load_matrix x{p.Item1}{(p.Item2 ? " transposed" : "")}", () => InstructionKernels.MatrixLoad(p.Item1, p.Item2), 1, 32 * p.Item1, CaseBuffer.Of("x", 128, () => Hostile(128)))),
        Make("multiply_sync bf16", InstructionKernels.WarpProduct, Products, 128 * Products, CaseBuffer.Of("x", 320 * Products, WarpOperands)),
        Product(ElementType.BF16, 8),
        Product(ElementType.BF16, 128),
        Product(ElementType.BF16, 256),
        Product(ElementType.F32, 8),
        Product(ElementType.F32, 128),
    ];

    static KernelCase Make(string name, Func<Kernel> build, int blocks, int words, CaseBuffer x) => new()
    {
        Name = "instruction " + name,
        Build = build,
        Blocks = _ => blocks,
        Buffers = [x, new CaseBuffer("d", 4L * words)],
        Arguments = [new CaseArgument.Address("x"), new CaseArgument.Address("d")],
        Check = _ => new CaseResult(true, 0, 0, ""),
    };

    static KernelCase Box(string name, ElementType element, int rows, int columns, Swizzle swizzle, int row, int column)
    {
        // 80 rows of 160 elements, row stride longer than the row.
        const int Rows = 80;
        int width = element == ElementType.F32 ? 40 : 160, stride = (width * Names.BytesOf(element)) + 16;
        return Make($"box_load {name}", () => InstructionKernels.BoxLoad(element, rows, columns, swizzle, row, column), 1, rows * columns * Names.BytesOf(element) / 4, CaseBuffer.Of("x", Rows * stride / 4, () => Hostile(Rows * stride / 4)))
            with { Arguments = [new CaseArgument.Matrix("x", element, Rows, width, stride), new CaseArgument.Address("d")] };
    }

    static KernelCase Product(ElementType element, int columns)
    {
        int width = 128 / Names.BytesOf(element);
        return new()
        {
            Name = $"instruction wgmma {(element == ElementType.F32 ? "tf32" : "bf16")} n{columns}",
            Build = () => InstructionKernels.WarpgroupProduct(element, columns),
            Blocks = _ => 1,
            Buffers = [CaseBuffer.Of("a", 64 * 32, () => Operand(64 * width, element, 11)), CaseBuffer.Of("b", columns * 32, () => Operand(columns * width, element, 12)), new CaseBuffer("d", 4L * 64 * columns)],
            Arguments = [new CaseArgument.Matrix("a", element, 64, width, 128), new CaseArgument.Matrix("b", element, columns, width, 128), new CaseArgument.Address("d")],
            Check = _ => new CaseResult(true, 0, 0, ""),
        };
    }

    /// <summary>Words whose patterns are numbers of every kind: zeros, subnormals, ties, largest, infinities, NaN, and random ones of all exponents and near 1.</summary>
    static uint[] Hostile(int count)
    {
        uint[] special = [0, 0x80000000, 1, 0x80000001, 0x007FFFFF, 0x00800000, 0x3F800000, 0xBF800000, 0x3F800001, 0x3F808000, 0x3F818000, 0x3F807FFF, 0x43E00000, 0x43E80000, 0x43F00000, 0x43D80000,
            0x3B000000, 0x3A800000, 0x3A800001, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F7F8000, 0x477FE000, 0x3C7FFFFF, 0x3DF80000];
        var random = new CounterRandom(31, RandomPurpose.TestData);
        var words = new uint[count];
        for (int i = 0; i < count; i++)
        {
            uint bits = random.UInt32((ulong)i);
            words[i] = (i % 4) switch
            {
                0 => special[bits % (uint)special.Length],
                1 => bits,
                2 => (bits & 0x807FFFFF) | (120 + (bits >> 24) % 16) << 23,
                _ => bits & 0xFFFF8000,
            };
        }

        return words;
    }

    /// <summary>Finite operands of a product, as words: normal numbers times powers of two between 2⁻⁶ and 2⁶.</summary>
    static uint[] Operand(int count, ElementType element, uint stream)
    {
        float[] values = Wide(count, stream);
        return element == ElementType.F32
            ? MemoryMarshal.Cast<float, uint>(values).ToArray()
            : MemoryMarshal.Cast<ushort, uint>(values.Select(v => Numerics.BF16.FromSingle(v).Bits).ToArray()).ToArray();
    }

    static uint[] WarpOperands()
    {
        var words = new uint[320 * Products];
        for (int i = 0; i < Products; i++)
        {
            Operand(384, ElementType.BF16, (uint)(100 + i)).CopyTo(words, 320 * i);
            Operand(128, ElementType.F32, (uint)(200 + i)).CopyTo(words, 320 * i + 192);
        }

        return words;
    }

    static float[] Wide(int count, uint stream)
    {
        var values = new float[count];
        var random = new CounterRandom(32, RandomPurpose.TestData, stream);
        random.FillNormal(values);
        for (int i = 0; i < count; i++) values[i] *= MathF.ScaleB(1, random.Below((1UL << 40) + (ulong)i, 13) - 6);
        return values;
    }
}
