namespace Hadal.Kernels.Interpreter;

/// <summary>Who wrote and read each 4-byte word of a block's shared memory last; finds accesses without an order.</summary>
sealed class SharedShadow
{
    /// <summary>Stands for lanes that cannot be told apart: several of one access, or an asynchronous operation.</summary>
    public const int NoLane = -1;

    readonly int[] _writer;
    readonly sbyte[] _writerLane;
    readonly List<(int Access, sbyte Lane)>?[] _readers;
    readonly List<Access> _accesses = [];

    public SharedShadow(int bytes)
    {
        _writer = new int[(bytes + 3) / 4];
        _writer.AsSpan().Fill(-1);
        _writerLane = new sbyte[_writer.Length];
        _readers = new List<(int, sbyte)>?[_writer.Length];
    }

    public int Begin(in Access access)
    {
        _accesses.Add(access);
        return _accesses.Count - 1;
    }

    /// <summary>Checks and notes a read of [address, address + bytes). Returns the hazard, or null.</summary>
    public (HazardKind Kind, string Text)? Read(int access, Clock clock, int address, int bytes, int lane = NoLane)
    {
        ReadOnlySpan<Access> accesses = System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_accesses);
        ref readonly Access now = ref accesses[access];
        for (int word = address >> 2; word < (address + bytes + 3) >> 2; word++)
        {
            int writer = _writer[word];
            if (writer < 0) return (HazardKind.UninitializedRead, $"{now.What} reads shared memory at byte {4 * word}, which nothing has written");
            ref readonly Access before = ref accesses[writer];
            if (!clock.Knows(before))
            {
                return before.Operation >= 0
                    ? (HazardKind.UnfinishedRead, $"{now.What} reads shared memory at byte {4 * word}, which the {before.What} of {before.Line} has been writing and nobody here has waited for")
                    : (HazardKind.Race, $"{now.What} reads shared memory at byte {4 * word} unordered with the {before.What} of {before.Line} by warp {before.Warp}");
            }

            if (now.Operation >= 0 && before.Operation < 0 && clock.Fenced[before.Warp] < before.Time)
                return (HazardKind.MissingProxyFence, $"{now.What} reads shared memory at byte {4 * word} through the asynchronous proxy; the {before.What} of {before.Line} was not followed by a proxy fence");
            if (OtherLane(now, lane, before, _writerLane[word]))
                return (HazardKind.Race, $"{now.What} of lane {lane} reads shared memory at byte {4 * word} after the {before.What} of {before.Line} by lane {_writerLane[word]} of its warp, without a warp sync in between");
            List<(int Access, sbyte Lane)> readers = _readers[word] ??= [];
            sbyte noted = (sbyte)lane;
            if (readers.Count > 0)
            {
                (int lastAccess, sbyte lastLane) = readers[^1];
                ref readonly Access last = ref accesses[lastAccess];
                if (last.Warp == now.Warp && last.Operation < 0 && now.Operation < 0)
                {
                    readers.RemoveAt(readers.Count - 1);
                    if (last.Epoch == now.Epoch && lastLane != lane) noted = Several;
                }
            }

            readers.Add((access, noted));
        }

        return null;
    }

    /// <summary>Checks and notes a write of [address, address + bytes). Returns the hazard, or null.</summary>
    public (HazardKind Kind, string Text)? Write(int access, Clock clock, int address, int bytes, int lane = NoLane)
    {
        ReadOnlySpan<Access> accesses = System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_accesses);
        ref readonly Access now = ref accesses[access];
        for (int word = address >> 2; word < (address + bytes + 3) >> 2; word++)
        {
            if (_writer[word] is >= 0 and var writer)
            {
                ref readonly Access before = ref accesses[writer];
                if (!clock.Knows(before)) return (HazardKind.Race, $"{now.What} overwrites shared memory at byte {4 * word} unordered with the {before.What} of {before.Line}");
                if (OtherLane(now, lane, before, _writerLane[word]))
                    return (HazardKind.Race, $"{now.What} of lane {lane} overwrites shared memory at byte {4 * word} after the {before.What} of {before.Line} by lane {_writerLane[word]} of its warp, without a warp sync in between");
            }

            if (_readers[word] is { Count: > 0 } readers)
            {
                foreach ((int reader, sbyte readerLane) in readers)
                {
                    ref readonly Access before = ref accesses[reader];
                    if (!clock.Knows(before))
                        return (HazardKind.Race, $"{now.What} overwrites shared memory at byte {4 * word} while the {before.What} of {before.Line} by warp {before.Warp} may still read it");
                    if (OtherLane(now, lane, before, readerLane))
                        return (HazardKind.Race, $"{now.What} of lane {lane} overwrites shared memory at byte {4 * word} after the {before.What} of {before.Line} by another lane of its warp, without a warp sync in between");
                }

                readers.Clear();
            }

            _writer[word] = access;
            _writerLane[word] = (sbyte)lane;
        }

        return null;
    }

    const sbyte Several = 64;

    /// <summary>Two lanes of one warp, with nothing between that orders them. Within one operation lanes do not meet by reading what the same operation writes.</summary>
    static bool OtherLane(in Access now, int lane, in Access before, sbyte beforeLane) =>
        lane >= 0 && beforeLane >= 0 && lane != beforeLane && now.Warp == before.Warp && now.Epoch == before.Epoch && now.Operation < 0 && before.Operation < 0;
}
