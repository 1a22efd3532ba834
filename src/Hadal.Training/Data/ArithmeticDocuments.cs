using System.Text;
using Hadal.Numerics;

namespace Hadal.Training.Data;

/// <summary>
/// Generated sums, differences and products with exact answers, in digits and in words: text that can be checked and never runs out. Document i is a pure
/// function of (seed, i). Operands are 0–99 for sums and differences (never negative), 0–12 for products, so that a small model can learn them.
/// </summary>
/// <param name="seed">Seed of the text.</param>
public sealed class ArithmeticDocuments(ulong seed)
{
    /// <summary>Problems of one document.</summary>
    public const int LinesPerDocument = 12;

    static readonly string[] Small =
    [
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen",
        "sixteen", "seventeen", "eighteen", "nineteen",
    ];

    static readonly string[] Tens = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

    /// <summary>The first <paramref name="count"/> documents.</summary>
    public Corpus Corpus(int count) => new("arithmetic", [.. Enumerable.Range(0, count).Select(i => new Document($"arithmetic:{i}", Text(i)))]);

    /// <summary>One document.</summary>
    public string Text(int document)
    {
        var random = new CounterRandom(seed, RandomPurpose.SyntheticText, (uint)document);
        var text = new StringBuilder();
        for (int line = 0; line < LinesPerDocument; line++)
        {
            ulong at = (ulong)line * 4;
            int kind = random.Below(at, 3);
            int limit = kind == 2 ? 13 : 100;
            int a = random.Below(at + 1, limit), b = random.Below(at + 2, limit);
            if (kind == 1 && a < b) (a, b) = (b, a);
            int answer = kind switch { 0 => a + b, 1 => a - b, _ => a * b };
            if (random.Below(at + 3, 2) == 0)
            {
                text.Append(a).Append(kind switch { 0 => " + ", 1 => " - ", _ => " * " }).Append(b).Append(" = ").Append(answer).Append('\n');
            }
            else
            {
                string first = Words(a);
                text.Append(char.ToUpperInvariant(first[0])).Append(first.AsSpan(1)).Append(kind switch { 0 => " plus ", 1 => " minus ", _ => " times " })
                    .Append(Words(b)).Append(" is ").Append(Words(answer)).Append(".\n");
            }
        }

        return text.ToString();
    }

    /// <summary>An integer of 0–999 in English words, for example <c>one hundred and forty-four</c>.</summary>
    public static string Words(int number)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(number);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(number, 999);
        if (number < 20) return Small[number];
        if (number < 100) return number % 10 == 0 ? Tens[number / 10] : $"{Tens[number / 10]}-{Small[number % 10]}";
        string hundreds = $"{Small[number / 100]} hundred";
        return number % 100 == 0 ? hundreds : $"{hundreds} and {Words(number % 100)}";
    }
}
