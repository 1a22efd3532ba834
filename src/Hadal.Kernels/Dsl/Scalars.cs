using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Dsl;

/// <summary>A run-time value of a thread. C# values (int, float, bool) are constants of the kernel; these are registers.</summary>
/// <typeparam name="TSelf">The handle's own type.</typeparam>
public interface IScalar<TSelf>
    where TSelf : struct, IScalar<TSelf>
{
    internal static abstract ScalarType Type { get; }

    internal Value Value { get; }

    internal static abstract TSelf Wrap(Recorder recorder, Value value);
}

/// <summary>An unsigned 32-bit word of a thread. Operators record instructions; with a C# <see cref="int"/> the other operand is a constant.</summary>
public readonly struct U32 : IScalar<U32>
{
    readonly Recorder _recorder;
    readonly Value _value;

    internal U32(Recorder recorder, Value value) => (_recorder, _value) = (recorder, value);

    static ScalarType IScalar<U32>.Type => ScalarType.U32;

    Value IScalar<U32>.Value => _value;

    internal Value Value => _value;

    internal Recorder Recorder => _recorder;

    static U32 IScalar<U32>.Wrap(Recorder recorder, Value value) => new(recorder, value);

    U32 Op(BinaryKind kind, U32 other) => new(_recorder, _recorder.Binary(kind, _value, other._value));

    U32 Op(BinaryKind kind, int other) => Op(kind, Literal(other));

    U32 Literal(int value) => new(_recorder, _recorder.Constant(ScalarType.U32, unchecked((uint)value)));

    Predicate Is(CompareKind kind, U32 other) => new(_recorder, _recorder.Compare(kind, _value, other._value));

    /// <summary>Sum, wrapping.</summary>
    public static U32 operator +(U32 left, U32 right) => left.Op(BinaryKind.Add, right);

    /// <summary>Sum, wrapping.</summary>
    public static U32 operator +(U32 left, int right) => right == 0 ? left : left.Op(BinaryKind.Add, right);

    /// <summary>Difference, wrapping.</summary>
    public static U32 operator -(U32 left, U32 right) => left.Op(BinaryKind.Subtract, right);

    /// <summary>Difference, wrapping.</summary>
    public static U32 operator -(U32 left, int right) => right == 0 ? left : left.Op(BinaryKind.Subtract, right);

    /// <summary>Low half of the product.</summary>
    public static U32 operator *(U32 left, U32 right) => left.Op(BinaryKind.Multiply, right);

    /// <summary>Low half of the product; a shift where the factor is a power of two.</summary>
    public static U32 operator *(U32 left, int right) =>
        right == 1 ? left : int.IsPow2(right) ? left << int.Log2(right) : left.Op(BinaryKind.Multiply, right);

    /// <summary>Quotient, rounded down.</summary>
    public static U32 operator /(U32 left, U32 right) => left.Op(BinaryKind.Divide, right);

    /// <summary>Quotient, rounded down; a shift where the divisor is a power of two.</summary>
    public static U32 operator /(U32 left, int right) =>
        right == 1 ? left : int.IsPow2(right) ? left >> int.Log2(right) : left.Op(BinaryKind.Divide, right);

    /// <summary>Remainder.</summary>
    public static U32 operator %(U32 left, U32 right) => left.Op(BinaryKind.Remainder, right);

    /// <summary>Remainder; a mask where the divisor is a power of two.</summary>
    public static U32 operator %(U32 left, int right) => int.IsPow2(right) ? left & (right - 1) : left.Op(BinaryKind.Remainder, right);

    /// <summary>Bitwise and.</summary>
    public static U32 operator &(U32 left, U32 right) => left.Op(BinaryKind.And, right);

    /// <summary>Bitwise and.</summary>
    public static U32 operator &(U32 left, int right) => left.Op(BinaryKind.And, right);

    /// <summary>Bitwise or.</summary>
    public static U32 operator |(U32 left, U32 right) => left.Op(BinaryKind.Or, right);

    /// <summary>Bitwise or.</summary>
    public static U32 operator |(U32 left, int right) => right == 0 ? left : left.Op(BinaryKind.Or, right);

    /// <summary>Bitwise exclusive or.</summary>
    public static U32 operator ^(U32 left, U32 right) => left.Op(BinaryKind.Xor, right);

    /// <summary>Bitwise exclusive or.</summary>
    public static U32 operator ^(U32 left, int right) => right == 0 ? left : left.Op(BinaryKind.Xor, right);

    /// <summary>Left shift.</summary>
    public static U32 operator <<(U32 left, int count) => count == 0 ? left : left.Op(BinaryKind.ShiftLeft, count);

    /// <summary>Logical right shift.</summary>
    public static U32 operator >>(U32 left, int count) => count == 0 ? left : left.Op(BinaryKind.ShiftRight, count);

    /// <summary>Less, unsigned.</summary>
    public static Predicate operator <(U32 left, U32 right) => left.Is(CompareKind.Less, right);

    /// <summary>Greater, unsigned.</summary>
    public static Predicate operator >(U32 left, U32 right) => left.Is(CompareKind.Greater, right);

    /// <summary>Less or equal, unsigned.</summary>
    public static Predicate operator <=(U32 left, U32 right) => left.Is(CompareKind.LessOrEqual, right);

    /// <summary>Greater or equal, unsigned.</summary>
    public static Predicate operator >=(U32 left, U32 right) => left.Is(CompareKind.GreaterOrEqual, right);

    /// <summary>Less, unsigned.</summary>
    public static Predicate operator <(U32 left, int right) => left.Is(CompareKind.Less, left.Literal(right));

    /// <summary>Greater, unsigned.</summary>
    public static Predicate operator >(U32 left, int right) => left.Is(CompareKind.Greater, left.Literal(right));

    /// <summary>Less or equal, unsigned.</summary>
    public static Predicate operator <=(U32 left, int right) => left.Is(CompareKind.LessOrEqual, left.Literal(right));

    /// <summary>Greater or equal, unsigned.</summary>
    public static Predicate operator >=(U32 left, int right) => left.Is(CompareKind.GreaterOrEqual, left.Literal(right));

    /// <summary>True where equal. (A method, so that <c>==</c> keeps its C# meaning.)</summary>
    public Predicate Is(U32 other) => Is(CompareKind.Equal, other);

    /// <summary>True where equal.</summary>
    public Predicate Is(int other) => Is(CompareKind.Equal, Literal(other));

    /// <summary>True where different.</summary>
    public Predicate IsNot(int other) => Is(CompareKind.NotEqual, Literal(other));

    /// <summary>The smaller.</summary>
    public U32 Minimum(U32 other) => Op(BinaryKind.Minimum, other);

    /// <summary>The smaller.</summary>
    public U32 Minimum(int other) => Op(BinaryKind.Minimum, other);

    /// <summary>The larger.</summary>
    public U32 Maximum(U32 other) => Op(BinaryKind.Maximum, other);

    /// <summary>The quotient rounded up.</summary>
    public U32 DivideUp(int divisor) => (this + (divisor - 1)) / divisor;

    /// <summary>Zero-extended to 64 bits.</summary>
    public U64 Wide()
    {
        Value value = _value;
        return new(_recorder, _recorder.Emit(ScalarType.U64, r => new Unary(r, UnaryKind.Widen, value)));
    }

    /// <summary>The full product.</summary>
    public U64 MultiplyWide(U32 other)
    {
        Value value = _value;
        return new(_recorder, _recorder.Emit(ScalarType.U64, r => new MultiplyWide(r, value, other._value)));
    }

    /// <summary>The full product with a constant.</summary>
    public U64 MultiplyWide(int other) => MultiplyWide(Literal(other));

    /// <summary>The same bits as binary32.</summary>
    public F32 AsF32()
    {
        Value value = _value;
        return new(_recorder, _recorder.Emit(ScalarType.F32, r => new Unary(r, UnaryKind.BitsToF32, value)));
    }
}

/// <summary>An unsigned 64-bit word of a thread: mostly a global address.</summary>
public readonly struct U64 : IScalar<U64>
{
    readonly Recorder _recorder;
    readonly Value _value;

    internal U64(Recorder recorder, Value value) => (_recorder, _value) = (recorder, value);

    static ScalarType IScalar<U64>.Type => ScalarType.U64;

    Value IScalar<U64>.Value => _value;

    internal Value Value => _value;

    static U64 IScalar<U64>.Wrap(Recorder recorder, Value value) => new(recorder, value);

    /// <summary>Sum, wrapping.</summary>
    public static U64 operator +(U64 left, U64 right) => new(left._recorder, left._recorder.Binary(BinaryKind.Add, left._value, right._value));

    /// <summary>This address moved by <paramref name="index"/> elements of <paramref name="bytes"/> bytes.</summary>
    public U64 At(U32 index, int bytes) => this + index.MultiplyWide(bytes);
}

/// <summary>An IEEE binary32 number of a thread.</summary>
public readonly struct F32 : IScalar<F32>
{
    readonly Recorder _recorder;
    readonly Value _value;

    internal F32(Recorder recorder, Value value) => (_recorder, _value) = (recorder, value);

    static ScalarType IScalar<F32>.Type => ScalarType.F32;

    Value IScalar<F32>.Value => _value;

    internal Value Value => _value;

    static F32 IScalar<F32>.Wrap(Recorder recorder, Value value) => new(recorder, value);

    F32 Op(BinaryKind kind, F32 other) => new(_recorder, _recorder.Binary(kind, _value, other._value));

    F32 Op(UnaryKind kind)
    {
        Value value = _value;
        return new(_recorder, _recorder.Emit(ScalarType.F32, r => new Unary(r, kind, value)));
    }

    F32 Literal(float value) => new(_recorder, _recorder.Constant(ScalarType.F32, BitConverter.SingleToUInt32Bits(value)));

    /// <summary>Sum.</summary>
    public static F32 operator +(F32 left, F32 right) => left.Op(BinaryKind.Add, right);

    /// <summary>Difference.</summary>
    public static F32 operator -(F32 left, F32 right) => left.Op(BinaryKind.Subtract, right);

    /// <summary>Product.</summary>
    public static F32 operator *(F32 left, F32 right) => left.Op(BinaryKind.Multiply, right);

    /// <summary>Product with a constant.</summary>
    public static F32 operator *(F32 left, float right) => left.Op(BinaryKind.Multiply, left.Literal(right));

    /// <summary>Quotient, correctly rounded.</summary>
    public static F32 operator /(F32 left, F32 right) => left.Op(BinaryKind.Divide, right);

    /// <summary>True where less; false where unordered.</summary>
    public static Predicate operator <(F32 left, F32 right) => new(left._recorder, left._recorder.Compare(CompareKind.Less, left._value, right._value));

    /// <summary>True where greater; false where unordered.</summary>
    public static Predicate operator >(F32 left, F32 right) => new(left._recorder, left._recorder.Compare(CompareKind.Greater, left._value, right._value));

    /// <summary>The other sign, of zeros and NaN too.</summary>
    public static F32 operator -(F32 value) => value.Op(UnaryKind.Negate);

    /// <summary>Absolute value.</summary>
    public F32 Absolute() => Op(UnaryKind.Absolute);

    /// <summary>Reciprocal, correctly rounded.</summary>
    public F32 Reciprocal() => Op(UnaryKind.Reciprocal);

    /// <summary>The larger; the one that is a number when the other is not.</summary>
    public F32 Maximum(F32 other) => Op(BinaryKind.Maximum, other);

    /// <summary>The larger; not a number where one of them is none.</summary>
    public F32 MaximumOrNaN(F32 other) => Op(BinaryKind.MaximumOrNaN, other);

    /// <summary>The larger; the constant where this is not a number.</summary>
    public F32 Maximum(float other) => Op(BinaryKind.Maximum, Literal(other));

    /// <summary>this · factor + addend, rounded once.</summary>
    public F32 MultiplyAdd(F32 factor, F32 addend)
    {
        Value value = _value;
        return new(_recorder, _recorder.Emit(ScalarType.F32, r => new FusedMultiplyAdd(r, value, factor._value, addend._value)));
    }

    /// <summary>The same bits as a word.</summary>
    public U32 AsU32()
    {
        Value value = _value;
        return new(_recorder, _recorder.Emit(ScalarType.U32, r => new Unary(r, UnaryKind.F32ToBits, value)));
    }
}

/// <summary>A truth value of a thread.</summary>
public readonly struct Predicate : IScalar<Predicate>
{
    readonly Recorder _recorder;
    readonly Value _value;

    internal Predicate(Recorder recorder, Value value) => (_recorder, _value) = (recorder, value);

    static ScalarType IScalar<Predicate>.Type => ScalarType.Predicate;

    Value IScalar<Predicate>.Value => _value;

    internal Value Value => _value;

    static Predicate IScalar<Predicate>.Wrap(Recorder recorder, Value value) => new(recorder, value);

    /// <summary>Both.</summary>
    public static Predicate operator &(Predicate left, Predicate right) => new(left._recorder, left._recorder.Binary(BinaryKind.And, left._value, right._value));

    /// <summary>Either.</summary>
    public static Predicate operator |(Predicate left, Predicate right) => new(left._recorder, left._recorder.Binary(BinaryKind.Or, left._value, right._value));

    /// <summary>The opposite.</summary>
    public static Predicate operator !(Predicate value)
    {
        Value taken = value._value;
        return new(value._recorder, value._recorder.Emit(ScalarType.Predicate, r => new Unary(r, UnaryKind.Not, taken)));
    }

    /// <summary><paramref name="whenTrue"/> where this holds, else <paramref name="whenFalse"/>.</summary>
    public T Select<T>(T whenTrue, T whenFalse)
        where T : struct, IScalar<T>
    {
        Value condition = _value;
        return T.Wrap(_recorder, _recorder.Emit(T.Type, r => new Select(r, condition, whenTrue.Value, whenFalse.Value)));
    }
}

/// <summary>A register that keeps its place: what loops carry. Reading gives the value of that moment.</summary>
public sealed class Register<T>
    where T : struct, IScalar<T>
{
    readonly Recorder _recorder;
    readonly Variable _variable;

    internal Register(Recorder recorder, string name) => (_recorder, _variable) = (recorder, recorder.NewVariable(T.Type, name));

    /// <summary>The value now; assigning records a write.</summary>
    public T Value
    {
        get
        {
            Variable variable = _variable;
            return T.Wrap(_recorder, _recorder.Emit(T.Type, r => new ReadVariable(r, variable)));
        }
        set => _recorder.Emit(new WriteVariable(_variable, value.Value));
    }
}
