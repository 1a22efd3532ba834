namespace Hadal.Kernels.Interpreter;

/// <summary>Who wrote and read each 4-byte word of a block's shared memory last; finds accesses without an order.</summary>
sealed class SharedShadow
{
    readonly int[] _writer;
    readonly List<int>?[] _readers;
    readonly List<Access> _accesses = [];

    public SharedShadow(int bytes)
    {
        _writer = new int[(bytes + 3) / 4];
        _writer.AsSpan().Fill(-1);
        _readers = new List<int>?[_writer.Length];
    }

    public int Begin(Access access)
    {
        _accesses.Add(access);
        return _accesses.Count - 1;
    }

    /// <summary>Checks and notes a read of [address, address + bytes). Returns the hazard, or null.</summary>
    public (HazardKind Kind, string Text)? Read(int access, Clock clock, int address, int bytes)
    {
        Access now = _accesses[access];
        for (int word = address >> 2; word < (address + bytes + 3) >> 2; word++)
        {
            int writer = _writer[word];
            if (writer < 0) return (HazardKind.UninitializedRead, $"{now.What} reads shared memory at byte {4 * word}, which nothing has written");
            Access before = _accesses[writer];
            if (!clock.Knows(before))
            {
                return before.Operation >= 0
                    ? (HazardKind.UnfinishedRead, $"{now.What} reads shared memory at byte {4 * word}, which the {before.What} of {before.Line} has been writing and nobody here has waited for")
                    : (HazardKind.Race, $"{now.What} reads shared memory at byte {4 * word} unordered with the {before.What} of {before.Line} by warp {before.Warp}");
            }

            if (now.Operation >= 0 && before.Operation < 0 && clock.Fenced[before.Warp] < before.Time)
                return (HazardKind.MissingProxyFence, $"{now.What} reads shared memory at byte {4 * word} through the asynchronous proxy; the {before.What} of {before.Line} was not followed by a proxy fence");
            List<int> readers = _readers[word] ??= [];
            if (readers.Count > 0)
            {
                Access last = _accesses[readers[^1]];
                if (last.Warp == now.Warp && last.Operation < 0 && now.Operation < 0) readers.RemoveAt(readers.Count - 1);
            }

            readers.Add(access);
        }

        return null;
    }

    /// <summary>Checks and notes a write of [address, address + bytes). Returns the hazard, or null.</summary>
    public (HazardKind Kind, string Text)? Write(int access, Clock clock, int address, int bytes)
    {
        Access now = _accesses[access];
        for (int word = address >> 2; word < (address + bytes + 3) >> 2; word++)
        {
            if (_writer[word] is >= 0 and var writer && !clock.Knows(_accesses[writer]))
                return (HazardKind.Race, $"{now.What} overwrites shared memory at byte {4 * word} unordered with the {_accesses[writer].What} of {_accesses[writer].Line}");
            if (_readers[word] is { Count: > 0 } readers)
            {
                foreach (int reader in readers)
                {
                    Access before = _accesses[reader];
                    if (!clock.Knows(before))
                        return (HazardKind.Race, $"{now.What} overwrites shared memory at byte {4 * word} while the {before.What} of {before.Line} by warp {before.Warp} may still read it");
                }

                readers.Clear();
            }

            _writer[word] = access;
        }

        return null;
    }
}
