using System.Globalization;

namespace Hadal.Text;

/// <summary>
/// A set of Unicode scalars as a split pattern writes it: ranges, general categories and white space, each possibly negated, and the whole possibly negated.
/// </summary>
sealed class CharacterClass : IEquatable<CharacterClass>
{
    const uint SpaceSeparators = (1u << (int)UnicodeCategory.SpaceSeparator) | (1u << (int)UnicodeCategory.LineSeparator) | (1u << (int)UnicodeCategory.ParagraphSeparator);

    readonly List<(int First, int Last)> _ranges = [];
    uint _categories;
    bool _space;
    bool _nonSpace;

    /// <summary>Whether the class holds what its parts do not.</summary>
    public bool Negated { get; set; }

    /// <summary>Adds an inclusive range of scalars.</summary>
    public void AddRange(int first, int last) => _ranges.Add((first, last));

    /// <summary>Adds general categories, one bit each by <see cref="UnicodeCategory"/>.</summary>
    public void AddCategories(uint mask) => _categories |= mask;

    /// <summary>Adds white space (<c>\s</c>): U+0009–U+000D, U+0085 and the separators (categories Zs, Zl, Zp).</summary>
    public void AddSpace() => _space = true;

    /// <summary>Adds everything but white space (<c>\S</c>).</summary>
    public void AddNonSpace() => _nonSpace = true;

    /// <summary>Whether a scalar belongs to the class.</summary>
    public bool Contains(int scalar) => Holds(scalar) != Negated;

    bool Holds(int scalar)
    {
        foreach ((int first, int last) in _ranges)
            if (scalar >= first && scalar <= last) return true;
        if (_categories == 0 && !_space && !_nonSpace) return false;
        uint category = 1u << (int)CharUnicodeInfo.GetUnicodeCategory(scalar);
        if ((category & _categories) != 0) return true;
        bool space = scalar is (>= 0x09 and <= 0x0D) or 0x85 || (category & SpaceSeparators) != 0;
        return space ? _space : _nonSpace;
    }

    /// <summary>
    /// The bits of the general categories with a name such as <c>L</c> (all letters) or <c>Nd</c> (decimal digits); zero when the name is unknown.
    /// </summary>
    public static uint CategoriesNamed(string name)
    {
        uint mask = 0;
        for (int category = 0; category < s_names.Length; category++)
            if (string.Equals(s_names[category], name, StringComparison.Ordinal) || (name.Length == 1 && s_names[category][0] == name[0])) mask |= 1u << category;
        return mask;
    }

    /// <summary>Two-letter names in the order of <see cref="UnicodeCategory"/>.</summary>
    static readonly string[] s_names =
    [
        "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Zs", "Zl", "Zp", "Cc",
        "Cf", "Cs", "Co", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Cn",
    ];

    /// <inheritdoc/>
    public bool Equals(CharacterClass? other) =>
        other is not null && Negated == other.Negated && _categories == other._categories && _space == other._space && _nonSpace == other._nonSpace
        && _ranges.SequenceEqual(other._ranges);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as CharacterClass);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Negated, _categories, _space, _nonSpace, _ranges.Count);
}
