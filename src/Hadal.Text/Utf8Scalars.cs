using System.Buffers;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Unicode;

namespace Hadal.Text;

/// <summary>Walking well-formed UTF-8 scalar by scalar. The callers guarantee well-formed text, see <see cref="Repair"/>.</summary>
static class Utf8Scalars
{
    /// <summary>Length in bytes of the scalar whose first byte is given.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int LengthOf(byte lead) => lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;

    /// <summary>Whether a byte continues a scalar.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool IsContinuation(byte value) => (value & 0xC0) == 0x80;

    /// <summary>Reads the scalar at a position.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Read(ReadOnlySpan<byte> text, int position, out int length)
    {
        int lead = text[position];
        if (lead < 0x80)
        {
            length = 1;
            return lead;
        }
        if (lead < 0xE0)
        {
            length = 2;
            return ((lead & 0x1F) << 6) | (text[position + 1] & 0x3F);
        }
        if (lead < 0xF0)
        {
            length = 3;
            return ((lead & 0x0F) << 12) | ((text[position + 1] & 0x3F) << 6) | (text[position + 2] & 0x3F);
        }
        length = 4;
        return ((lead & 0x07) << 18) | ((text[position + 1] & 0x3F) << 12) | ((text[position + 2] & 0x3F) << 6) | (text[position + 3] & 0x3F);
    }

    /// <summary>Position of the scalar before <paramref name="position"/>, which must be above zero.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Back(ReadOnlySpan<byte> text, int position)
    {
        position--;
        while (IsContinuation(text[position])) position--;
        return position;
    }

    /// <summary>Number of scalars.</summary>
    public static int Count(ReadOnlySpan<byte> text)
    {
        int count = 0;
        foreach (byte value in text)
            if (!IsContinuation(value)) count++;
        return count;
    }

    /// <summary>Byte position of the scalar with a given index; the length of the text for the index after the last.</summary>
    public static int PositionOf(ReadOnlySpan<byte> text, int scalar)
    {
        int position = 0;
        for (; scalar > 0; scalar--) position += LengthOf(text[position]);
        return position;
    }

    /// <summary>
    /// Well-formed UTF-8 for any bytes: the same memory if it is well-formed already, otherwise a copy in which each maximal ill-formed part
    /// has become U+FFFD (the practice of the Unicode standard §3.9, also that of Rust's and the web's decoders).
    /// </summary>
    public static ReadOnlySpan<byte> Repair(ReadOnlySpan<byte> text) =>
        Utf8.IsValid(text) ? text : Encoding.UTF8.GetBytes(Encoding.UTF8.GetString(text));

    /// <summary>Writes UTF-16 as well-formed UTF-8 into a rented array; each lone surrogate becomes U+FFFD.</summary>
    /// <param name="text">Any UTF-16.</param>
    /// <param name="length">Number of bytes written.</param>
    /// <returns>An array to be returned to <see cref="ArrayPool{T}.Shared"/>.</returns>
    public static byte[] Rent(ReadOnlySpan<char> text, out int length)
    {
        byte[] rented = ArrayPool<byte>.Shared.Rent(Encoding.UTF8.GetMaxByteCount(text.Length));
        length = Encoding.UTF8.GetBytes(text, rented);
        return rented;
    }
}
