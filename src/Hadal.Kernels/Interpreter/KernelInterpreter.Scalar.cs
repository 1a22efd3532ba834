using Hadal.Kernels.Ir;
using Hadal.Kernels.Launch;
using Hadal.Numerics;

namespace Hadal.Kernels.Interpreter;

/// <content>Registers, arithmetic and control flow.</content>
public sealed partial class KernelInterpreter
{
    /// <summary>Runs one operation for the lanes of a mask. False when it has to wait; it is tried again later.</summary>
    bool Execute(WarpState warp, Operation operation, uint mask)
    {
        switch (operation)
        {
            case Constant o: warp.Of(o.Result).Fill(o.Bits); return true;
            case ReadSpecial o: ReadSpecialRegister(warp, o); return true;
            case ReadParameter o: warp.Of(o.Result).Fill(_arguments[o.Parameter] is LaunchArgument.Bits bits ? bits.Value : (ulong)o.Parameter); return true;
            case SharedAddress o: warp.Of(o.Result).Fill((ulong)o.ByteOffset); return true;
            case Binary o: Combine(warp, mask, o); return true;
            case Unary o: Apply(warp, mask, o); return true;
            case MultiplyWide o: Each(warp, mask, o.Result, o.Left, o.Right, (l, r) => l * r); return true;
            case FusedMultiplyAdd o: MultiplyAdd(warp, mask, o); return true;
            case Compare o: Compare(warp, mask, o); return true;
            case Select o: SelectLanes(warp, mask, o); return true;
            case PackBF16 o: Each(warp, mask, o.Result, o.Low, o.High, (l, h) => (uint)BF16.FromSingle(Single(l)).Bits | (uint)BF16.FromSingle(Single(h)).Bits << 16); return true;
            case PackE4M3 o: Pack(warp, mask, o); return true;
            case UnpackE4M3 o: Unpack(warp, mask, o); return true;
            case Shuffle o: ShuffleLanes(warp, mask, o); return true;
            case ReadVariable o: Copy(warp.Of(o.Variable), warp.Of(o.Result), mask); return true;
            case WriteVariable o: Copy(warp.Of(o.Value), warp.Of(o.Variable), mask); return true;
            case If o: Branch(warp, mask, o); return true;
            case Refuse o:
                if ((mask & MaskOf(warp, o.Condition)) != 0) Report(HazardKind.Refused, warp, o, $"it refuses its arguments: {o.Why}");
                return true;
            case Loop o: warp.Frames.Push(new Frame(o.Test, mask, FrameKind.LoopTest, o)); return true;
            case RoleSwitch o: Split(warp, o); return true;
            default: return ExecuteMemory(warp, operation, mask);
        }
    }

    void ReadSpecialRegister(WarpState warp, ReadSpecial o)
    {
        Span<ulong> result = warp.Of(o.Result);
        for (int lane = 0; lane < WarpState.Lanes; lane++)
        {
            result[lane] = o.Register switch
            {
                SpecialRegister.ThreadIndex => (ulong)(WarpState.Lanes * warp.Index + lane),
                SpecialRegister.BlockIndex => (ulong)warp.Block.Index,
                SpecialRegister.BlockCount => (ulong)_blocks,
                _ => (ulong)warp.Block.Rank,
            };
        }
    }

    static void Each(WarpState warp, uint mask, Value result, Value left, Value right, Func<ulong, ulong, ulong> function)
    {
        Span<ulong> to = warp.Of(result), l = warp.Of(left), r = warp.Of(right);
        for (int lane = 0; lane < WarpState.Lanes; lane++)
            if ((mask >> lane & 1) != 0) to[lane] = function(l[lane], r[lane]);
    }

    static void Copy(Span<ulong> from, Span<ulong> to, uint mask)
    {
        for (int lane = 0; lane < WarpState.Lanes; lane++)
            if ((mask >> lane & 1) != 0) to[lane] = from[lane];
    }

    static void Combine(WarpState warp, uint mask, Binary o)
    {
        Span<ulong> to = warp.Of(o.Result), left = warp.Of(o.Left), right = warp.Of(o.Right);
        if (o.Result.Type == ScalarType.U32 && o.Kind is (BinaryKind.Add or BinaryKind.Multiply))
        {
            bool sum = o.Kind == BinaryKind.Add;
            for (int lane = 0; lane < WarpState.Lanes; lane++)
                if ((mask >> lane & 1) != 0) to[lane] = (uint)(sum ? left[lane] + right[lane] : left[lane] * right[lane]);
            return;
        }

        for (int lane = 0; lane < WarpState.Lanes; lane++)
            if ((mask >> lane & 1) != 0) to[lane] = Combine(o.Kind, o.Result.Type, left[lane], right[lane]);
    }

    static void Apply(WarpState warp, uint mask, Unary o)
    {
        Span<ulong> to = warp.Of(o.Result), operand = warp.Of(o.Operand);
        for (int lane = 0; lane < WarpState.Lanes; lane++)
            if ((mask >> lane & 1) != 0) to[lane] = Apply(o.Kind, operand[lane]);
    }

    static void Compare(WarpState warp, uint mask, Compare o)
    {
        Span<ulong> to = warp.Of(o.Result), left = warp.Of(o.Left), right = warp.Of(o.Right);
        for (int lane = 0; lane < WarpState.Lanes; lane++)
            if ((mask >> lane & 1) != 0) to[lane] = CompareValues(o.Kind, o.Left.Type, left[lane], right[lane]) ? 1UL : 0;
    }

    static float Single(ulong bits) => BitConverter.UInt32BitsToSingle((uint)bits);

    static ulong Bits(float value) => BitConverter.SingleToUInt32Bits(value);

    static ulong Combine(BinaryKind kind, ScalarType type, ulong left, ulong right)
    {
        if (type == ScalarType.F32)
        {
            float l = Single(left), r = Single(right);
            return Bits(kind switch
            {
                BinaryKind.Add => l + r,
                BinaryKind.Subtract => l - r,
                BinaryKind.Multiply => l * r,
                BinaryKind.Divide => l / r,
                BinaryKind.Minimum => float.IsNaN(l) ? r : float.IsNaN(r) ? l : MathF.Min(l, r),
                BinaryKind.MaximumOrNaN => MathF.Max(l, r),
                _ => float.IsNaN(l) ? r : float.IsNaN(r) ? l : MathF.Max(l, r),
            });
        }

        ulong width = type == ScalarType.U64 ? 64UL : 32UL;
        ulong result = kind switch
        {
            BinaryKind.Add => left + right,
            BinaryKind.Subtract => left - right,
            BinaryKind.Multiply => left * right,
            BinaryKind.Divide => right == 0 ? ulong.MaxValue : left / right,
            BinaryKind.Remainder => right == 0 ? left : left % right,
            BinaryKind.And => left & right,
            BinaryKind.Or => left | right,
            BinaryKind.Xor => left ^ right,
            BinaryKind.ShiftLeft => right >= width ? 0 : left << (int)right,
            BinaryKind.ShiftRight => right >= width ? 0 : left >> (int)right,
            BinaryKind.Minimum => Math.Min(left, right),
            _ => Math.Max(left, right),
        };
        return type == ScalarType.U64 ? result : type == ScalarType.U32 ? (uint)result : result & 1;
    }

    static ulong Apply(UnaryKind kind, ulong value) => kind switch
    {
        UnaryKind.Absolute => value & 0x7FFFFFFF,
        UnaryKind.Negate => value ^ 0x80000000,
        UnaryKind.Reciprocal => Bits(1f / Single(value)),
        UnaryKind.Not => value ^ 1,
        _ => value,
    };

    static bool CompareValues(CompareKind kind, ScalarType type, ulong left, ulong right)
    {
        if (type == ScalarType.F32)
        {
            float l = Single(left), r = Single(right);
            return kind switch
            {
                CompareKind.Equal => l == r,
                CompareKind.NotEqual => !(l == r),
                CompareKind.Less => l < r,
                CompareKind.LessOrEqual => l <= r,
                CompareKind.Greater => l > r,
                _ => l >= r,
            };
        }

        return kind switch
        {
            CompareKind.Equal => left == right,
            CompareKind.NotEqual => left != right,
            CompareKind.Less => left < right,
            CompareKind.LessOrEqual => left <= right,
            CompareKind.Greater => left > right,
            _ => left >= right,
        };
    }

    static void MultiplyAdd(WarpState warp, uint mask, FusedMultiplyAdd o)
    {
        Span<ulong> to = warp.Of(o.Result), l = warp.Of(o.Left), r = warp.Of(o.Right), a = warp.Of(o.Addend);
        for (int lane = 0; lane < WarpState.Lanes; lane++)
            if ((mask >> lane & 1) != 0) to[lane] = Bits(MathF.FusedMultiplyAdd(Single(l[lane]), Single(r[lane]), Single(a[lane])));
    }

    static void SelectLanes(WarpState warp, uint mask, Select o)
    {
        Span<ulong> to = warp.Of(o.Result), condition = warp.Of(o.Condition), yes = warp.Of(o.WhenTrue), no = warp.Of(o.WhenFalse);
        for (int lane = 0; lane < WarpState.Lanes; lane++)
            if ((mask >> lane & 1) != 0) to[lane] = condition[lane] != 0 ? yes[lane] : no[lane];
    }

    static void Pack(WarpState warp, uint mask, PackE4M3 o)
    {
        Span<ulong> to = warp.Of(o.Result), first = warp.Of(o.First), second = warp.Of(o.Second), third = warp.Of(o.Third), fourth = warp.Of(o.Fourth);
        for (int lane = 0; lane < WarpState.Lanes; lane++)
        {
            if ((mask >> lane & 1) == 0) continue;
            to[lane] = E4M3.FromSingle(Single(first[lane])).Bits | (uint)E4M3.FromSingle(Single(second[lane])).Bits << 8
                | (uint)E4M3.FromSingle(Single(third[lane])).Bits << 16 | (uint)E4M3.FromSingle(Single(fourth[lane])).Bits << 24;
        }
    }

    static void Unpack(WarpState warp, uint mask, UnpackE4M3 o)
    {
        Span<ulong> packed = warp.Of(o.Packed);
        for (int i = 0; i < o.Unpacked.Count; i++)
        {
            Span<ulong> to = warp.Of(o.Unpacked[i]);
            for (int lane = 0; lane < WarpState.Lanes; lane++)
                if ((mask >> lane & 1) != 0) to[lane] = Bits(new E4M3((byte)(packed[lane] >> (8 * i))).ToSingle());
        }
    }

    void ShuffleLanes(WarpState warp, uint mask, Shuffle o)
    {
        RequireWholeWarp(warp, o, mask);
        Span<ulong> to = warp.Of(o.Result), from = warp.Of(o.Taken);
        Span<ulong> taken = stackalloc ulong[WarpState.Lanes];
        from.CopyTo(taken);
        for (int lane = 0; lane < WarpState.Lanes; lane++) to[lane] = taken[o.Kind == ShuffleKind.Index ? o.Lane : lane ^ o.Lane];
    }

    void RequireWholeWarp(WarpState warp, Operation operation, uint mask)
    {
        if (mask != WarpState.AllLanes) Report(HazardKind.Divergence, warp, operation, $"'{operation.Mnemonic}' needs all 32 lanes of the warp and is reached by the lanes 0x{mask:x8} alone");
    }

    void Branch(WarpState warp, uint mask, If o)
    {
        uint yes = mask & MaskOf(warp, o.Condition), no = mask & ~yes;
        if (o.Uniform && yes != 0 && no != 0) Report(HazardKind.Divergence, warp, o, "a branch declared uniform is taken by some lanes of the warp and not by others");
        if (no != 0 && o.Otherwise is { } otherwise) warp.Frames.Push(new Frame(otherwise, no, FrameKind.Plain, null));
        if (yes != 0) warp.Frames.Push(new Frame(o.Then, yes, FrameKind.Plain, null));
    }

    static void Split(WarpState warp, RoleSwitch o)
    {
        ulong warpgroup = warp.Of(o.Warpgroup)[0];
        foreach (Role role in o.Roles)
        {
            if (warpgroup < (ulong)role.FirstWarpgroup || warpgroup >= (ulong)(role.FirstWarpgroup + role.Warpgroups)) continue;
            warp.Frames.Push(new Frame(role.Body, WarpState.AllLanes, FrameKind.Plain, null));
            break;
        }
    }
}
