using System.Buffers;
using System.Runtime.CompilerServices;

namespace Hadal.Text;

/// <summary>
/// Matches the split patterns of byte-level tokenizers over Unicode scalars in UTF-8.
/// </summary>
/// <remarks>
/// .NET's regular expressions see UTF-16 units, so a class such as <c>\p{S}</c> never holds an emoji and ids would differ from those of the
/// tokenizers everybody else uses. These patterns need little: an ordered choice of sequences of counted character classes, and a negative lookahead of one
/// character. Each distinct class gets one bit; a table gives the bits of every scalar of the Basic Multilingual Plane, so that
/// matching is one load and one test per character. Choice is ordered and counts are greedy with backtracking, as in Oniguruma and Perl.
/// </remarks>
sealed class SplitPattern
{
    /// <summary>Most distinct character classes in one pattern: one bit of <see cref="ushort"/> each.</summary>
    public const int MaximumClasses = 16;

    /// <summary>One counted character class, or (when <paramref name="Lookahead"/>) the demand that the next character is not in the class.</summary>
    internal readonly record struct Item(ushort Class, int Minimum, int Maximum, bool Lookahead);

    readonly CharacterClass[] _classes;
    readonly Item[][] _alternatives;
    readonly ushort[] _starts;
    readonly ushort _anyStart;
    readonly ushort[] _bits = new ushort[0x10000];
    readonly SearchValues<byte> _candidates;

    internal SplitPattern(string source, CharacterClass[] classes, Item[][] alternatives)
    {
        Source = source;
        _classes = classes;
        _alternatives = alternatives;
        _starts = Array.ConvertAll(alternatives, StartsOf);
        foreach (ushort start in _starts) _anyStart |= start;
        for (int scalar = 0; scalar < _bits.Length; scalar++)
            if (!char.IsSurrogate((char)scalar)) _bits[scalar] = Classify(scalar);
        var candidates = new List<byte>();
        for (int value = 0; value < 256; value++)
            if (value >= 0x80 || (_bits[value] & _anyStart) != 0) candidates.Add((byte)value);
        _candidates = SearchValues.Create(candidates.ToArray());
    }

    /// <summary>The pattern as it was written.</summary>
    public string Source { get; }

    /// <summary>Reads a pattern.</summary>
    /// <exception cref="TokenizerFormatException">The pattern uses something outside the supported subset.</exception>
    public static SplitPattern Parse(string source, string where) => SplitPatternParser.Parse(source, where);

    /// <summary>Finds the first match at or after a position.</summary>
    /// <param name="text">Well-formed UTF-8.</param>
    /// <param name="from">Where to begin: the start of a scalar.</param>
    /// <param name="start">First byte of the match.</param>
    /// <param name="end">One past the last byte of the match; above <paramref name="start"/>.</param>
    public bool TryFind(ReadOnlySpan<byte> text, int from, out int start, out int end)
    {
        int position = from;
        while (position < text.Length)
        {
            uint bits = BitsAt(text, position, out int length);
            if ((bits & _anyStart) != 0)
            {
                for (int alternative = 0; alternative < _alternatives.Length; alternative++)
                {
                    if ((bits & _starts[alternative]) == 0) continue;
                    int stop = Match(_alternatives[alternative], 0, text, position);
                    if (stop < 0) continue;
                    start = position;
                    end = stop;
                    return true;
                }
                position += length;
            }
            else
            {
                position += length;
                int skip = text[position..].IndexOfAny(_candidates);
                if (skip < 0) break;
                position += skip;
                // The skip lands on a lead byte: continuation bytes never follow the end of a scalar.
            }
        }
        start = end = text.Length;
        return false;
    }

    /// <summary>End of the match of items from <paramref name="index"/> on, or −1.</summary>
    int Match(Item[] items, int index, ReadOnlySpan<byte> text, int position)
    {
        for (; index < items.Length; index++)
        {
            Item item = items[index];
            if (item.Lookahead)
            {
                if (position < text.Length && (BitsAt(text, position, out _) & item.Class) != 0) return -1;
                continue;
            }
            int count = 0;
            int floor = position;
            while (count < item.Maximum && position < text.Length && (BitsAt(text, position, out int length) & item.Class) != 0)
            {
                position += length;
                if (++count == item.Minimum) floor = position;
            }
            if (count < item.Minimum) return -1;
            if (index == items.Length - 1) return position;
            if (position == floor) continue;
            while (true)
            {
                int stop = Match(items, index + 1, text, position);
                if (stop >= 0 || position == floor) return stop;
                position = Utf8Scalars.Back(text, position);
            }
        }
        return position;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    uint BitsAt(ReadOnlySpan<byte> text, int position, out int length)
    {
        int scalar = Utf8Scalars.Read(text, position, out length);
        ushort[] table = _bits;
        return (uint)scalar < (uint)table.Length ? table[scalar] : Classify(scalar);
    }

    ushort Classify(int scalar)
    {
        int bits = 0;
        for (int i = 0; i < _classes.Length; i++)
            if (_classes[i].Contains(scalar)) bits |= 1 << i;
        return (ushort)bits;
    }

    /// <summary>Bits of which a scalar must have one to begin a match of the alternative.</summary>
    static ushort StartsOf(Item[] items)
    {
        ushort starts = 0;
        foreach (Item item in items)
        {
            if (item.Lookahead) continue;
            starts |= item.Class;
            if (item.Minimum > 0) break;
        }
        return starts;
    }
}
