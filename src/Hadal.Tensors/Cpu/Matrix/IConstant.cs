namespace Hadal.Tensors.Cpu.Matrix;

/// <summary>An integer the compiler knows: a kernel generic over it is compiled once for every value, with the other branches gone.</summary>
interface IConstant
{
    /// <summary>The integer.</summary>
    static abstract int Value { get; }
}

/// <summary>1.</summary>
readonly struct One : IConstant
{
    public static int Value => 1;
}

/// <summary>2.</summary>
readonly struct Two : IConstant
{
    public static int Value => 2;
}

/// <summary>3.</summary>
readonly struct Three : IConstant
{
    public static int Value => 3;
}

/// <summary>4.</summary>
readonly struct Four : IConstant
{
    public static int Value => 4;
}

/// <summary>5.</summary>
readonly struct Five : IConstant
{
    public static int Value => 5;
}

/// <summary>6.</summary>
readonly struct Six : IConstant
{
    public static int Value => 6;
}

/// <summary>7.</summary>
readonly struct Seven : IConstant
{
    public static int Value => 7;
}

/// <summary>8.</summary>
readonly struct Eight : IConstant
{
    public static int Value => 8;
}

/// <summary>9.</summary>
readonly struct Nine : IConstant
{
    public static int Value => 9;
}

/// <summary>10.</summary>
readonly struct Ten : IConstant
{
    public static int Value => 10;
}

/// <summary>11.</summary>
readonly struct Eleven : IConstant
{
    public static int Value => 11;
}

/// <summary>12.</summary>
readonly struct Twelve : IConstant
{
    public static int Value => 12;
}
