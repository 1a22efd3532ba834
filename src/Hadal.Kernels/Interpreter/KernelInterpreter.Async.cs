using System.Buffers.Binary;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Launch;

namespace Hadal.Kernels.Interpreter;

/// <content>Barriers, copies and products that finish later.</content>
public sealed partial class KernelInterpreter
{
    const int PeerShift = 24;

    bool ExecuteAsynchronous(WarpState warp, Operation operation, uint mask)
    {
        switch (operation)
        {
            case BarrierInitialize o: Initialize(warp, mask, o); return true;
            case FenceBarrierInitialize:
                foreach (PhaseBarrier barrier in warp.Block.Barriers.Values)
                    if (barrier.Initialized.Warp == warp.Agent) barrier.Fenced = true;
                return true;
            case BarrierArrive o: Arrive(warp, mask, o); return true;
            case BarrierExpect o: Expect(warp, mask, o); return true;
            case BarrierWait o: return Wait(warp, mask, o);
            case FenceProxyAsync:
                warp.Clock.Fenced[warp.Agent] = warp.Clock.Time[warp.Agent];
                warp.Tick();
                return true;
            case TensorLoad o: StartLoad(warp, mask, o); return true;
            case TensorStore o: StartStore(warp, mask, o); return true;
            case BulkCommit:
                if (warp.Stores is [.., { Committed: false } open]) open.Committed = true;
                return true;
            case BulkWait o: return Wait(warp, o);
            case MapToPeer o: Each(warp, mask, o.Result, o.Address, o.Rank, (address, rank) => address | (rank + 1) << PeerShift); return true;
            case WarpSync o:
                RequireWholeWarp(warp, o, mask);
                warp.Epoch++;
                return true;
            case NamedBarrier o: return Meet(warp, mask, o, warp.Block.NamedBarrier(o.Index), o.Threads, o.Wait);
            case ClusterSync o: return Meet(warp, mask, o, _clusterBarrier, WarpState.Lanes * _warps.Count, waits: true);
            case WgmmaFence:
                warp.FragmentTouched.AsSpan().Clear();
                return true;
            case Wgmma o: Start(warp, mask, o); return true;
            case WgmmaCommit:
                if (warp.Groups is [.., { Committed: false } group]) group.Committed = true;
                return true;
            case WgmmaWait o: return Wait(warp, o);
            case PrefetchTensorMap or GridDependencyWait or GridDependencyLaunch: return true;
            default: throw new InvalidOperationException($"The interpreter has no rule for '{operation.Mnemonic}' ({operation.Source}): add one beside its record.");
        }
    }

    void Initialize(WarpState warp, uint mask, BarrierInitialize o)
    {
        int at = SharedRange(warp, o, FirstActive(warp.Of(o.Address), mask), 8, 8);
        warp.Block.Barriers[at] = new PhaseBarrier(o.Count, new Access(warp.Agent, warp.Clock.Time[warp.Agent], -1, o.Source, o.Mnemonic), _warps.Count);
    }

    PhaseBarrier Barrier(WarpState warp, Operation operation, uint address, out BlockState owner)
    {
        owner = address >> PeerShift == 0 ? warp.Block : _cluster[(int)(address >> PeerShift) - 1];
        int at = (int)(address & ((1 << PeerShift) - 1));
        if (!owner.Barriers.TryGetValue(at, out PhaseBarrier? barrier))
            Report(HazardKind.BarrierNotReady, warp, operation, $"the barrier at shared address {at} of block {owner.Index} is not set up");
        if (!warp.Clock.Knows(barrier!.Initialized))
            Report(HazardKind.BarrierNotReady, warp, operation, $"the barrier at shared address {at} was set up at {barrier.Initialized.Line} by warp {barrier.Initialized.Warp}, unordered with this use; synchronise in between");
        return barrier;
    }

    void Arrive(WarpState warp, uint mask, BarrierArrive o)
    {
        Span<ulong> addresses = warp.Of(o.Address), guard = GuardOf(warp, o.Guard);
        for (int lane = 0; lane < WarpState.Lanes; lane++)
        {
            if (!Active(mask, lane, guard)) continue;
            PhaseBarrier barrier = Barrier(warp, o, (uint)addresses[lane], out BlockState owner);
            RequireAlive(warp, o, owner);
            if (!barrier.Arrive(warp.Clock))
                Report(HazardKind.TooManyArrivals, warp, o, $"arrives at {NameOf((uint)addresses[lane])}, which has had its arrivals: {barrier.Describe(o.Source)}");
        }

        warp.Tick();
    }

    /// <summary>The shared memory of a block that has ended is another's: a peer meets it before both end.</summary>
    void RequireAlive(WarpState warp, Operation operation, BlockState block)
    {
        if (block.Warps.TrueForAll(w => w.Finished))
            Report(HazardKind.PeerEnded, warp, operation, $"block {block.Index} of the cluster, whose shared memory this reaches, has ended; let the cluster meet before it ends");
    }

    void Expect(WarpState warp, uint mask, BarrierExpect o)
    {
        Span<ulong> addresses = warp.Of(o.Address);
        for (int lane = 0; lane < WarpState.Lanes; lane++)
        {
            if ((mask >> lane & 1) == 0) continue;
            PhaseBarrier barrier = Barrier(warp, o, (uint)addresses[lane], out _);
            if (!barrier.Fenced) Report(HazardKind.BarrierNotReady, warp, o, "the barrier's set-up was not fenced for the asynchronous proxy (fence_barrier_initialize)");
            barrier.Expect(o.Bytes);
            if (!barrier.Arrive(warp.Clock))
                Report(HazardKind.TooManyArrivals, warp, o, $"arrives at {NameOf((uint)addresses[lane])}, which has had its arrivals: {barrier.Describe(o.Source)}");
        }

        warp.Tick();
    }

    bool Wait(WarpState warp, uint mask, BarrierWait o)
    {
        Span<ulong> addresses = warp.Of(o.Address), parities = warp.Of(o.Parity);
        uint address = (uint)FirstActive(addresses, mask), parity = (uint)FirstActive(parities, mask);
        for (int lane = 0; lane < WarpState.Lanes; lane++)
            if ((mask >> lane & 1) != 0 && ((uint)addresses[lane] != address || (uint)parities[lane] != parity))
                Report(HazardKind.Divergence, warp, o, "lanes wait at different barriers or phases; let the warp agree");
        PhaseBarrier barrier = Barrier(warp, o, address, out _);
        if (!barrier.HasEnded(parity))
        {
            warp.Waiting = $"{NameOf(address)} {barrier.Describe(o.Source)}";
            return false;
        }

        warp.Clock.Join(barrier.Completed);
        warp.Epoch++;
        return true;
    }

    /// <summary>The barrier at an address by its region's name and index.</summary>
    string NameOf(uint address)
    {
        int at = (int)(address & ((1 << PeerShift) - 1));
        SharedRegion? region = _kernel.SharedRegions.FirstOrDefault(r => at >= r.ByteOffset && at < r.ByteOffset + r.Bytes);
        return region is null ? $"barrier {at}" : $"{region.Name}[{(at - region.ByteOffset) / 8}]";
    }

    bool Meet(WarpState warp, uint mask, Operation operation, CountingBarrier barrier, int threads, bool waits)
    {
        RequireWholeWarp(warp, operation, mask);
        if (warp.WaitsForGeneration < 0)
        {
            warp.WaitsForGeneration = barrier.Generation;
            barrier.Arrive(warp.Clock, WarpState.Lanes, threads);
            warp.Tick();
        }

        if (waits && barrier.Generation == warp.WaitsForGeneration)
        {
            warp.Waiting = $"{barrier.Arrived} of {threads} threads have arrived";
            return false;
        }

        warp.WaitsForGeneration = -1;
        if (waits) warp.Epoch++;
        if (waits) warp.Clock.Join(barrier.Released);
        return true;
    }

    void StartLoad(WarpState warp, uint mask, TensorLoad o)
    {
        RequireOneLane(warp, o, mask);
        var map = (TensorMapParameter)_kernel.Parameters[o.Map];
        TensorDescription tensor = ((LaunchArgument.Tensor)_arguments[o.Map]).Description;
        int alignment = map.Swizzle == Swizzle.Bytes128 ? 1024 : 128, id = _asynchronous++;
        int at = SharedRange(warp, o, FirstActive(warp.Of(o.Destination), mask), map.BoxBytes, alignment);
        int column = (int)FirstActive(warp.Of(o.Coordinates[0]), mask), row = (int)FirstActive(warp.Of(o.Coordinates[1]), mask);
        uint barrierAddress = (uint)FirstActive(warp.Of(o.Barrier), mask);

        // Seen on an H100: a box that begins elsewhere is an illegal instruction.
        if ((long)column * Names.BytesOf(map.Element) % 16 != 0)
            Report(HazardKind.Misaligned, warp, o, $"a box of '{map.Name}' begins at column {column}, which is no multiple of 16 bytes");
        _started.Add((id, o));
        Barrier(warp, o, barrierAddress, out _);
        foreach (BlockState block in _cluster)
        {
            bool receives = o.MulticastMask == 0 ? block == warp.Block : (o.MulticastMask >> block.Rank & 1) != 0;
            if (!receives) continue;
            RequireAlive(warp, o, block);
            Check(warp, o, block.Shadow.Write(Begin(warp, block, o, id), warp.Clock, at, map.BoxBytes));
            block.Shared.AsSpan(at, map.BoxBytes).Fill(0xFF);
            PhaseBarrier barrier = block.Barriers[(int)barrierAddress];

            // In two pieces, so that half a box may be there.
            int half = Math.Max(1, map.BoxRows / 2);
            bool lateHalf = half < map.BoxRows;
            int delivered = 0;
            void Deliver(int first, int rows)
            {
                CopyBox(warp, o, map, tensor, block.Shared.AsSpan(at, map.BoxBytes), row, column, first, rows);
                delivered += rows;
                barrier.Deliver((long)rows * (map.BoxBytes / map.BoxRows), delivered == map.BoxRows ? id : null);
            }

            _copies.Add(() => Deliver(0, half));
            if (lateHalf) _copies.Add(() => Deliver(half, map.BoxRows - half));
        }
    }

    void CopyBox(WarpState warp, Operation operation, TensorMapParameter map, TensorDescription tensor, Span<byte> box, int row, int column, int first, int rows)
    {
        int bytes = Names.BytesOf(map.Element), rowBytes = map.BoxColumns * bytes;
        for (int r = first; r < first + rows; r++)
        {
            long tensorRow = (long)row + r;
            for (int c = 0; c < map.BoxColumns; c++)
            {
                long tensorColumn = (long)column + c;
                Span<byte> to = box.Slice(Swizzled(map.Swizzle, r, r * rowBytes + c * bytes), bytes);
                if (tensorRow < 0 || tensorRow >= tensor.Rows || tensorColumn < 0 || tensorColumn >= tensor.Columns) to.Clear();
                else Global(warp, operation, tensor.Address + (ulong)(tensorRow * tensor.RowStrideBytes + tensorColumn * bytes), bytes, bytes).CopyTo(to);
            }
        }
    }

    static int Swizzled(Swizzle swizzle, int row, int offset) => swizzle == Swizzle.Bytes128 ? offset ^ ((row & 7) << 4) : offset;

    void StartStore(WarpState warp, uint mask, TensorStore o)
    {
        RequireOneLane(warp, o, mask);
        var map = (TensorMapParameter)_kernel.Parameters[o.Map];
        TensorDescription tensor = ((LaunchArgument.Tensor)_arguments[o.Map]).Description;
        if (o.Add && map.Element != ElementType.F32) throw new InvalidOperationException($"Kernel {_kernel.Name}, {o.Source}: boxes of {map.Element} cannot be added, only of F32.");
        int id = _asynchronous++, alignment = map.Swizzle == Swizzle.Bytes128 ? 1024 : 128;
        int at = SharedRange(warp, o, FirstActive(warp.Of(o.Taken), mask), map.BoxBytes, alignment);
        int column = (int)FirstActive(warp.Of(o.Coordinates[0]), mask), row = (int)FirstActive(warp.Of(o.Coordinates[1]), mask);
        Check(warp, o, warp.Block.Shadow.Read(Begin(warp, warp.Block, o, id), warp.Clock, at, map.BoxBytes));
        if (warp.Stores is not [.., { Committed: false }]) warp.Stores.Add(new StoreGroup(o));
        warp.Stores[^1].Ids.Add(id);
        warp.Stores[^1].Operations.Add(() =>
        {
            int bytes = Names.BytesOf(map.Element), rowBytes = map.BoxColumns * bytes;
            for (int r = 0; r < map.BoxRows && row + (long)r < tensor.Rows; r++)
            {
                for (int c = 0; c < map.BoxColumns && column + (long)c < tensor.Columns; c++)
                {
                    Span<byte> to = Global(warp, o, tensor.Address + (ulong)((row + (long)r) * tensor.RowStrideBytes + (column + (long)c) * bytes), bytes, bytes);
                    Span<byte> element = warp.Block.Shared.AsSpan(at + Swizzled(map.Swizzle, r, r * rowBytes + c * bytes), bytes);
                    if (o.Add) BinaryPrimitives.WriteSingleLittleEndian(to, BinaryPrimitives.ReadSingleLittleEndian(to) + BinaryPrimitives.ReadSingleLittleEndian(element));
                    else element.CopyTo(to);
                }
            }
        });
    }

    bool Wait(WarpState warp, BulkWait o)
    {
        List<StoreGroup> committed = warp.Stores.FindAll(s => s.Committed);
        for (int i = 0; i < committed.Count - o.Pending; i++)
        {
            if (!committed[i].Done)
            {
                warp.Waiting = "tensor stores are unfinished";
                return false;
            }

            foreach (int id in committed[i].Ids) warp.Clock.Finish(id);
        }

        return true;
    }

    void RequireOneLane(WarpState warp, Operation operation, uint mask)
    {
        if (!System.Numerics.BitOperations.IsPow2(mask))
            Report(HazardKind.Divergence, warp, operation, $"'{operation.Mnemonic}' is issued by one thread and is reached by the lanes 0x{mask:x8}; put it under a condition that one thread meets");
    }

    void Start(WarpState warp, uint mask, Wgmma o)
    {
        RequireWholeWarp(warp, o, mask);
        if (warp.FragmentTouched[o.Fragment.Id])
            Report(HazardKind.MissingWgmmaFence, warp, o, $"the accumulators {o.Fragment} were accessed after the last wgmma fence");
        int a = Address(warp, o.ADescriptor, o.Advance) + warp.Index % 4 * 16 * 128, b = Address(warp, o.BDescriptor, o.Advance), id = _asynchronous++;

        // Rows of 128 bytes; this instruction reads 32 bytes of each, whose 16-byte pieces the swizzle has moved.
        int access = Begin(warp, warp.Block, o, id);
        ReadRows(warp, o, access, a, 16);
        ReadRows(warp, o, access, b, o.Fragment.Columns);
        if (warp.Groups is not [.., { Committed: false }]) warp.Groups.Add(new WgmmaGroup());
        warp.Groups[^1].Operations.Add(new IssuedWgmma(o, a, b, id));
        warp.FragmentPending[o.Fragment.Id]++;
    }

    static int Address(WarpState warp, Value descriptor, int advance) => (int)(((uint)warp.Of(descriptor)[0] + (uint)advance) & 0x3FFF) << 4;

    void ReadRows(WarpState warp, Wgmma o, int access, int first, int rows)
    {
        for (int row = 0; row < rows; row++)
        {
            for (int piece = 0; piece < 2; piece++)
            {
                int at = Locate(first + row * 128 + 16 * piece);
                SharedRange(warp, o, (ulong)at, 16, 16);
                Check(warp, o, warp.Block.Shadow.Read(access, warp.Clock, at, 16));
            }
        }
    }

    /// <summary>The hardware XORs address bits 4–6 with bits 7–9.</summary>
    static int Locate(int address) => address ^ ((address >> 7 & 7) << 4);

    void Finish(WarpState warp, WgmmaGroup group)
    {
        group.Done = true;
        byte[] shared = warp.Block.Shared;
        foreach (IssuedWgmma issued in group.Operations)
        {
            Wgmma o = issued.Operation;
            int length = 32 / Names.BytesOf(o.Element);
            float[] a = Decode(shared, issued.AAddress, 16, o.Element), b = Decode(shared, issued.BAddress, o.Fragment.Columns, o.Element);
            float[] fragment = warp.Fragments[o.Fragment.Id];
            for (int row = 0; row < 16; row++)
            {
                for (int column = 0; column < o.Fragment.Columns; column++)
                {
                    int lane = 4 * (row & 7) + (column & 7) / 2, element = 4 * (column / 8) + 2 * (row / 8) + (column & 1), i = element * WarpState.Lanes + lane;
                    fragment[i] = _accumulation.Accumulate(o.Accumulate ? fragment[i] : 0, a.AsSpan(row * length, length), b.AsSpan(column * length, length));
                }
            }
        }
    }

    static float[] Decode(byte[] shared, int first, int rows, ElementType element)
    {
        int bytes = Names.BytesOf(element), length = 32 / bytes;
        var values = new float[rows * length];
        for (int row = 0; row < rows; row++)
        {
            for (int i = 0; i < length; i++)
            {
                int offset = i * bytes, at = Locate(first + row * 128 + (offset & ~15)) + (offset & 15);
                values[row * length + i] = element switch
                {
                    ElementType.E4M3 => new Numerics.E4M3(shared[at]).ToSingle(),
                    ElementType.BF16 => new Numerics.BF16((ushort)(shared[at] | shared[at + 1] << 8)).ToSingle(),

                    // TF32: the upper 19 bits.
                    _ => BitConverter.UInt32BitsToSingle(SimulatedMemory.Word(shared.AsSpan(at)) & 0xFFFFE000),
                };
            }
        }

        return values;
    }

    bool Wait(WarpState warp, WgmmaWait o)
    {
        List<WgmmaGroup> committed = warp.Groups.FindAll(g => g.Committed);
        int due = committed.Count - o.Pending;
        for (int i = 0; i < due; i++)
        {
            if (committed[i].Done) continue;
            warp.Waiting = "products are unfinished";
            return false;
        }

        for (int i = 0; i < due; i++)
        {
            foreach (IssuedWgmma issued in committed[i].Operations)
            {
                warp.Clock.Finish(issued.Id);
                warp.FragmentPending[issued.Operation.Fragment.Id]--;
            }

            warp.Groups.Remove(committed[i]);
        }

        return true;
    }
}
