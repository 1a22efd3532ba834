using System.Buffers.Binary;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Interpreter;

/// <content>Products of one warp, and atomic operations.</content>
public sealed partial class KernelInterpreter
{
    void Load(WarpState warp, uint mask, LoadMatrix o)
    {
        RequireWholeWarp(warp, o, mask);
        Span<ulong> addresses = warp.Of(o.Address);
        int access = Begin(warp, warp.Block, o);
        Span<ushort> matrix = stackalloc ushort[64];
        for (int i = 0; i < o.Loaded.Count; i++)
        {
            for (int row = 0; row < 8; row++)
            {
                int at = SharedRange(warp, o, addresses[8 * i + row] + (ulong)o.ByteOffset, 16, 16);
                Check(warp, o, warp.Block.Shadow.Read(access, warp.Clock, at, 16, 8 * i + row));
                for (int column = 0; column < 8; column++)
                {
                    ushort element = BinaryPrimitives.ReadUInt16LittleEndian(warp.Block.Shared.AsSpan(at + 2 * column));
                    matrix[o.Transposed ? 8 * column + row : 8 * row + column] = element;
                }
            }

            Span<ulong> to = warp.Of(o.Loaded[i]);
            for (int lane = 0; lane < WarpState.Lanes; lane++) to[lane] = matrix[2 * lane] | (uint)matrix[2 * lane + 1] << 16;
        }
    }

    void Multiply(WarpState warp, uint mask, MultiplySync o)
    {
        RequireWholeWarp(warp, o, mask);
        float[] a = new float[16 * 16], b = new float[8 * 16], sums = new float[16 * 8];
        for (int lane = 0; lane < WarpState.Lanes; lane++)
        {
            int row = lane / 4, column = 2 * (lane % 4);
            for (int i = 0; i < 4; i++)
            {
                Unpack((uint)warp.Of(o.A[i])[lane], a.AsSpan(16 * (row + 8 * (i & 1)) + column + 8 * (i >> 1)));
                sums[8 * (row + 8 * (i >> 1)) + column + (i & 1)] = Single(warp.Of(o.Addends[i])[lane]);
            }

            for (int i = 0; i < 2; i++) Unpack((uint)warp.Of(o.B[i])[lane], b.AsSpan(16 * row + column + 8 * i));
        }

        for (int row = 0; row < 16; row++)
            for (int column = 0; column < 8; column++)
                sums[8 * row + column] = _accumulation.Accumulate(sums[8 * row + column], a.AsSpan(16 * row, 16), b.AsSpan(16 * column, 16));
        for (int lane = 0; lane < WarpState.Lanes; lane++)
            for (int i = 0; i < 4; i++)
                warp.Of(o.Sums[i])[lane] = Bits(sums[8 * (lane / 4 + 8 * (i >> 1)) + 2 * (lane % 4) + (i & 1)]);
    }

    static void Unpack(uint pair, Span<float> to)
    {
        to[0] = BitConverter.UInt32BitsToSingle(pair << 16);
        to[1] = BitConverter.UInt32BitsToSingle(pair & 0xFFFF0000);
    }

    void Add(WarpState warp, uint mask, AtomicAdd o)
    {
        Span<ulong> addresses = warp.Of(o.Address), added = warp.Of(o.Added), result = warp.Of(o.Result);
        for (int lane = 0; lane < WarpState.Lanes; lane++)
        {
            if ((mask >> lane & 1) == 0) continue;
            Span<byte> word = Global(warp, o, addresses[lane] + (ulong)o.ByteOffset, 4, 4);
            uint before = SimulatedMemory.Word(word);
            BinaryPrimitives.WriteUInt32LittleEndian(word, before + (uint)added[lane]);
            result[lane] = before;
        }
    }
}
