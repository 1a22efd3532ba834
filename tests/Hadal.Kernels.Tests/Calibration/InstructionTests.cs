using System.Runtime.InteropServices;
using Hadal.Kernels.Library.Calibration;
using Hadal.Kernels.Library.Cases;
using Hadal.Kernels.Ptx;

namespace Hadal.Kernels.Tests.Calibration;

/// <summary>The interpreter against what single instructions gave on a GPU: layouts, rounding and the sums of products, to the bit.</summary>
public sealed class InstructionTests
{
    public static TheoryData<string> Names => [.. InstructionCases.All().Select(c => c.Name)];

    static InstructionDump Interpreted { get; } = InstructionDump.Make("the interpreter", c => c.Interpret(1, accumulation: new Interpreter.TensorCoreArithmetic()));

    [Theory]
    [MemberData(nameof(Names))]
    public void Kernels_verify_and_print(string name) => Assert.NotEmpty(PtxPrinter.Print(InstructionCases.All().Single(c => string.Equals(c.Name, name, StringComparison.Ordinal)).Build()));

    static InstructionDump Hardware { get; } = Read();

    static InstructionDump Read()
    {
        using FileStream file = File.OpenRead(Path.Combine(GoldenTests.Root(), "tests", "Hadal.Kernels.Tests", "Calibration", "instructions.bin"));
        return InstructionDump.Read(file);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void The_interpreter_equals_the_hardware(string name)
    {
        ReadOnlySpan<uint> expected = MemoryMarshal.Cast<byte, uint>(Hardware.Results[name]), got = MemoryMarshal.Cast<byte, uint>(Interpreted.Results[name]);
        Assert.Equal(expected.Length, got.Length);
        for (int i = 0; i < expected.Length; i++)
        {
            string operation = name.EndsWith("scalar", StringComparison.Ordinal) ? InstructionKernels.Scalar[i / InstructionCases.Places].Name : "";
            Assert.True(Same(operation, expected[i], got[i]), $"{name} {operation}: place {i % InstructionCases.Places} is 0x{got[i]:x8}, the hardware gave 0x{expected[i]:x8}.");
        }
    }

    /// <summary>The neighbouring hypotheses are refuted: sums rounded once differ in most outputs, and so does another number of bits.</summary>
    [Theory]
    [InlineData("instruction wgmma bf16 n128")]
    [InlineData("instruction wgmma tf32 n128")]
    public void Exact_sums_are_refuted_and_differ_in_their_last_bits_only(string name)
    {
        KernelCase one = InstructionCases.All().Single(c => string.Equals(c.Name, name, StringComparison.Ordinal));
        byte[] exact = InstructionDump.Make("exact", c => string.Equals(c.Name, name, StringComparison.Ordinal) ? c.Interpret(1) : new CaseResult(true, 0, 0, "")).Results[one.Name];
        ReadOnlySpan<float> hardware = MemoryMarshal.Cast<byte, float>(Hardware.Results[name]), rounded = MemoryMarshal.Cast<byte, float>(exact);
        int different = 0;
        float largest = 0;
        for (int i = 0; i < hardware.Length; i++)
        {
            if (BitConverter.SingleToInt32Bits(hardware[i]) != BitConverter.SingleToInt32Bits(rounded[i])) different++;
            largest = Math.Max(largest, Math.Abs(hardware[i]));
            Assert.True(Math.Abs(hardware[i] - rounded[i]) <= 1e-5 * Math.Max(largest, 1));
        }

        Assert.True(different > hardware.Length / 2, $"only {different} of {hardware.Length} differ");
    }

    /// <summary>Equal bits, any NaN standing for any other where the operation makes numbers.</summary>
    static bool Same(string operation, uint expected, uint got) => operation switch
    {
        "add" or "multiply" or "divide" or "reciprocal" or "fused_multiply_add" or "maximum" or "absolute" or "unpack_e4m3_first" or "unpack_e4m3_third" =>
            expected == got || (float.IsNaN(BitConverter.UInt32BitsToSingle(expected)) && float.IsNaN(BitConverter.UInt32BitsToSingle(got))),
        "pack_bf16" => SameHalf(expected & 0xFFFF, got & 0xFFFF) && SameHalf(expected >> 16, got >> 16),
        "pack_e4m3" => Enumerable.Range(0, 4).All(i => SameByte((byte)(expected >> (8 * i)), (byte)(got >> (8 * i)))),
        _ => expected == got,
    };

    static bool SameHalf(uint expected, uint got) => expected == got || (new Numerics.BF16((ushort)expected).IsNaN && new Numerics.BF16((ushort)got).IsNaN);

    static bool SameByte(byte expected, byte got) => expected == got || ((expected & 0x7F) == 0x7F && (got & 0x7F) == 0x7F);

    [Fact]
    public void A_dump_is_read_as_it_was_written()
    {
        var stream = new MemoryStream();
        Interpreted.Write(stream);
        byte[] file = stream.ToArray();
        InstructionDump read = InstructionDump.Read(new MemoryStream(file));
        Assert.Equal(Interpreted.Device, read.Device);
        Assert.Equal(Interpreted.Results.Keys, read.Results.Keys, StringComparer.Ordinal);
        foreach ((string name, byte[] bytes) in Interpreted.Results) Assert.Equal(bytes, read.Results[name]);
        for (int length = 0; length < file.Length; length += 1 + file.Length / 50)
            Assert.Throws<InvalidDataException>(() => InstructionDump.Read(new MemoryStream(file[..length])));
    }

    [Fact]
    public void Interpreted_boxes_are_swizzled_as_the_definition_says()
    {
        // Byte (row r, column byte c) of a box lies at 128·r + (c XOR 16·(r mod 8)).
        KernelCase one = InstructionCases.All().Single(c => string.Equals(c.Name, "instruction box_load e4m3 swizzled", StringComparison.Ordinal));
        byte[] x = one.Buffers[0].Content!(), d = Interpreted.Results[one.Name];
        for (int r = 0; r < 64; r++)
            for (int c = 0; c < 128; c++) Assert.Equal(x[176 * r + c], d[128 * r + (c ^ 16 * (r & 7))]);
    }
}
