using Hadal.Kernels.Interpreter;
using Hadal.Kernels.Launch;
using Hadal.Kernels.Library.Gemm;
using Hadal.Numerics;
using Hadal.Tensors;
using Hadal.Tensors.Cpu;
using Hadal.Tensors.Operations;
using ElementType = Hadal.Kernels.Ir.ElementType;
using Kernel = Hadal.Kernels.Ir.Kernel;

namespace Hadal.Kernels.Tests.Calibration;

/// <summary>
/// The recipe fp8-tensor-core on the CPU and the GPU kernel of the same product, interpreted with the tensor core's arithmetic, give the same bits: quantisation, scales,
/// sums, promotion and the rounding of the output mean the same in both rooms.
/// </summary>
public sealed class CpuAgreementTests
{
    [Theory]
    [InlineData(64, 48, 128)]
    [InlineData(70, 136, 272)]
    [InlineData(33, 40, 400)]
    [Implements("V3 §3.3.2", "Products of 128 along the contraction are scaled and added in FP32 in one ascending order")]
    public void The_cpu_product_has_the_bits_of_the_interpreted_kernel(int m, int n, int k)
    {
        var random = new CounterRandom((ulong)k, RandomPurpose.TestData);
        float[] x = new float[m * k], w = new float[n * k];
        random.FillNormal(x, 1);
        random.FillNormal(w, 0.05, 1UL << 32);
        for (int i = 0; i < x.Length; i++) x[i] *= MathF.ScaleB(1, i / 128 % 7); // tiles of different size

        Assert.Equal(OnCpu(x, w, m, n, k), Interpreted(x, w, m, n, k));
    }

    static float[] OnCpu(float[] x, float[] w, int m, int n, int k)
    {
        using var backend = new CpuBackend(new CpuOptions(2, InstructionSets.Best));
        using var arena = new TensorArena(backend);
        Tensor input = arena.Allocate(DType.F32, m, k), values = arena.Allocate(DType.F32, n, k), output = arena.Allocate(DType.F32, m, n);
        x.CopyTo(input.AsSpan<float>());
        w.CopyTo(values.AsSpan<float>());
        var format = new ProductFormat(QuantizationFormat.Tiles(), QuantizationFormat.Blocks(), Accumulation.TensorCorePromoted, NumberFormat.BF16);
        using PreparedWeight weight = backend.Operations.Quantization.Prepare([values], ProductUses.Forward, format.Right);
        backend.Operations.Quantization.Forward(input, weight, format, output);
        return output.AsSpan<float>().ToArray();
    }

    static float[] Interpreted(float[] x, float[] w, int m, int n, int k)
    {
        int chunks = TileQuantizer.TileCount(k), stride = (m + 3) / 4 * 4;
        var a = new Numerics.E4M3[m * k];
        var b = new Numerics.E4M3[n * k];
        float[] rows = new float[m * chunks], aScale = new float[chunks * stride], bScale = new float[TileQuantizer.TileCount(n) * chunks];
        TileQuantizer.QuantizeRows(x, m, k, k, ScaleKind.Plain, a, rows);
        TileQuantizer.QuantizeBlocks(w, n, k, k, ScaleKind.Plain, b, bScale);
        for (int r = 0; r < m; r++)
            for (int c = 0; c < chunks; c++) aScale[(c * stride) + r] = rows[(r * chunks) + c];

        Kernel kernel = Fp8GemmKernel.Build(new GemmShape(n, k), new GemmConfig { Warpgroups = 1, Waves = 1, TileN = 32, Stages = 2 });
        var memory = new SimulatedMemory();
        ulong d = memory.Allocate((long)m * n * 2);
        KernelInterpreter.Run(kernel, 1, memory,
        [
            new TensorDescription(memory.Upload<Numerics.E4M3>(a), ElementType.E4M3, m, k, k),
            new TensorDescription(memory.Upload<Numerics.E4M3>(b), ElementType.E4M3, n, k, k),
            new TensorDescription(memory.Upload<float>(aScale), ElementType.F32, chunks, m, 4 * stride),
            memory.Upload<float>(bScale),
            d,
            (uint)m,
        ], new InterpreterOptions { Seed = 3, Accumulation = new TensorCoreArithmetic() });
        return [.. memory.Download<ushort>(d, (long)m * n).Select(bits => new Numerics.BF16(bits).ToSingle())];
    }
}
