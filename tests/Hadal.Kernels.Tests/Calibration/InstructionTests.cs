using Hadal.Kernels.Library.Calibration;
using Hadal.Kernels.Library.Cases;
using Hadal.Kernels.Ptx;

namespace Hadal.Kernels.Tests.Calibration;

/// <summary>The interpreter against what single instructions gave on a GPU: layouts and rounding to the bit, products within their last bits.</summary>
public sealed class InstructionTests
{
    public static TheoryData<string> Names => [.. InstructionCases.All().Select(c => c.Name)];

    static InstructionDump Interpreted { get; } = InstructionDump.Make("the interpreter", c => c.Interpret(1));

    [Theory]
    [MemberData(nameof(Names))]
    public void Kernels_verify_and_print(string name) => Assert.NotEmpty(PtxPrinter.Print(InstructionCases.All().Single(c => string.Equals(c.Name, name, StringComparison.Ordinal)).Build()));

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

    [Fact(Explicit = true)]
    public void Write_the_ptx_of_all_kernels()
    {
        string folder = Directory.CreateDirectory(Path.Combine(AppContext.BaseDirectory, "instructions")).FullName;
        foreach (KernelCase one in InstructionCases.All()) File.WriteAllText(Path.Combine(folder, one.Name.Replace(' ', '_') + ".ptx"), PtxPrinter.Print(one.Build()));
    }
}
