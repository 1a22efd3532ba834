using Hadal.Numerics;

namespace Hadal.Kernels.Library.Calibration;

/// <summary>
/// The tiles that decide between models of the tensor core's arithmetic: random ones of wide spread, and adversarial ones, each family aimed at one property.
/// A function of nothing: the same tiles everywhere.
/// </summary>
public static class CalibrationTiles
{
    /// <summary>All tiles, grouped by shape in the order in which they are launched.</summary>
    public static IReadOnlyList<CalibrationTile> All()
    {
        var tiles = new List<CalibrationTile>();
        foreach ((string family, int count, int columns, int steps) in Families)
            for (int i = 0; i < count; i++) tiles.Add(Make(family, columns, steps, (uint)tiles.Count));
        return tiles;
    }

    static readonly (string Family, int Count, int Columns, int Steps)[] Families =
    [
        ("uniform codes", 8, 8, 1),
        ("uniform codes, accumulator", 12, 8, 1),
        ("normal", 4, 8, 1),
        ("normal, accumulator", 4, 8, 1),
        ("few products", 10, 8, 1),
        ("few products, accumulator", 10, 8, 1),
        ("wide accumulator", 8, 8, 1),
        ("cancellation", 8, 8, 1),
        ("subnormal", 6, 8, 1),
        ("zero times large", 4, 8, 1),
        ("largest", 4, 8, 1),
        ("specials", 3, 8, 1),
        ("growth", 3, 8, 1),
        ("signed zeros", 1, 8, 1),
        ("uniform codes", 4, 8, 4),
        ("uniform codes, accumulator", 3, 8, 4),
        ("normal", 4, 8, 4),
        ("few products, accumulator", 2, 8, 4),
        ("cancellation", 2, 8, 4),
        ("normal", 1, 128, 1),
        ("uniform codes, accumulator", 1, 128, 1),
    ];

    static CalibrationTile Make(string family, int columns, int steps, uint stream)
    {
        const int Rows = CalibrationTile.Rows;
        int depth = 32 * steps;
        var draw = new Draws(stream);
        byte[] a = new byte[Rows * depth], b = new byte[columns * depth];
        float[] c = new float[Rows * columns];
        switch (family)
        {
            case "uniform codes":
                Fill(a, draw.Code);
                Fill(b, draw.Code);
                break;
            case "uniform codes, accumulator":
                Fill(a, draw.Code);
                Fill(b, draw.Code);
                Fill(c, () => draw.Single(-8, 20));
                break;
            case "normal":
                Fill(a, () => draw.NormalCode(1));
                Fill(b, () => draw.NormalCode(1));
                break;
            case "normal, accumulator":
                Fill(a, () => draw.NormalCode(4));
                Fill(b, () => draw.NormalCode(0.5));
                Fill(c, () => draw.Single(-2, 10));
                break;
            case "few products":
            case "few products, accumulator":
                // Each row of A has one to four factors that are not zero; B has them everywhere.
                Fill(b, draw.Code);
                for (int row = 0; row < Rows; row++)
                    for (int left = 1 + draw.Below(4); left > 0; left--) a[(row * depth) + draw.Below(depth)] = draw.Code();
                if (family.EndsWith("accumulator", StringComparison.Ordinal)) Fill(c, () => draw.Single(-24, 24));
                break;
            case "wide accumulator":
                Fill(a, draw.Code);
                Fill(b, draw.Code);
                Fill(c, () => draw.Single(-60, 60));
                break;
            case "cancellation":
                // Products come in pairs of opposite sign, at shuffled places; a third of the pairs differ in one code.
                Fill(a, draw.Code);
                for (int column = 0; column < columns; column++) Pair(b.AsSpan(column * depth, depth), draw, mirror: false);
                for (int row = 0; row < Rows; row++) Pair(a.AsSpan(row * depth, depth), draw, mirror: true);
                Fill(c, () => draw.Below(2) == 0 ? 0 : draw.Single(-10, 8));
                break;
            case "subnormal":
                Fill(a, () => draw.SmallCode());
                Fill(b, () => draw.Below(3) == 0 ? draw.Code() : draw.SmallCode());
                Fill(c, () => draw.Below(4) switch { 0 => 0, 1 => draw.Single(-149, -126), 2 => draw.Single(-40, -10), _ => draw.Single(-24, -4) });
                break;
            case "zero times large":
                Fill(a, () => draw.Below(2) == 0 ? (byte)(draw.Below(2) << 7) : draw.SmallCode());
                Fill(b, () => draw.Below(2) == 0 ? (byte)0x7E : (byte)0);
                for (int row = 0; row < Rows / 2; row++) a.AsSpan(row * depth, depth).Clear();
                Fill(c, () => draw.Single(-30, 6));
                break;
            case "largest":
                Fill(a, () => (byte)(0x78 + draw.Below(7) + (draw.Below(8) == 0 ? 0x80 : 0)));
                Fill(b, () => (byte)(0x78 + draw.Below(7) + (draw.Below(8) == 0 ? 0x80 : 0)));
                Fill(c, () => draw.Below(3) switch { 0 => draw.Single(120, 128), 1 => draw.Single(18, 40), _ => MathF.CopySign(float.MaxValue, draw.Below(2) - 0.5f) });
                break;
            case "specials":
                Fill(a, () => draw.Below(200) == 0 ? (byte)(0x7F + (draw.Below(2) << 7)) : draw.Code());
                Fill(b, draw.Code);
                Fill(c, () => Specials[draw.Below(Specials.Length)]);
                break;
            case "growth":
                // Equal products against accumulators around powers of two: where does adding stop?
                Fill(a, () => (byte)0x38);
                Fill(b, () => (byte)0x38);
                for (int row = 0; row < Rows; row++) a.AsSpan(row * depth, depth).Fill((byte)(0x38 + draw.Below(24) - 12));
                Fill(c, () => MathF.ScaleB(1 + draw.Below(2) * MathF.ScaleB(1, -draw.Below(24)), draw.Below(26) - 2) * (draw.Below(4) == 0 ? -1 : 1));
                break;
            default:
                Fill(a, () => (byte)(draw.Below(2) << 7));
                Fill(b, () => (byte)((draw.Below(2) << 7) + (draw.Below(2) * 0x38)));
                Fill(c, () => draw.Below(2) == 0 ? 0f : -0f);
                break;
        }

        return new CalibrationTile(family, columns, steps, a, b, c, new float[c.Length]);
    }

    static readonly float[] Specials =
    [
        0f, -0f, float.PositiveInfinity, float.NegativeInfinity, float.NaN, BitConverter.UInt32BitsToSingle(0x7F80_0001), BitConverter.UInt32BitsToSingle(0xFFC1_2345),
        float.MaxValue, -float.MaxValue, float.Epsilon, -float.Epsilon, BitConverter.UInt32BitsToSingle(0x0080_0000), 1f, -1f, 16384f, 16777216f,
    ];

    /// <summary>Places (0, 1), (2, 3) … become a code twice: in the mirrored factor with opposite signs. One in three of the mirrored pairs is spoilt by one code.</summary>
    static void Pair(Span<byte> row, Draws draw, bool mirror)
    {
        for (int i = 0; i < row.Length; i += 2)
        {
            byte code = draw.Code();
            row[i] = code;
            row[i + 1] = mirror ? (byte)(code ^ 0x80) : code;
            if (mirror && draw.Below(3) == 0 && (code & 0x7F) is > 0 and < 0x7E) row[i + 1] ^= 1;
            if ((row[i + 1] & 0x7F) == 0x7F) row[i + 1] ^= 1;
        }
    }

    static void Fill(byte[] codes, Func<byte> next)
    {
        for (int i = 0; i < codes.Length; i++) codes[i] = next();
    }

    static void Fill(float[] values, Func<float> next)
    {
        for (int i = 0; i < values.Length; i++) values[i] = next();
    }

    sealed class Draws(uint stream)
    {
        readonly CounterRandom _random = new(20261124, RandomPurpose.TestData, stream);
        ulong _next;

        public int Below(int bound) => _random.Below(_next++, bound);

        /// <summary>Any code but a NaN.</summary>
        public byte Code()
        {
            int code = Below(254);
            return (byte)(code < 127 ? code : code + 1);
        }

        /// <summary>Zero, subnormal or of the two smallest normal binades.</summary>
        public byte SmallCode() => (byte)(Below(24) + (Below(2) << 7));

        public byte NormalCode(double deviation) => E4M3.FromDouble(_random.Normal(_next++) * deviation).Bits;

        /// <summary>Any sign, exponent in [low, high), any mantissa; the lowest exponents are subnormal.</summary>
        public float Single(int low, int high)
        {
            double magnitude = Math.ScaleB(1 + _random.Uniform(_next++), low + Below(high - low));
            float value = (float)magnitude;
            if (float.IsInfinity(value)) value = float.MaxValue;
            return Below(2) == 0 ? value : -value;
        }
    }
}
