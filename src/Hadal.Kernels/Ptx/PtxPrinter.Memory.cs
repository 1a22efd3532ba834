using System.Globalization;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Ptx;

/// <content>Loads, stores and fragments.</content>
public sealed partial class PtxPrinter
{
    static string Vector(int count) => count == 1 ? "" : string.Create(CultureInfo.InvariantCulture, $".v{count}");

    static string List(string[] names) => names.Length == 1 ? names[0] : "{" + string.Join(", ", names) + "}";

    string[] Define(Sequence<Value> values) => [.. values.Select(Define)];

    string[] UseRegisters(Sequence<Value> values) => [.. values.Select(UseRegister)];

    void PrintLoadGlobal(LoadGlobal o)
    {
        string address = UseRegister(o.Address);
        string? guard = o.Guard is null ? null : UseRegister(o.Guard);
        string cache = o.Cache switch { CacheHint.ReadOnly => ".nc", CacheHint.Streaming => ".cs", _ => "" };
        Line($"{Guard(guard)}ld.global{cache}{Vector(o.Loaded.Count)}.{BitSuffix(o.Loaded[0].Type)} {List(Define(o.Loaded))}, [{address}+{o.ByteOffset}];");
    }

    void PrintStoreGlobal(StoreGlobal o)
    {
        string address = UseRegister(o.Address);
        string[] stored = UseRegisters(o.Stored);
        string? guard = o.Guard is null ? null : UseRegister(o.Guard);
        string cache = o.Cache == CacheHint.Streaming ? ".cs" : "";
        Line($"{Guard(guard)}st.global{cache}{Vector(stored.Length)}.{BitSuffix(o.Stored[0].Type)} [{address}+{o.ByteOffset}], {List(stored)};");
    }

    void PrintStoreGlobalHalf(StoreGlobalHalf o)
    {
        string address = UseRegister(o.Address), stored = UseRegister(o.Stored), low = NewHalf(), high = NewHalf();
        string? guard = o.Guard is null ? null : UseRegister(o.Guard);
        Line($"mov.b32 {{{low}, {high}}}, {stored};");
        Line($"{Guard(guard)}st.global.b16 [{address}+{o.ByteOffset}], {(o.High ? high : low)};");
    }

    void PrintAddGlobal(AddGlobal o)
    {
        string address = UseRegister(o.Address);
        string[] added = UseRegisters(o.Added);
        string? guard = o.Guard is null ? null : UseRegister(o.Guard);
        _usesVectorReduction |= added.Length > 1;
        Line($"{Guard(guard)}red.relaxed.gpu.global.add{Vector(added.Length)}.f32 [{address}+{o.ByteOffset}], {List(added)};");
    }

    void PrintLoadShared(LoadShared o)
    {
        string address = UseRegister(o.Address);
        Line($"ld.shared{Vector(o.Loaded.Count)}.{BitSuffix(o.Loaded[0].Type)} {List(Define(o.Loaded))}, [{address}+{o.ByteOffset}];");
    }

    void PrintStoreShared(StoreShared o)
    {
        string address = UseRegister(o.Address);
        string[] stored = UseRegisters(o.Stored);
        Line($"st.shared{Vector(stored.Length)}.{BitSuffix(o.Stored[0].Type)} [{address}+{o.ByteOffset}], {List(stored)};");
    }

    void PrintStoreMatrix(StoreMatrix o)
    {
        string address = UseRegister(o.Address);
        Line($"stmatrix.sync.aligned.m8n8.x4.shared.b16 [{address}], {List(UseRegisters(o.Stored))};");
    }

    void PrintFillFragment(FillFragment o)
    {
        string value = Use(o.Value);
        for (int i = 0; i < o.Fragment.RegistersPerThread; i++) Line($"mov.f32 {Element(o.Fragment, i)}, {value};");
    }

    void PrintScaleFragment(ScaleFragment o)
    {
        string[] scales = UseRegisters(o.Scales);
        for (int i = 4 * o.FirstGroup; i < 4 * (o.FirstGroup + o.Groups); i++)
        {
            string to = Element(o.Destination, i), from = Element(o.Taken, i), scale = scales[i & 3];
            Line(o.Accumulate ? $"fma.rn.f32 {to}, {from}, {scale}, {to};" : $"mul.rn.f32 {to}, {from}, {scale};");
        }
    }

    void PrintReadFragment(ReadFragment o) => Line($"mov.f32 {Define(o.Result)}, {Element(o.Fragment, o.Element)};");

    void PrintPackFragment(PackFragment o) =>
        Line($"cvt.rn.bf16x2.f32 {Define(o.Result)}, {Element(o.Fragment, o.Element + 1)}, {Element(o.Fragment, o.Element)};");

    void PrintWgmma(Wgmma o)
    {
        _usesWgmma = true;
        string a = Descriptor(o.ADescriptor, o.Advance), b = Descriptor(o.BDescriptor, o.Advance);
        var registers = new string[o.Fragment.RegistersPerThread];
        for (int i = 0; i < registers.Length; i++) registers[i] = Element(o.Fragment, i);
        (string shape, string types, string transposes) = o.Element switch
        {
            ElementType.E4M3 => ("k32", "e4m3.e4m3", ""),
            ElementType.BF16 => ("k16", "bf16.bf16", ", 0, 0"),
            _ => ("k8", "tf32.tf32", ""),
        };
        Line($"wgmma.mma_async.sync.aligned.m64n{o.Fragment.Columns}{shape}.f32.{types} {{{string.Join(", ", registers)}}}, {a}, {b}, {(o.Accumulate ? "%accumulate" : "%overwrite")}, 1, 1{transposes};");
    }

    string Descriptor(Value low, int advance)
    {
        string word = UseRegister(low);
        if (advance != 0)
        {
            string moved = New(ScalarType.U32);
            Line($"add.u32 {moved}, {word}, {advance};");
            word = moved;
        }

        string descriptor = New(ScalarType.U64);
        Line($"mov.b64 {descriptor}, {{{word}, %descriptor_high}};");
        return descriptor;
    }
}
