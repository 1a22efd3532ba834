namespace Hadal.Text;

/// <summary>
/// The printable spelling of bytes in byte-level vocabularies (Radford et al. 2019, GPT-2): the 188 printable Latin-1 bytes stand for
/// themselves, the other 68 are written as U+0100, U+0101, … in ascending byte order, so that no token contains a space or a control character.
/// </summary>
static class ByteAlphabet
{
    /// <summary>One past the largest code unit in the alphabet.</summary>
    const int Limit = 0x100 + 68;

    static readonly char[] s_toChar = new char[256];
    static readonly short[] s_toByte = new short[Limit];
    static readonly byte[] s_order = new byte[256];

    static ByteAlphabet()
    {
        Array.Fill(s_toByte, (short)-1);
        char next = '\u0100';
        for (int value = 0; value < 256; value++)
        {
            char spelled = IsPrintable(value) ? (char)value : next++;
            s_toChar[value] = spelled;
            s_toByte[spelled] = (short)value;
        }
        int place = 0;
        for (int spelled = 0; spelled < Limit; spelled++)
            if (s_toByte[spelled] >= 0) s_order[place++] = (byte)s_toByte[spelled];
    }

    /// <summary>All 256 bytes in the order of their spellings: the order of ids in GPT-2's and DeepSeek's vocabularies.</summary>
    public static ReadOnlySpan<byte> VocabularyOrder => s_order;

    /// <summary>The character that spells a byte.</summary>
    public static char ToChar(byte value) => s_toChar[value];

    /// <summary>Spells bytes as a vocabulary string.</summary>
    public static string Spell(ReadOnlySpan<byte> bytes)
    {
        Span<char> chars = bytes.Length <= 256 ? stackalloc char[bytes.Length] : new char[bytes.Length];
        for (int i = 0; i < bytes.Length; i++) chars[i] = s_toChar[bytes[i]];
        return new string(chars);
    }

    /// <summary>Reads a vocabulary string back into bytes.</summary>
    /// <param name="spelled">The vocabulary string.</param>
    /// <param name="bytes">Receives one byte per character; must be at least as long as <paramref name="spelled"/>.</param>
    /// <returns>False when a character is outside the alphabet.</returns>
    public static bool TryRead(ReadOnlySpan<char> spelled, Span<byte> bytes)
    {
        for (int i = 0; i < spelled.Length; i++)
        {
            int value = spelled[i] < Limit ? s_toByte[spelled[i]] : -1;
            if (value < 0) return false;
            bytes[i] = (byte)value;
        }
        return true;
    }

    static bool IsPrintable(int value) => value is (>= 0x21 and <= 0x7E) or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF);
}
