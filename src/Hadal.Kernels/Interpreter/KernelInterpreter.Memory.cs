using System.Buffers.Binary;
using Hadal.Kernels.Ir;
using Hadal.Numerics;

namespace Hadal.Kernels.Interpreter;

/// <content>Loads and stores through the generic proxy, and fragments.</content>
public sealed partial class KernelInterpreter
{
    bool ExecuteMemory(WarpState warp, Operation operation, uint mask)
    {
        switch (operation)
        {
            case LoadGlobal o: Load(warp, mask, o); return true;
            case StoreGlobal o: Store(warp, mask, o); return true;
            case StoreGlobalHalf o: StoreHalf(warp, mask, o); return true;
            case AddGlobal o: Add(warp, mask, o); return true;
            case LoadShared o: Load(warp, mask, o); return true;
            case StoreShared o: Store(warp, mask, o); return true;
            case StoreMatrix o: Store(warp, mask, o); return true;
            case LoadMatrix o: Load(warp, mask, o); return true;
            case MultiplySync o: Multiply(warp, mask, o); return true;
            case AtomicAdd o: Add(warp, mask, o); return true;
            case FillFragment o: Fill(warp, o); return true;
            case ScaleFragment o: Scale(warp, o); return true;
            case ReadFragment o: Read(warp, o); return true;
            case PackFragment o: Pack(warp, o); return true;
            default: return ExecuteAsynchronous(warp, operation, mask);
        }
    }

    static bool Active(uint mask, int lane, Span<ulong> guard) => (mask >> lane & 1) != 0 && (guard.IsEmpty || guard[lane] != 0);

    static Span<ulong> GuardOf(WarpState warp, Value? guard) => guard is null ? [] : warp.Of(guard);

    Span<byte> Global(WarpState warp, Operation operation, ulong address, int bytes, int alignment)
    {
        if (address % (ulong)alignment != 0) Report(HazardKind.Misaligned, warp, operation, $"global address 0x{address:x} is not a multiple of {alignment}");
        Span<byte> found = _memory.Find(address, bytes);
        if (found.IsEmpty) Report(HazardKind.OutOfBounds, warp, operation, $"{bytes} bytes at global address 0x{address:x} lie in no allocation");
        return found;
    }

    void Load(WarpState warp, uint mask, LoadGlobal o)
    {
        Span<ulong> addresses = warp.Of(o.Address), guard = GuardOf(warp, o.Guard);
        int bytes = 4 * o.Loaded.Count;
        for (int lane = 0; lane < WarpState.Lanes; lane++)
        {
            if (!Active(mask, lane, guard))
            {
                // A lane that does not load has no result: whoever uses it gets a NaN.
                if ((mask >> lane & 1) != 0)
                    for (int i = 0; i < o.Loaded.Count; i++) warp.Of(o.Loaded[i])[lane] = WarpState.Unset;
                continue;
            }

            Span<byte> data = Global(warp, o, addresses[lane] + (ulong)o.ByteOffset, bytes, bytes);
            for (int i = 0; i < o.Loaded.Count; i++) warp.Of(o.Loaded[i])[lane] = SimulatedMemory.Word(data[(4 * i)..]);
        }
    }

    void Store(WarpState warp, uint mask, StoreGlobal o)
    {
        Span<ulong> addresses = warp.Of(o.Address), guard = GuardOf(warp, o.Guard);
        int bytes = 4 * o.Stored.Count;
        for (int lane = 0; lane < WarpState.Lanes; lane++)
        {
            if (!Active(mask, lane, guard)) continue;
            Span<byte> data = Global(warp, o, addresses[lane] + (ulong)o.ByteOffset, bytes, bytes);
            for (int i = 0; i < o.Stored.Count; i++) BinaryPrimitives.WriteUInt32LittleEndian(data[(4 * i)..], (uint)warp.Of(o.Stored[i])[lane]);
        }
    }

    void StoreHalf(WarpState warp, uint mask, StoreGlobalHalf o)
    {
        Span<ulong> addresses = warp.Of(o.Address), guard = GuardOf(warp, o.Guard), stored = warp.Of(o.Stored);
        for (int lane = 0; lane < WarpState.Lanes; lane++)
        {
            if (!Active(mask, lane, guard)) continue;
            Span<byte> data = Global(warp, o, addresses[lane] + (ulong)o.ByteOffset, 2, 2);
            BinaryPrimitives.WriteUInt16LittleEndian(data, (ushort)(stored[lane] >> (o.High ? 16 : 0)));
        }
    }

    void Add(WarpState warp, uint mask, AddGlobal o)
    {
        Span<ulong> addresses = warp.Of(o.Address), guard = GuardOf(warp, o.Guard);
        int bytes = 4 * o.Added.Count;
        for (int lane = 0; lane < WarpState.Lanes; lane++)
        {
            if (!Active(mask, lane, guard)) continue;
            Span<byte> data = Global(warp, o, addresses[lane] + (ulong)o.ByteOffset, bytes, bytes);
            for (int i = 0; i < o.Added.Count; i++)
            {
                Span<byte> element = data[(4 * i)..];
                BinaryPrimitives.WriteSingleLittleEndian(element, BinaryPrimitives.ReadSingleLittleEndian(element) + Single(warp.Of(o.Added[i])[lane]));
            }
        }
    }

    int SharedRange(WarpState warp, Operation operation, ulong address, int bytes, int alignment)
    {
        if (address % (ulong)alignment != 0) Report(HazardKind.Misaligned, warp, operation, $"shared address {address} is not a multiple of {alignment}");
        if (address + (ulong)bytes > (ulong)warp.Block.Shared.Length)
            Report(HazardKind.OutOfBounds, warp, operation, $"{bytes} bytes at shared address {address} lie outside the block's {warp.Block.Shared.Length}");
        return (int)address;
    }

    void Check(WarpState warp, Operation operation, (HazardKind Kind, string Text)? hazard)
    {
        if (hazard is { } h) Report(h.Kind, warp, operation, h.Text);
    }

    static int Begin(WarpState warp, BlockState block, Operation operation, int asynchronous = -1) =>
        block.Shadow.Begin(new Access(warp.Agent, warp.Clock.Time[warp.Agent], asynchronous, operation.Source, operation.Mnemonic, warp.Epoch));

    void Load(WarpState warp, uint mask, LoadShared o)
    {
        Span<ulong> addresses = warp.Of(o.Address);
        int bytes = 4 * o.Loaded.Count, access = Begin(warp, warp.Block, o);
        for (int lane = 0; lane < WarpState.Lanes; lane++)
        {
            if ((mask >> lane & 1) == 0) continue;
            int at = SharedRange(warp, o, addresses[lane] + (ulong)o.ByteOffset, bytes, bytes);
            Check(warp, o, warp.Block.Shadow.Read(access, warp.Clock, at, bytes, lane));
            for (int i = 0; i < o.Loaded.Count; i++) warp.Of(o.Loaded[i])[lane] = SimulatedMemory.Word(warp.Block.Shared.AsSpan(at + 4 * i));
        }
    }

    void Store(WarpState warp, uint mask, StoreShared o)
    {
        Span<ulong> addresses = warp.Of(o.Address);
        int bytes = 4 * o.Stored.Count, access = Begin(warp, warp.Block, o);
        for (int lane = 0; lane < WarpState.Lanes; lane++)
        {
            if ((mask >> lane & 1) == 0) continue;
            int at = SharedRange(warp, o, addresses[lane] + (ulong)o.ByteOffset, bytes, bytes);
            Check(warp, o, warp.Block.Shadow.Write(access, warp.Clock, at, bytes, lane));
            for (int i = 0; i < o.Stored.Count; i++) BinaryPrimitives.WriteUInt32LittleEndian(warp.Block.Shared.AsSpan(at + 4 * i), (uint)warp.Of(o.Stored[i])[lane]);
        }
    }

    void Store(WarpState warp, uint mask, StoreMatrix o)
    {
        RequireWholeWarp(warp, o, mask);
        Span<ulong> addresses = warp.Of(o.Address);
        int access = Begin(warp, warp.Block, o);
        for (int matrix = 0; matrix < 4; matrix++)
        {
            Span<ulong> stored = warp.Of(o.Stored[matrix]);
            for (int row = 0; row < 8; row++)
            {
                int at = SharedRange(warp, o, addresses[8 * matrix + row], 16, 16);
                Check(warp, o, warp.Block.Shadow.Write(access, warp.Clock, at, 16, 8 * matrix + row));
                for (int i = 0; i < 4; i++) BinaryPrimitives.WriteUInt32LittleEndian(warp.Block.Shared.AsSpan(at + 4 * i), (uint)stored[4 * row + i]);
            }
        }
    }

    void Touch(WarpState warp, Operation operation, FragmentRegisters fragment)
    {
        if (warp.FragmentPending[fragment.Id] > 0)
            Report(HazardKind.UnfinishedRead, warp, operation, $"'{operation.Mnemonic}' uses the accumulators {fragment} while a product into them is in flight; wait for it first");
        warp.FragmentTouched[fragment.Id] = true;
    }

    void Fill(WarpState warp, FillFragment o)
    {
        Touch(warp, o, o.Fragment);
        Span<ulong> value = warp.Of(o.Value);
        Span<float> fragment = warp.Fragments[o.Fragment.Id];
        for (int i = 0; i < fragment.Length; i++) fragment[i] = Single(value[i % WarpState.Lanes]);
    }

    void Scale(WarpState warp, ScaleFragment o)
    {
        Touch(warp, o, o.Destination);
        Touch(warp, o, o.Taken);
        Span<float> to = warp.Fragments[o.Destination.Id], from = warp.Fragments[o.Taken.Id];
        for (int element = 4 * o.FirstGroup; element < 4 * (o.FirstGroup + o.Groups); element++)
        {
            Span<ulong> scale = warp.Of(o.Scales[element & 3]);
            for (int lane = 0; lane < WarpState.Lanes; lane++)
            {
                int i = element * WarpState.Lanes + lane;
                to[i] = o.Accumulate ? MathF.FusedMultiplyAdd(from[i], Single(scale[lane]), to[i]) : from[i] * Single(scale[lane]);
            }
        }
    }

    void Read(WarpState warp, ReadFragment o)
    {
        Touch(warp, o, o.Fragment);
        Span<ulong> to = warp.Of(o.Result);
        for (int lane = 0; lane < WarpState.Lanes; lane++) to[lane] = Bits(warp.Fragments[o.Fragment.Id][o.Element * WarpState.Lanes + lane]);
    }

    void Pack(WarpState warp, PackFragment o)
    {
        Touch(warp, o, o.Fragment);
        Span<ulong> to = warp.Of(o.Result);
        Span<float> fragment = warp.Fragments[o.Fragment.Id];
        for (int lane = 0; lane < WarpState.Lanes; lane++)
        {
            int i = o.Element * WarpState.Lanes + lane;
            to[lane] = BF16.FromSingle(fragment[i]).Bits | (uint)BF16.FromSingle(fragment[i + WarpState.Lanes]).Bits << 16;
        }
    }
}
