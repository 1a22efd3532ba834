using Hadal.Tensors.Cpu;
using Hadal.Tensors.Cpu.Matrix;
using Hadal.Tensors.Operations;
using static Hadal.Tensors.Tests.Cpu.MatrixCases;

namespace Hadal.Tensors.Tests.Cpu;

/// <summary>Every product, on every instruction set and number of threads, gives exactly the bits of one ascending chain of fused multiply-adds.</summary>
public sealed class MatrixProductTests
{
    public static TheoryData<int, int, int, DType> Shapes()
    {
        var data = new TheoryData<int, int, int, DType>();
        foreach ((int m, int n, int k) in ((int, int, int)[])
            [(1, 1, 1), (1, 33, 7), (2, 64, 16), (3, 130, 65), (4, 31, 40), (5, 32, 256), (8, 96, 257), (12, 40, 300), (13, 17, 5), (25, 65, 70), (67, 129, 33), (1, 200, 600)])
        {
            data.Add(m, n, k, DType.F32);
        }

        data.Add(1, 70, 33, DType.BF16);
        data.Add(3, 129, 40, DType.BF16);
        data.Add(17, 50, 270, DType.BF16);
        data.Add(2, 40, 30, DType.F16);
        data.Add(14, 40, 30, DType.F16);
        var random = new Random(11);
        for (int i = 0; i < 8; i++) data.Add(random.Next(1, 200), random.Next(1, 200), random.Next(1, 200), i % 4 == 3 ? DType.BF16 : DType.F32);
        return data;
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Products_with_a_weight_are_one_ascending_chain(int m, int n, int k, DType type) =>
        CheckProducts(m, n, k, type, new Random(m + n + k).Next(3) * 5);

    /// <summary>Shapes that take each way through the planner: rows 4 KiB apart, columns packed or read in place, long contractions, last panels half full or less.</summary>
    [Theory]
    [InlineData(13, 520, 1024)]
    [InlineData(20, 800, 64)]
    [InlineData(1100, 20, 32)]
    [InlineData(2100, 14, 5)]
    [InlineData(30, 48, 16)]
    [InlineData(30, 8, 80)]
    [InlineData(9, 12, 2048)]
    public void Every_way_through_the_planner_gives_the_same_chain(int m, int n, int k) => CheckProducts(m, n, k, DType.F32, 0);

    static void CheckProducts(int m, int n, int k, DType type, int padding)
    {
        var random = new Random((m * 31) + (n * 7) + k);
        Tensor x = Matrix(random, DType.F32, padding, m, k), dy = Matrix(random, DType.F32, padding + 1, m, n), w = Matrix(random, type, padding, n, k);
        Tensor startY = Matrix(random, DType.F32, 2, m, n), startX = Matrix(random, DType.F32, 2, m, k), startW = Matrix(random, DType.F32, 2, n, k);
        foreach (bool accumulate in (bool[])[false, true])
        {
            uint[] forward = Expected(m, n, k, (i, d) => Get(x, i, d), (j, d) => Get(w, j, d), accumulate ? startY : default);
            uint[] backwardInput = Expected(m, k, n, (i, d) => Get(dy, i, d), (j, d) => Get(w, d, j), accumulate ? startX : default);
            uint[] backwardWeight = Expected(n, k, m, (i, d) => Get(dy, d, i), (j, d) => Get(x, d, j), accumulate ? startW : default);
            WithEvery((matrix, way) =>
            {
                using PreparedWeight weight = matrix.Prepare([w], ProductUses.Training);
                Tensor y = Start(startY, accumulate), dx = Start(startX, accumulate), dw = Start(startW, accumulate);
                matrix.Forward(x, weight, y, accumulate);
                Same(forward, Bits(y), $"forward, {way}");
                matrix.BackwardInput(dy, weight, dx, accumulate);
                Same(backwardInput, Bits(dx), $"backward input, {way}");
                matrix.BackwardWeight(dy, x, dw, accumulate);
                Same(backwardWeight, Bits(dw), $"backward weight, {way}");
            });
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Grouped_products_read_uneven_and_empty_groups(int seed)
    {
        var random = new Random(seed);
        int groups = random.Next(1, 9), n = random.Next(1, 90), k = random.Next(1, 90);
        var counts = new int[groups];
        var starts = new int[groups + 1];
        starts[0] = random.Next(4); // rows before the first group belong to nobody
        for (int g = 0; g < groups; g++)
        {
            counts[g] = random.Next(3) == 0 ? 0 : random.Next(1, seed == 2 ? 4 : 40);
            starts[g + 1] = starts[g] + counts[g];
        }

        int capacity = starts[groups] + 5;
        Tensor offsets = Integers(starts);
        Tensor x = Matrix(random, DType.F32, 3, capacity, k), dy = Matrix(random, DType.F32, 0, capacity, n);
        Tensor w = Matrix(random, DType.F32, 0, groups, n, k), startW = Matrix(random, DType.F32, 0, groups * n, k);
        int Group(int row) => Array.FindIndex(starts[1..], end => row < end);
        uint[] forward = Untouched(capacity, n), backwardInput = Untouched(capacity, k);
        for (int row = starts[0]; row < starts[groups]; row++)
        {
            int g = Group(row);
            for (int j = 0; j < n; j++) forward[(row * n) + j] = Chained(k, d => Get(x, row, d), d => Get(w, (g * n) + j, d), 0);
            for (int j = 0; j < k; j++) backwardInput[(row * k) + j] = Chained(n, d => Get(dy, row, d), d => Get(w, (g * n) + d, j), 0);
        }

        var gradients = new uint[2][];
        foreach (bool accumulate in (bool[])[false, true])
        {
            gradients[accumulate ? 1 : 0] = Expected(groups * n, k, 0, (_, _) => 0, (_, _) => 0, default);
            for (int i = 0; i < groups * n; i++)
            {
                int g = i / n;
                for (int j = 0; j < k; j++)
                {
                    gradients[accumulate ? 1 : 0][(i * k) + j] = Chained(
                        counts[g], d => Get(dy, starts[g] + d, i % n), d => Get(x, starts[g] + d, j), accumulate ? Get(startW, i, j) : 0);
                }
            }
        }

        WithEvery((matrix, way) =>
        {
            var values = new Tensor[groups];
            for (int g = 0; g < groups; g++) values[g] = w.Select(g);
            using PreparedWeight weight = matrix.Prepare(values, ProductUses.Training);
            Tensor y = Matrix(random, DType.F32, 0, capacity, n), dx = Matrix(random, DType.F32, 0, capacity, k);
            Fill(y, -7);
            Fill(dx, -7);
            matrix.GroupedForward(x, offsets, weight, y);
            Same(forward, Bits(y), $"grouped forward, {way}");
            matrix.GroupedBackwardInput(dy, offsets, weight, dx);
            Same(backwardInput, Bits(dx), $"grouped backward input, {way}");
            foreach (bool accumulate in (bool[])[false, true])
            {
                Tensor dw = Start(startW, accumulate);
                matrix.GroupedBackwardWeight(dy, x, offsets, dw.Reshape(groups, n, k), accumulate);
                Same(gradients[accumulate ? 1 : 0], Bits(dw), $"grouped backward weight, {way}");
            }
        });
    }

    [Theory]
    [InlineData(1, 4, 33, 20, DType.F32)]
    [InlineData(3, 2, 64, 64, DType.BF16)]
    [InlineData(21, 3, 50, 70, DType.F32)]
    public void Batched_products_take_one_weight_per_head(int tokens, int heads, int n, int k, DType type)
    {
        var random = new Random(tokens);
        Tensor x = Matrix(random, DType.F32, 9, tokens, heads, k), dy = Matrix(random, DType.F32, 2, tokens, heads, n), w = Matrix(random, type, 0, heads, n, k);
        var forward = new uint[tokens * heads * n];
        var backwardInput = new uint[tokens * heads * k];
        for (int row = 0; row < tokens * heads; row++)
        {
            int h = row % heads;
            for (int j = 0; j < n; j++) forward[(row * n) + j] = Chained(k, d => Get(x, row, d), d => Get(w, (h * n) + j, d), 0);
            for (int j = 0; j < k; j++) backwardInput[(row * k) + j] = Chained(n, d => Get(dy, row, d), d => Get(w, (h * n) + d, j), 0);
        }

        WithEvery((matrix, way) =>
        {
            var values = new Tensor[heads];
            for (int h = 0; h < heads; h++) values[h] = w.Select(h);
            using PreparedWeight weight = matrix.Prepare(values, ProductUses.Training);
            Tensor y = Matrix(random, DType.F32, 4, tokens, heads, n), dx = Matrix(random, DType.F32, 1, tokens, heads, k);
            matrix.BatchedForward(x, weight, y);
            Same(forward, Bits(y), $"batched forward, {way}");
            matrix.BatchedBackwardInput(dy, weight, dx);
            Same(backwardInput, Bits(dx), $"batched backward input, {way}");
        });
    }

    /// <summary>The chain is not only reproducible but right: within the bound of its roundings of the product in double.</summary>
    [Theory]
    [InlineData(7, 90, 200)]
    [InlineData(64, 64, 512)]
    public void The_chain_is_close_to_the_product_in_double(int m, int n, int k)
    {
        var random = new Random(k);
        Tensor x = Matrix(random, DType.F32, 0, m, k), w = Matrix(random, DType.F32, 0, n, k), y = Matrix(random, DType.F32, 0, m, n);
        using var threads = new CpuThreads(2);
        using var matrix = new CpuMatrix(new CpuContext(threads, InstructionSets.Best));
        using PreparedWeight weight = matrix.Prepare([w], ProductUses.Forward);
        matrix.Forward(x, weight, y);
        for (int i = 0; i < m; i++)
        {
            for (int j = 0; j < n; j++)
            {
                (double value, double magnitude) = Exact(k, d => Get(x, i, d), d => Get(w, j, d), 0);
                Assert.True(Math.Abs(Get(y, i, j) - value) <= magnitude * k * 6e-8, $"[{i}, {j}]: {Get(y, i, j)} against {value}");
            }
        }
    }

    [Fact]
    public void A_row_computed_alone_is_the_row_of_the_batch()
    {
        var random = new Random(5);
        const int rows = 40, n = 100, k = 700;
        Tensor x = Matrix(random, DType.F32, 0, rows, k), w = Matrix(random, DType.F32, 0, n, k);
        using var threads = new CpuThreads(2);
        using var matrix = new CpuMatrix(new CpuContext(threads, InstructionSets.Best));
        using PreparedWeight weight = matrix.Prepare([w], ProductUses.Forward);
        Tensor all = Matrix(random, DType.F32, 0, rows, n);
        matrix.Forward(x, weight, all);
        foreach (int count in (int[])[1, 2, 3, 4, 7, 13])
        {
            for (int row = 0; row + count <= rows; row += count)
            {
                Tensor few = Matrix(random, DType.F32, 0, count, n);
                matrix.Forward(x.Slice(row, count), weight, few);
                Assert.Equal(Bits(all.Slice(row, count)), Bits(few));
            }
        }
    }

    static uint[] Expected(int rows, int columns, int depth, Func<int, int, float> a, Func<int, int, float> b, Tensor start)
    {
        var bits = new uint[rows * columns];
        var left = new float[rows * depth];
        var right = new float[columns * depth];
        for (int i = 0; i < left.Length; i++) left[i] = a(i / depth, i % depth);
        for (int i = 0; i < right.Length; i++) right[i] = b(i / depth, i % depth);
        for (int i = 0; i < rows; i++)
        {
            for (int j = 0; j < columns; j++)
            {
                float sum = start.IsEmpty ? 0 : Get(start, i, j);
                for (int d = 0; d < depth; d++) sum = MathF.FusedMultiplyAdd(left[(i * depth) + d], right[(j * depth) + d], sum);
                bits[(i * columns) + j] = BitConverter.SingleToUInt32Bits(sum);
            }
        }

        return bits;
    }

    static uint Chained(int depth, Func<int, float> a, Func<int, float> b, float start) => BitConverter.SingleToUInt32Bits(Chain(depth, a, b, start));

    static Tensor Start(Tensor start, bool accumulate)
    {
        Tensor copy = Clone(start);
        if (!accumulate) Fill(copy, float.NaN); // what was there must not matter
        return copy;
    }

    static uint[] Untouched(int rows, int columns)
    {
        var bits = new uint[rows * columns];
        Array.Fill(bits, BitConverter.SingleToUInt32Bits(-7));
        return bits;
    }

    static void Same(uint[] expected, uint[] actual, string what)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
        {
            if (expected[i] == actual[i]) continue;
            Assert.Fail($"{what}: element {i} is {BitConverter.UInt32BitsToSingle(actual[i])}, the chain gives {BitConverter.UInt32BitsToSingle(expected[i])}.");
        }
    }
}
