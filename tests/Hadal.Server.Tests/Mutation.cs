using System.Text;
using Hadal.Numerics;

namespace Hadal.Server.Tests;

/// <summary>Bodies that nobody would write, made of those that somebody would.</summary>
static class Mutation
{
    static readonly string[] Bits =
    [
        "null", "true", "false", "0", "-1", "1e999", "1e-999", "99999999999999999999", "0.5", "\"\"", "\"\\ud800\"", "\"\\u0000\"", "\"<｜end▁of▁sentence｜>\"", "[]", "{}", "[[[[]]]]", "{\"a\":{\"a\":{}}}", "\"text\"", "\"json_object\"",
        "\"required\"", "{\"type\":\"function\",\"function\":{\"name\":\"f\"}}", "[null]", "[\"a\",1]", "\"</think>\"", ",", "}", "]", "\"", "\\", "\u0001", "\ud83d\udc1f", "2147483648", "-9223372036854775809", "[{}]", "\"developer\"", "\"\\n```json\\n\"",
    ];

    /// <summary>A text with one to four changes: a value exchanged, a stretch cut, doubled or replaced by noise; sometimes a byte of any kind.</summary>
    public static byte[] Of(string text, CounterRandom random, ref ulong draw)
    {
        int changes = 1 + random.Below(draw++, 4);
        for (int change = 0; change < changes && text.Length > 0; change++)
        {
            int at = random.Below(draw++, text.Length);
            switch (random.Below(draw++, 5))
            {
                case 0:
                    int colon = text.IndexOf(':', at);
                    if (colon < 0) break;
                    int end = text.IndexOfAny([',', '}', ']'], colon);
                    if (end > colon) text = text[..(colon + 1)] + Bits[random.Below(draw++, Bits.Length)] + text[end..];
                    break;
                case 1:
                    text = text.Remove(at, Math.Min(text.Length - at, 1 + random.Below(draw++, 12)));
                    break;
                case 2:
                    text = text.Insert(at, text.Substring(at, Math.Min(text.Length - at, 1 + random.Below(draw++, 40))));
                    break;
                case 3:
                    text = text.Insert(at, Bits[random.Below(draw++, Bits.Length)]);
                    break;
                default:
                    text = text[..at] + (char)random.Below(draw++, 0x3000) + text[(at + 1)..];
                    break;
            }
        }

        byte[] body = Encoding.UTF8.GetBytes(text);
        if (random.Below(draw++, 8) == 0 && body.Length > 0) body[random.Below(draw++, body.Length)] = (byte)random.Below(draw++, 256);
        return body;
    }
}
