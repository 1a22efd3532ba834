using Hadal.Kernels.Dsl;

namespace Hadal.Kernels.Library.Ladder;

/// <summary>Extents of D[M, N] = A[M, K] · B[N, K]ᵀ, all known when a kernel of the ladder is built. Vector kernels take M elements.</summary>
/// <param name="M">Rows of D, or elements; at least 1.</param>
/// <param name="N">Columns of D; at least 1.</param>
/// <param name="K">Length of the products; rows of tensor maps must be multiples of 16 bytes.</param>
public sealed record MatrixShape(int M, int N = 1, int K = 1)
{
    /// <summary>Tiles of the given size that cover D.</summary>
    public int Tiles(int rows, int columns) => Up(M, rows) * Up(N, columns);

    internal static int Up(int value, int divisor) => (value + divisor - 1) / divisor;
}

/// <summary>What the kernels of the ladder share: where a block's tile lies, how sums leave, and the definition of the product.</summary>
static class LadderTile
{
    /// <summary>The corner of tile number <paramref name="tile"/>, counted along the columns first.</summary>
    public static (U32 Row, U32 Column) Corner(U32 tile, MatrixShape shape, int rows, int columns)
    {
        int across = MatrixShape.Up(shape.N, columns);
        U32 down = tile / across;
        return (down * rows, (tile - down * across) * columns);
    }

    /// <summary>Stores two neighbouring BF16 of row-major D, leaving out what lies outside. The column is even.</summary>
    public static void StorePair(ThreadScope scope, U64 d, U32 row, U32 column, U32 pair, MatrixShape shape)
    {
        U64 address = d.At(row * shape.N + column, 2);
        Predicate inside = row < shape.M & column < shape.N;
        if (shape.N % 2 == 0)
        {
            scope.Store(address, pair, where: inside);
            return;
        }

        scope.StoreHalf(address, pair, high: false, where: inside);
        scope.StoreHalf(address, pair, high: true, 2, inside & column + 1 < shape.N);
    }

    /// <summary>Rounds a warpgroup's 64-row tile to BF16 and stores it with its corner at (row, column).</summary>
    public static void Store(ConsumerScope scope, Fragment tile, U64 d, U32 row, U32 column, MatrixShape shape)
    {
        U32 first = row + scope.FragmentRow(), pair = column + ((scope.Lane & 3) << 1);
        for (int half = 0; half < 2; half++)
            for (int group = 0; group < tile.Columns / 8; group++)
                StorePair(scope, d, first + 8 * half, pair + 8 * group, tile.Pack(4 * group + 2 * half), shape);
    }

    /// <summary>The definition: D[i, j] = Σ A[i, k]·B[j, k] in double, in ascending k.</summary>
    public static double Reference(MatrixShape shape, ReadOnlySpan<float> a, ReadOnlySpan<float> b, int i, int j)
    {
        double sum = 0;
        for (int k = 0; k < shape.K; k++) sum += (double)a[i * shape.K + k] * b[j * shape.K + k];
        return sum;
    }
}
