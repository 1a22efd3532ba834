using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Hadal.Kernels.Interpreter;

/// <summary>Global memory of the interpreter: allocations with gaps between them, so that an access outside one is found.</summary>
public sealed class SimulatedMemory
{
    const ulong Gap = 1 << 16;
    readonly SortedList<ulong, byte[]> _allocations = [];
    ulong _next = 1 << 20;

    /// <summary>Reserves bytes, all 0xFF (a NaN in every float format); the address is a multiple of 256.</summary>
    public ulong Allocate(long bytes)
    {
        var data = new byte[bytes];
        data.AsSpan().Fill(0xFF);
        ulong address = _next;
        _allocations.Add(address, data);
        _next = (address + (ulong)bytes + Gap + 255) / 256 * 256;
        return address;
    }

    /// <summary>Reserves room for the elements and copies them there.</summary>
    public ulong Upload<T>(ReadOnlySpan<T> data)
        where T : unmanaged
    {
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(data);
        ulong address = Allocate(bytes.Length);
        bytes.CopyTo(Find(address, bytes.Length));
        return address;
    }

    /// <summary>A copy of elements.</summary>
    public T[] Download<T>(ulong address, long count)
        where T : unmanaged
    {
        var result = new T[count];
        Span<byte> bytes = MemoryMarshal.AsBytes(result.AsSpan());
        Find(address, bytes.Length).CopyTo(bytes);
        return result;
    }

    /// <summary>The bytes at an address; empty when they lie in no allocation.</summary>
    internal Span<byte> Find(ulong address, int bytes)
    {
        int low = 0, high = _allocations.Count - 1;
        while (low <= high)
        {
            int middle = (low + high) / 2;
            ulong begin = _allocations.Keys[middle];
            if (address < begin) high = middle - 1;
            else if (address >= begin + (ulong)_allocations.Values[middle].LongLength) low = middle + 1;
            else
            {
                byte[] data = _allocations.Values[middle];
                ulong offset = address - begin;
                return offset + (ulong)bytes <= (ulong)data.LongLength ? data.AsSpan((int)offset, bytes) : [];
            }
        }

        return [];
    }

    internal static uint Word(ReadOnlySpan<byte> bytes) => BinaryPrimitives.ReadUInt32LittleEndian(bytes);
}
