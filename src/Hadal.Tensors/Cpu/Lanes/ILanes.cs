namespace Hadal.Tensors.Cpu.Lanes;

/// <summary>
/// Sixteen binary32 lanes: one 512-bit vector, two of 256, four of 128, or sixteen scalars. A kernel written once over <typeparamref name="TSelf"/>
/// gives the same bits on each, because every operation is defined lane by lane (multiply-add is always fused) and the two reductions have one fixed tree.
/// Lanes are compared and edited as 32-bit integers by the <c>…Bits</c> members.
/// </summary>
/// <typeparam name="TSelf">The implementing type.</typeparam>
public unsafe interface ILanes<TSelf>
    where TSelf : struct, ILanes<TSelf>
{
    /// <summary>Lanes in every implementation.</summary>
    const int Count = 16;

    /// <summary>All lanes +0.</summary>
    static abstract TSelf Zero { get; }

    /// <summary>All lanes <paramref name="value"/>.</summary>
    static abstract TSelf Broadcast(float value);

    /// <summary>All lanes the float with these bits.</summary>
    static abstract TSelf BroadcastBits(int bits);

    /// <summary>Sixteen values from <paramref name="source"/>, unaligned.</summary>
    static abstract TSelf Load(float* source);

    /// <summary>The first <paramref name="count"/> values (0 to 16); the other lanes are +0 and nothing past them is read.</summary>
    static abstract TSelf LoadFirst(float* source, int count);

    /// <summary>Sixteen bfloat16 values, widened.</summary>
    static abstract TSelf LoadBFloat16(ushort* source);

    /// <summary>Writes sixteen values, unaligned.</summary>
    void Store(float* destination);

    /// <summary>Writes the first <paramref name="count"/> lanes (0 to 16) and touches nothing past them.</summary>
    void StoreFirst(float* destination, int count);

    /// <summary>Writes sixteen bfloat16 values, rounded to nearest even; NaN stays a (quiet) NaN.</summary>
    void StoreBFloat16(ushort* destination);

    /// <summary>Sum.</summary>
    static abstract TSelf operator +(TSelf a, TSelf b);

    /// <summary>Difference.</summary>
    static abstract TSelf operator -(TSelf a, TSelf b);

    /// <summary>Product.</summary>
    static abstract TSelf operator *(TSelf a, TSelf b);

    /// <summary>Quotient, correctly rounded.</summary>
    static abstract TSelf operator /(TSelf a, TSelf b);

    /// <summary>a·b + c with one rounding.</summary>
    static abstract TSelf Fma(TSelf a, TSelf b, TSelf c);

    /// <summary>c − a·b with one rounding.</summary>
    static abstract TSelf FmaNegated(TSelf a, TSelf b, TSelf c);

    /// <summary>a &lt; b ? a : b; so b when either is NaN.</summary>
    static abstract TSelf Min(TSelf a, TSelf b);

    /// <summary>a &gt; b ? a : b; so b when either is NaN.</summary>
    static abstract TSelf Max(TSelf a, TSelf b);

    /// <summary>Square root, correctly rounded.</summary>
    static abstract TSelf Sqrt(TSelf a);

    /// <summary>Absolute value.</summary>
    static abstract TSelf Abs(TSelf a);

    /// <summary>All bits set where a &lt; b, else none.</summary>
    static abstract TSelf LessThan(TSelf a, TSelf b);

    /// <summary>All bits set where a = b, else none.</summary>
    static abstract TSelf EqualTo(TSelf a, TSelf b);

    /// <summary>Lane by lane: bits of <paramref name="a"/> where <paramref name="mask"/> is set, else of <paramref name="b"/>.</summary>
    static abstract TSelf Select(TSelf mask, TSelf a, TSelf b);

    /// <summary>Sum as integers, wrapping.</summary>
    static abstract TSelf AddBits(TSelf a, TSelf b);

    /// <summary>Difference as integers, wrapping.</summary>
    static abstract TSelf SubtractBits(TSelf a, TSelf b);

    /// <summary>Bitwise and.</summary>
    static abstract TSelf AndBits(TSelf a, TSelf b);

    /// <summary>Bitwise or.</summary>
    static abstract TSelf OrBits(TSelf a, TSelf b);

    /// <summary>Bitwise exclusive or.</summary>
    static abstract TSelf XorBits(TSelf a, TSelf b);

    /// <summary>Shifted left by <paramref name="count"/> (0 to 31).</summary>
    static abstract TSelf ShiftLeftBits(TSelf a, int count);

    /// <summary>Shifted right by <paramref name="count"/> (0 to 31), zeros coming in.</summary>
    static abstract TSelf ShiftRightBits(TSelf a, int count);

    /// <summary>Integer lanes as floats, rounded to nearest even.</summary>
    static abstract TSelf IntegerToFloat(TSelf integers);

    /// <summary>Lanes 2j and 2j+1 exchanged.</summary>
    static abstract TSelf SwapPairs(TSelf a);

    /// <summary>Lane 2j in both lanes of its pair.</summary>
    static abstract TSelf DuplicateEven(TSelf a);

    /// <summary>Lane 2j+1 in both lanes of its pair.</summary>
    static abstract TSelf DuplicateOdd(TSelf a);

    /// <summary>Sum of all lanes in one fixed tree: lane i + lane i+8, then i + i+4, i + i+2, i + i+1.</summary>
    static abstract float Sum(TSelf a);

    /// <summary>Largest lane, by the tree of <see cref="Sum"/> and the rule of <see cref="Max(TSelf, TSelf)"/>.</summary>
    static abstract float Largest(TSelf a);
}
