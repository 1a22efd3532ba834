namespace Hadal.Text.Tests;

/// <summary>A small counter-based generator for test data: the same on every machine.</summary>
sealed class SplitMix(ulong seed)
{
    ulong _state = seed;

    public ulong Next()
    {
        _state += 0x9E3779B97F4A7C15;
        return Mix(_state);
    }

    public int Next(int limit) => (int)(((UInt128)Next() * (ulong)limit) >> 64);

    public int Next(int first, int last) => first + Next(last - first + 1);

    public T Pick<T>(IReadOnlyList<T> items) => items[Next(items.Count)];

    public static ulong Mix(ulong value)
    {
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
        return value ^ (value >> 31);
    }
}
