namespace Hadal.Training.Supervised;

/// <summary>Checks answers of the countdown task: sums, differences and products of whole numbers with parentheses.</summary>
static class Expression
{
    const int LongestText = 64;

    /// <summary>
    /// True when the text is an expression, perhaps followed by <c>= target</c>, that uses each number exactly once and comes to the target.
    /// </summary>
    internal static bool Reaches(string text, IReadOnlyList<int> numbers, int target)
    {
        if (text.Length > LongestText) return false;
        string[] sides = text.Split('=');
        if (sides.Length > 2 || (sides.Length == 2 && !string.Equals(sides[1].Trim(), target.ToString(System.Globalization.CultureInfo.InvariantCulture), StringComparison.Ordinal))) return false;
        var parser = new Parser(sides[0].Replace(" ", "", StringComparison.Ordinal));
        return parser.Sum() is long value && parser.AtEnd && value == target && parser.Used.Order().SequenceEqual(numbers.Order());
    }

    /// <summary>Sum = product (+|− product)*, product = factor (* factor)*, factor = number | ( sum ). Null where the text is none of these.</summary>
    sealed class Parser(string text)
    {
        int _at;

        internal List<int> Used { get; } = [];

        internal bool AtEnd => _at == text.Length;

        char Next => _at < text.Length ? text[_at] : '\0';

        internal long? Sum()
        {
            long? value = Product();
            while (value is not null && Next is '+' or '-')
            {
                bool adds = text[_at++] == '+';
                value = Product() is long other ? adds ? value + other : value - other : null;
            }

            return value;
        }

        long? Product()
        {
            long? value = Factor();
            while (value is not null && Next is '*')
            {
                _at++;
                value = Factor() is long other ? value * other : null;
            }

            return value;
        }

        long? Factor()
        {
            if (Next is '(')
            {
                _at++;
                long? inner = Sum();
                return inner is not null && _at < text.Length && text[_at++] == ')' ? inner : null;
            }

            int first = _at;
            while (char.IsAsciiDigit(Next)) _at++;
            if (_at == first || _at - first > 4) return null;
            Used.Add(int.Parse(text.AsSpan(first, _at - first), System.Globalization.CultureInfo.InvariantCulture));
            return Used[^1];
        }
    }
}
