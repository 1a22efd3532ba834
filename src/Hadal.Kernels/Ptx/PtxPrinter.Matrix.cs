using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Ptx;

/// <content>Products of one warp, and atomic operations.</content>
public sealed partial class PtxPrinter
{
    void PrintLoadMatrix(LoadMatrix o)
    {
        string address = UseRegister(o.Address);
        Line($"ldmatrix.sync.aligned.m8n8.x{o.Loaded.Count}{(o.Transposed ? ".trans" : "")}.shared.b16 {{{string.Join(", ", Define(o.Loaded))}}}, [{address}+{o.ByteOffset}];");
    }

    void PrintMultiplySync(MultiplySync o)
    {
        string a = List(UseRegisters(o.A)), b = List(UseRegisters(o.B)), addends = List(UseRegisters(o.Addends));
        Line($"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {List(Define(o.Sums))}, {a}, {b}, {addends};");
    }

    void PrintAtomicAdd(AtomicAdd o)
    {
        string address = UseRegister(o.Address), added = Use(o.Added);
        string order = o.Order switch { MemoryOrder.Relaxed => "relaxed", MemoryOrder.Acquire => "acquire", MemoryOrder.Release => "release", _ => "acq_rel" };
        string scope = o.Scope switch { MemoryScope.Block => "cta", MemoryScope.Cluster => "cluster", MemoryScope.Device => "gpu", _ => "sys" };
        Line($"atom.{order}.{scope}.global.add.u32 {Define(o.Result)}, [{address}+{o.ByteOffset}], {added};");
    }
}
