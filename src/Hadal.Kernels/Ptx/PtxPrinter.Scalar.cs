using System.Globalization;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Ptx;

/// <content>Registers and arithmetic.</content>
public sealed partial class PtxPrinter
{
    void PrintConstant(Constant o) => _literals[o.Result.Id] = o.Result.Type == ScalarType.F32
        ? "0f" + ((uint)o.Bits).ToString("X8", CultureInfo.InvariantCulture)
        : o.Bits.ToString(CultureInfo.InvariantCulture);

    void PrintReadSpecial(ReadSpecial o)
    {
        string register = o.Register switch
        {
            SpecialRegister.ThreadIndex => "%tid.x",
            SpecialRegister.BlockIndex => "%ctaid.x",
            SpecialRegister.BlockCount => "%nctaid.x",
            _ => "%cluster_ctarank",
        };
        Line($"mov.u32 {Define(o.Result)}, {register};");
    }

    void PrintReadParameter(ReadParameter o)
    {
        string name = ParameterName(o.Parameter);
        switch (_kernel.Parameters[o.Parameter])
        {
            case TensorMapParameter:
                string raw = New(ScalarType.U64);
                Line($"mov.b64 {raw}, {name};");
                Line($"cvta.param.u64 {Define(o.Result)}, {raw};");
                break;
            case PointerParameter:
                string generic = New(ScalarType.U64);
                Line($"ld.param.u64 {generic}, [{name}];");
                Line($"cvta.to.global.u64 {Define(o.Result)}, {generic};");
                break;
            default:
                Line($"ld.param.{Suffix(o.Result.Type)} {Define(o.Result)}, [{name}];");
                break;
        }
    }

    void PrintSharedAddress(SharedAddress o) => Line($"mov.u32 {Define(o.Result)}, smem{(o.ByteOffset == 0 ? "" : "+" + o.ByteOffset)};");

    void PrintBinary(Binary o)
    {
        string left = UseRegister(o.Left), right = Use(o.Right);
        ScalarType type = o.Result.Type;
        string word = o.Kind switch
        {
            BinaryKind.Add => type == ScalarType.F32 ? "add.rn.f32" : "add." + Suffix(type),
            BinaryKind.Subtract => type == ScalarType.F32 ? "sub.rn.f32" : "sub." + Suffix(type),
            BinaryKind.Multiply => type == ScalarType.F32 ? "mul.rn.f32" : "mul.lo." + Suffix(type),
            BinaryKind.Divide => type == ScalarType.F32 ? "div.rn.f32" : "div." + Suffix(type),
            BinaryKind.Remainder => "rem." + Suffix(type),
            BinaryKind.And => "and." + BitSuffix(type),
            BinaryKind.Or => "or." + BitSuffix(type),
            BinaryKind.Xor => "xor." + BitSuffix(type),
            BinaryKind.ShiftLeft => "shl." + BitSuffix(type),
            BinaryKind.ShiftRight => "shr." + Suffix(type),
            BinaryKind.Minimum => "min." + Suffix(type),
            BinaryKind.MaximumOrNaN => "max.NaN.f32",
            _ => "max." + Suffix(type),
        };
        Line($"{word} {Define(o.Result)}, {left}, {right};");
    }

    void PrintUnary(Unary o)
    {
        string operand = UseRegister(o.Operand);
        string word = o.Kind switch
        {
            UnaryKind.Absolute => "abs.f32",
            UnaryKind.Negate => "neg.f32",
            UnaryKind.Reciprocal => "rcp.rn.f32",
            UnaryKind.Not => "not.pred",
            UnaryKind.Widen => "cvt.u64.u32",
            _ => "mov.b32",
        };
        Line($"{word} {Define(o.Result)}, {operand};");
    }

    void PrintMultiplyWide(MultiplyWide o)
    {
        string left = UseRegister(o.Left), right = Use(o.Right);
        Line($"mul.wide.u32 {Define(o.Result)}, {left}, {right};");
    }

    void PrintFusedMultiplyAdd(FusedMultiplyAdd o)
    {
        string left = UseRegister(o.Left), right = UseRegister(o.Right), addend = UseRegister(o.Addend);
        Line($"fma.rn.f32 {Define(o.Result)}, {left}, {right}, {addend};");
    }

    void PrintCompare(Compare o)
    {
        string left = UseRegister(o.Left), right = Use(o.Right);
        string word = o.Kind switch
        {
            CompareKind.Equal => "eq",
            CompareKind.NotEqual => o.Left.Type == ScalarType.F32 ? "neu" : "ne",
            CompareKind.Less => "lt",
            CompareKind.LessOrEqual => "le",
            CompareKind.Greater => "gt",
            _ => "ge",
        };
        Line($"setp.{word}.{Suffix(o.Left.Type)} {Define(o.Result)}, {left}, {right};");
    }

    void PrintSelect(Select o)
    {
        string yes = Use(o.WhenTrue), no = Use(o.WhenFalse), condition = UseRegister(o.Condition);
        Line($"selp.{BitSuffix(o.Result.Type)} {Define(o.Result)}, {yes}, {no}, {condition};");
    }

    void PrintPackBF16(PackBF16 o)
    {
        string low = UseRegister(o.Low), high = UseRegister(o.High);
        Line($"cvt.rn.bf16x2.f32 {Define(o.Result)}, {high}, {low};");
    }

    void PrintPackE4M3(PackE4M3 o)
    {
        string low = NewHalf(), high = NewHalf();
        string first = UseRegister(o.First), second = UseRegister(o.Second), third = UseRegister(o.Third), fourth = UseRegister(o.Fourth);
        Line($"cvt.rn.satfinite.e4m3x2.f32 {low}, {second}, {first};");
        Line($"cvt.rn.satfinite.e4m3x2.f32 {high}, {fourth}, {third};");
        Line($"mov.b32 {Define(o.Result)}, {{{low}, {high}}};");
    }

    void PrintUnpackE4M3(UnpackE4M3 o)
    {
        string packed = UseRegister(o.Packed);
        string[] pairs = [NewHalf(), NewHalf()], to = Define(o.Unpacked);
        Line($"mov.b32 {{{pairs[0]}, {pairs[1]}}}, {packed};");
        for (int i = 0; i < 2; i++)
        {
            // Through half precision, which holds every E4M3 number.
            string both = New(ScalarType.U32), low = NewHalf(), high = NewHalf();
            Line($"cvt.rn.f16x2.e4m3x2 {both}, {pairs[i]};");
            Line($"mov.b32 {{{low}, {high}}}, {both};");
            Line($"cvt.f32.f16 {to[2 * i]}, {low};");
            Line($"cvt.f32.f16 {to[2 * i + 1]}, {high};");
        }
    }

    void PrintShuffle(Shuffle o)
    {
        string taken = UseRegister(o.Taken);
        string kind = o.Kind == ShuffleKind.Index ? "idx" : "bfly";
        Line($"shfl.sync.{kind}.b32 {Define(o.Result)}, {taken}, {o.Lane}, 31, 0xffffffff;");
    }

    void PrintReadVariable(ReadVariable o) => Line($"mov.{Suffix(o.Result.Type)} {Define(o.Result)}, {Use(o.Variable)};");

    void PrintWriteVariable(WriteVariable o) => Line($"mov.{Suffix(o.Variable.Type)} {Use(o.Variable)}, {Use(o.Value)};");
}
