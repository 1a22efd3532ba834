using Hadal.Kernels.Dsl;

namespace Hadal.Kernels.Library.Ladder;

/// <summary>
/// 64 of K of some rows of a BF16 matrix in shared memory, rows of 128 bytes, 16-byte piece p of row r at p XOR (r mod 8): rows that a warp reads together lie in
/// different banks, and wgmma expects them so. Here threads bring the pieces; from rung 8 on TMA does.
/// </summary>
static class SwizzledTile
{
    public const int Depth = 64;

    /// <summary>Copies rows <paramref name="first"/> … of the matrix to shared memory; zeros outside. <paramref name="threads"/> threads take part.</summary>
    public static void Fetch(KernelScope k, int threads, U64 matrix, U32 first, int tileRows, int rows, MatrixShape shape, U32 shared, U32 chunk)
    {
        U32 piece = k.ThreadIndex & 7, down = k.ThreadIndex >> 3, inK = (chunk << 6) + (piece << 3);
        U32 to = shared + (down << 7) + ((piece ^ (down & 7)) << 4);
        U32 zero = k.Constant(0);
        for (int i = 0; i < tileRows; i += threads / 8)
        {
            U32 r = first + down + i;
            Predicate inside = r < rows & inK < shape.K;
            U32[] v = k.LoadVector<U32>(4, matrix.At(r * shape.K + inK, 2), cache: Ir.CacheHint.ReadOnly, where: inside);
            k.StoreShared<U32>(to, [inside.Select(v[0], zero), inside.Select(v[1], zero), inside.Select(v[2], zero), inside.Select(v[3], zero)], i << 7);
        }
    }
}
