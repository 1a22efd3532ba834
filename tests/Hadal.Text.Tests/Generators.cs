using System.Text;
using CsCheck;

namespace Hadal.Text.Tests;

/// <summary>Random texts for property tests.</summary>
static class Generators
{
    /// <summary>Scalars of every plane, with much weight on ASCII, white space and the characters that the splits tell apart.</summary>
    public static Gen<Rune> Scalar { get; } = Gen.Frequency(
        (6, Gen.Int[0x20, 0x7E]),
        (2, OneOf(' ', '\n', '\r', '\t', 0x85, 0xA0, 0x2028, 0x3000, 0, 0x1B)),
        (2, OneOf('a', 'b', '1', '\'', '!', 0xE9, 0x301, 0x4E00, 0x9FA5, 0x9FA6, 0x3042, 0xBD, 0x661)),
        (2, Gen.Int[0xA0, 0x2FFF]),
        (2, Gen.Int[0x3000, 0xD7FF]),
        (1, Gen.Int[0xE000, 0xFFFF]),
        (2, Gen.Int[0x10000, 0x1FAFF]),
        (1, Gen.Int[0x20000, 0x10FFFF])).Select(value => new Rune(value));

    static Gen<int> OneOf(params int[] values) => Gen.Int[0, values.Length - 1].Select(i => values[i]);

    /// <summary>Well-formed text.</summary>
    public static Gen<string> Text { get; } = Scalar.Array[0, 60].Select(scalars => string.Concat(scalars.Select(scalar => scalar.ToString())));

    /// <summary>Well-formed text of the Basic Multilingual Plane, which .NET's regular expressions see as we do.</summary>
    public static Gen<string> BasicText { get; } = Scalar.Where(scalar => scalar.IsBmp).Array[0, 60].Select(scalars => string.Concat(scalars.Select(scalar => scalar.ToString())));
}
