namespace Hadal.Planning.Serving;

/// <summary>Numbers of which the least is always known: a tournament, where changing one number plays its matches again. Ties go to the lower index.</summary>
/// <param name="count">How many; all are 0 to begin with.</param>
public sealed class LeastIndex(int count)
{
    readonly double[] _values = new double[count];
    readonly int[] _winners = First(count);

    /// <summary>Where the least number stands.</summary>
    public int Index => _winners[1];

    /// <summary>A number.</summary>
    /// <param name="index">Which, from 0.</param>
    public double this[int index]
    {
        get => _values[index];
        set
        {
            if (_values[index] == value) return;
            _values[index] = value;
            for (int match = (index + (_winners.Length / 2)) / 2; match >= 1; match /= 2) _winners[match] = Winner(_winners[2 * match], _winners[(2 * match) + 1]);
        }
    }

    int Winner(int left, int right) => right >= _values.Length || _values[left] <= _values[right] ? left : right;

    // The first round stands in the second half; places beyond the last number lose.
    static int[] First(int count)
    {
        int leaves = Math.Max(2, (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)count));
        int[] winners = new int[2 * leaves];
        for (int index = 0; index < leaves; index++) winners[leaves + index] = index;
        for (int match = leaves - 1; match >= 1; match--) winners[match] = winners[2 * match];
        return winners;
    }
}
