using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Hadal.Tensors.Cpu.Matrix;

namespace Hadal.Tensors.Cpu.Quantized;

/// <summary>Adds one chunk's products to the outputs with their scales: the promotion of a tile.</summary>
static unsafe class ScaledEpilogue
{
    /// <summary>Operands of <see cref="Add"/>.</summary>
    public struct Job
    {
        /// <summary>[rows, Width]: sums of one chunk.</summary>
        public float* Partial;

        /// <summary>Floats of a row of <see cref="Partial"/>.</summary>
        public int Width;

        /// <summary>Outputs.</summary>
        public float* C;

        /// <summary>Floats from one row of outputs to the next.</summary>
        public nint CStride;

        /// <summary>Rows of the tile.</summary>
        public int Rows;

        /// <summary>Columns of the tile that exist.</summary>
        public int Columns;

        /// <summary>Scale of each row; null for 1.</summary>
        public float* RowScales;

        /// <summary>Scale of each column; null when all have <see cref="ColumnScale"/>.</summary>
        public float* ColumnScales;

        /// <summary>Scale of all columns.</summary>
        public float ColumnScale;

        /// <summary>Start from zero instead of from the outputs.</summary>
        public bool Overwrites;
    }

    /// <summary><see cref="Add"/> for an instruction set.</summary>
    public static delegate*<Job*, void> For(InstructionSet set) => set switch
    {
        InstructionSet.Vector512 => &Add<Register512, Vector512<float>>,
        InstructionSet.Vector256 => &Add<Register256, Vector256<float>>,
        InstructionSet.Vector128 => &Add<Register128, Vector128<float>>,
        _ => &Add<RegisterScalar, float>,
    };

    /// <summary>c[r, j] = fma(partial[r, j], rowScale·columnScale, c[r, j] or 0).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Add<TRegister, TVector>(Job* job)
        where TRegister : struct, IVectorRegister<TVector>
        where TVector : unmanaged
    {
        int columns = job->Columns;
        for (int r = 0; r < job->Rows; r++)
        {
            float* partial = job->Partial + (r * job->Width), c = job->C + (r * job->CStride), columnScales = job->ColumnScales;
            float row = job->RowScales == null ? 1 : job->RowScales[r];
            int j = 0;
            if (columnScales == null)
            {
                float scale = row * job->ColumnScale;
                TVector scales = TRegister.Broadcast(scale);
                for (; j + TRegister.Width <= columns; j += TRegister.Width)
                    TRegister.Store(TRegister.Fma(TRegister.Load(partial + j), scales, job->Overwrites ? default : TRegister.Load(c + j)), c + j);
                for (; j < columns; j++) c[j] = MathF.FusedMultiplyAdd(partial[j], scale, job->Overwrites ? 0 : c[j]);
            }
            else
            {
                TVector rows = TRegister.Broadcast(row);
                for (; j + TRegister.Width <= columns; j += TRegister.Width)
                {
                    TVector scales = TRegister.Fma(rows, TRegister.Load(columnScales + j), default);
                    TRegister.Store(TRegister.Fma(TRegister.Load(partial + j), scales, job->Overwrites ? default : TRegister.Load(c + j)), c + j);
                }

                for (; j < columns; j++) c[j] = MathF.FusedMultiplyAdd(partial[j], row * columnScales[j], job->Overwrites ? 0 : c[j]);
            }
        }
    }
}
