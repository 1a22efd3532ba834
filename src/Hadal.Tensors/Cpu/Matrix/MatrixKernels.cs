using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;

namespace Hadal.Tensors.Cpu.Matrix;

/// <summary>
/// The kernels of one instruction set and one panel format, as addresses in unmanaged memory so that worker threads reach them through plain pointers.
/// They live as long as the process; there are at most eight tables.
/// </summary>
unsafe struct MatrixKernels
{
    /// <summary>Most rows the panel kernel takes on any instruction set.</summary>
    public const int MostRows = 12;

    /// <summary>Most rows the kernel for few rows takes.</summary>
    public const int FewRows = 3;

    /// <summary>Rows of a full row panel: as many as keep two registers of outputs each, plus operands, inside the register file.</summary>
    public int RowsPerPanel;

    /// <summary>Columns of a column panel: two registers.</summary>
    public int ColumnsPerPanel;

    /// <summary>Bytes of one step of a column panel.</summary>
    public int StepBytes;

    fixed long _panel[MostRows];
    fixed long _half[MostRows];
    fixed long _few[FewRows * 3];
    fixed int _fewPanels[FewRows];

    /// <summary><see cref="PanelKernel"/> for <paramref name="rows"/> rows, 1 to <see cref="RowsPerPanel"/>.</summary>
    public readonly delegate*<nint, float*, nint, nint, byte*, nint, float*, nint, bool, byte*, nint, void> Panel(int rows) =>
        (delegate*<nint, float*, nint, nint, byte*, nint, float*, nint, bool, byte*, nint, void>)_panel[rows - 1];

    /// <summary><see cref="HalfPanelKernel"/> for <paramref name="rows"/> rows, 1 to <see cref="RowsPerPanel"/>.</summary>
    public readonly delegate*<nint, float*, nint, nint, byte*, nint, float*, nint, bool, byte*, nint, void> Half(int rows) =>
        (delegate*<nint, float*, nint, nint, byte*, nint, float*, nint, bool, byte*, nint, void>)_half[rows - 1];

    /// <summary>The panel kernel on a packed row panel [depth, rows] and a packed column panel.</summary>
    public readonly void MultiplyPacked(int rows, nint depth, float* a, byte* b, float* c, nint stride, bool continues) =>
        Panel(rows)(depth, a, 1, rows, b, StepBytes, c, stride, continues, (byte*)a, 0);

    /// <summary><see cref="FewRowsKernel"/> for <paramref name="rows"/> rows (1 to 3) and <paramref name="panels"/> panels (1, 2 or 4).</summary>
    public readonly delegate*<nint, float*, nint, byte*, nint, float*, nint, bool, void> Few(int rows, int panels) =>
        (delegate*<nint, float*, nint, byte*, nint, float*, nint, bool, void>)_few[((rows - 1) * 3) + (panels / 2)];

    /// <summary>Panels the kernel for few rows takes at once: enough chains to hide the latency of a multiply-add, no more than there are registers.</summary>
    public readonly int PanelsAtOnce(int rows) => _fewPanels[rows - 1];

    /// <summary>The table for <paramref name="set"/> and panels of binary32 or bfloat16.</summary>
    public static MatrixKernels* For(InstructionSet set, bool bfloat16) => set switch
    {
        InstructionSet.Vector512 => bfloat16 ? Tables<Register512, Vector512<float>, BFloat16Panel>.Instance : Tables<Register512, Vector512<float>, SinglePanel>.Instance,
        InstructionSet.Vector256 => bfloat16 ? Tables<Register256, Vector256<float>, BFloat16Panel>.Instance : Tables<Register256, Vector256<float>, SinglePanel>.Instance,
        InstructionSet.Vector128 => bfloat16 ? Tables<Register128, Vector128<float>, BFloat16Panel>.Instance : Tables<Register128, Vector128<float>, SinglePanel>.Instance,
        _ => bfloat16 ? Tables<RegisterScalar, float, BFloat16Panel>.Instance : Tables<RegisterScalar, float, SinglePanel>.Instance,
    };

    static class Tables<TRegister, TVector, TFormat>
        where TRegister : struct, IVectorRegister<TVector>
        where TVector : unmanaged
        where TFormat : struct, IPanelFormat
    {
        public static readonly MatrixKernels* Instance = Make();

        static MatrixKernels* Make()
        {
            // AVX-512 and AdvSimd have 32 vector registers, the others 16.
            bool many = TRegister.Width == 16 || AdvSimd.IsSupported;
            var table = (MatrixKernels*)NativeMemory.AllocZeroed((nuint)sizeof(MatrixKernels));
            table->RowsPerPanel = many ? 12 : 6;
            table->ColumnsPerPanel = 2 * TRegister.Width;
            table->StepBytes = 2 * TRegister.Width * TFormat.ValueBytes;
            SetPanel<One>(table);
            SetPanel<Two>(table);
            SetPanel<Three>(table);
            SetPanel<Four>(table);
            SetPanel<Five>(table);
            SetPanel<Six>(table);
            SetPanel<Seven>(table);
            SetPanel<Eight>(table);
            SetPanel<Nine>(table);
            SetPanel<Ten>(table);
            SetPanel<Eleven>(table);
            SetPanel<Twelve>(table);
            SetFew<One>(table, 4);
            SetFew<Two>(table, many ? 4 : 2);
            SetFew<Three>(table, many ? 4 : 2);
            return table;
        }

        static void SetPanel<TRows>(MatrixKernels* table)
            where TRows : struct, IConstant
        {
            delegate*<nint, float*, nint, nint, byte*, nint, float*, nint, bool, byte*, nint, void> kernel = &PanelKernel.Multiply<TRegister, TVector, TFormat, TRows>;
            delegate*<nint, float*, nint, nint, byte*, nint, float*, nint, bool, byte*, nint, void> half = &HalfPanelKernel.Multiply<TRegister, TVector, TFormat, TRows>;
            table->_panel[TRows.Value - 1] = (long)kernel;
            table->_half[TRows.Value - 1] = (long)half;
        }

        static void SetFew<TRows>(MatrixKernels* table, int panelsAtOnce)
            where TRows : struct, IConstant
        {
            int row = TRows.Value - 1;
            table->_fewPanels[row] = panelsAtOnce;
            table->_few[row * 3] = Few<TRows, One>();
            table->_few[(row * 3) + 1] = Few<TRows, Two>();
            table->_few[(row * 3) + 2] = Few<TRows, Four>();
        }

        static long Few<TRows, TPanels>()
            where TRows : struct, IConstant
            where TPanels : struct, IConstant
        {
            delegate*<nint, float*, nint, byte*, nint, float*, nint, bool, void> kernel = &FewRowsKernel.Multiply<TRegister, TVector, TFormat, TRows, TPanels>;
            return (long)kernel;
        }
    }
}
