using Hadal.Numerics;

namespace Hadal.Tensors.Operations;

/// <summary>
/// Tiles and blocks along a dimension that joins several matrices of equal extent: 128 elements each, beginning anew at every matrix. With one matrix: ⌈length/128⌉ tiles.
/// </summary>
/// <param name="Length">Elements of the dimension.</param>
/// <param name="Section">Elements of each matrix.</param>
readonly record struct Sections(int Length, int Section)
{
    const int Tile = TileQuantizer.Tile;

    /// <summary>Of one matrix, or of several when <paramref name="matrix"/> is not 0.</summary>
    public static Sections Of(int length, int matrix) => new(length, matrix == 0 ? Math.Max(length, 1) : matrix);

    /// <summary>Tiles of a matrix.</summary>
    public int PerSection => TileQuantizer.TileCount(Section);

    /// <summary>All tiles.</summary>
    public int Count => Section >= Length ? TileQuantizer.TileCount(Length) : Length / Section * PerSection;

    /// <summary>The tile of an element.</summary>
    public int TileOf(int element) => Section >= Length ? element / Tile : (element / Section * PerSection) + (element % Section / Tile);

    /// <summary>First element of a tile.</summary>
    public int Start(int tile) => Section >= Length ? tile * Tile : (tile / PerSection * Section) + (tile % PerSection * Tile);

    /// <summary>Elements of a tile.</summary>
    public int Extent(int tile)
    {
        int start = Start(tile), end = Section >= Length ? Length : (start / Section * Section) + Section;
        return Math.Min(Tile, end - start);
    }
}
