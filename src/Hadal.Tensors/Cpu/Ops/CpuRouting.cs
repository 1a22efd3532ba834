using System.Numerics;
using Hadal.Tensors.Cpu.Lanes;
using Hadal.Tensors.Operations;
using Hadal.Tensors.Operations.Checks;

namespace Hadal.Tensors.Cpu.Ops;

/// <summary>The gate and the movement of rows. Choosing experts is scalar work on few values; rows are moved and summed sixteen lanes at a time.</summary>
/// <typeparam name="TLanes">The instruction set.</typeparam>
sealed unsafe class CpuRouting<TLanes>(CpuContext context) : IRoutingOperations
    where TLanes : struct, ILanes<TLanes>
{
    const int Width = 16;

    struct Job
    {
        public float* A, B, C, D;
        public long StrideA, StrideB, StrideC, StrideD;
        public int* Chosen, Places;
        public int Rows, Columns, TopK, Parts;
        public bool Accumulate;
        public GateParameters Gate;
    }

    static float* F32(Tensor x)
    {
        Require.That(x.DType == DType.F32, $"The cpu backend routes in F32; {x} was given.");
        return x.Pointer<float>();
    }

    public void Gate(Tensor logits, Tensor bias, GateParameters parameters, Tensor scores, Tensor experts, Tensor weights)
    {
        RoutingChecks.Gate(logits, bias, parameters, scores, experts, weights);
        var job = new Job
        {
            A = F32(logits), StrideA = logits.RowStride, B = bias.IsEmpty ? null : F32(bias), C = F32(scores), StrideC = scores.RowStride, Chosen = experts.Pointer<int>(),
            Places = (int*)F32(weights), Rows = scores.Rows, Columns = parameters.Experts, TopK = parameters.TopK, Gate = parameters,
        };
        Run(ref job, &GateBody, (long)job.Rows * job.Columns * 16);
    }

    void Run(ref Job job, delegate*<void*, int, void> body, long work)
    {
        job.Parts = (int)Math.Clamp(Math.Min(job.Rows, work / 8192), 1, context.Threads.Count * 4);
        fixed (Job* pointer = &job) context.Threads.Run(job.Parts, body, pointer);
    }

    static void GateBody(void* context, int part)
    {
        var job = (Job*)context;
        int experts = job->Columns, topK = job->TopK;
        float* biased = CpuScratch.Floats(experts + job->Gate.Groups + 32L);
        float* groups = biased + experts;
        (int first, int end) = CpuThreads.Part(job->Rows, part, job->Parts);
        for (int t = first; t < end; t++)
        {
            float* scores = job->C + (t * job->StrideC);
            Score(job->A + (t * job->StrideA), scores, experts, job->Gate.Scoring);
            for (int e = 0; e < experts; e++) biased[e] = job->B == null ? scores[e] : scores[e] + job->B[e];
            MaskGroups(biased, groups, job->Gate);
            int* chosen = job->Chosen + ((long)t * topK);
            SelectLargest(biased, experts, chosen, topK);
            float* weights = (float*)job->Places + ((long)t * topK);
            float sum = 0, scale = (float)job->Gate.RoutedScale;
            for (int k = 0; k < topK; k++) sum += scores[chosen[k]];
            for (int k = 0; k < topK; k++) weights[k] = job->Gate.Normalize ? scores[chosen[k]] / (sum + 1e-20f) * scale : scores[chosen[k]] * scale;
        }
    }

    static void Score(float* logits, float* scores, int experts, GateScoring scoring)
    {
        TLanes one = TLanes.Broadcast(1);
        if (scoring == GateScoring.Sigmoid)
        {
            for (int c = 0; c < experts; c += Width)
            {
                int count = Math.Min(Width, experts - c);
                (one / (one + LaneMath<TLanes>.Exp(TLanes.Zero - TLanes.LoadFirst(logits + c, count)))).StoreFirst(scores + c, count);
            }

            return;
        }

        float maximum = float.NegativeInfinity;
        for (int e = 0; e < experts; e++) maximum = MathF.Max(maximum, logits[e]);
        TLanes shift = TLanes.Broadcast(maximum), total = TLanes.Zero;
        for (int c = 0; c < experts; c += Width)
        {
            int count = Math.Min(Width, experts - c);
            LaneMath<TLanes>.Exp(TLanes.LoadFirst(logits + c, count) - shift).StoreFirst(scores + c, count);
            total += TLanes.LoadFirst(scores + c, count);
        }

        TLanes divisor = TLanes.Broadcast(TLanes.Sum(total));
        for (int c = 0; c < experts; c += Width)
        {
            int count = Math.Min(Width, experts - c);
            (TLanes.LoadFirst(scores + c, count) / divisor).StoreFirst(scores + c, count);
        }
    }

    static void MaskGroups(float* biased, float* groupScores, GateParameters gate)
    {
        if (gate.TopGroups == gate.Groups) return;
        int size = gate.Experts / gate.Groups;
        for (int g = 0; g < gate.Groups; g++)
        {
            float best = float.NegativeInfinity, second = float.NegativeInfinity;
            for (int e = g * size; e < (g + 1) * size; e++)
            {
                if (biased[e] > best) (second, best) = (best, biased[e]);
                else if (biased[e] > second) second = biased[e];
            }

            groupScores[g] = gate.GroupScoring == GroupScoring.TopTwoSum && size > 1 ? best + second : best;
        }

        int* kept = stackalloc int[gate.TopGroups];
        SelectLargest(groupScores, gate.Groups, kept, gate.TopGroups);
        for (int g = 0, next = 0; g < gate.Groups; g++)
        {
            if (next < gate.TopGroups && kept[next] == g) next++;
            else new Span<float>(biased + (g * size), size).Fill(float.NegativeInfinity);
        }
    }

    /// <summary>Places of the largest values, ties to the lower place, ascending. A NaN counts as smallest, so that a choice always exists.</summary>
    static void SelectLargest(float* values, int count, int* places, int chosen)
    {
        for (int k = 0; k < chosen; k++)
        {
            int best = -1;
            for (int i = 0; i < count; i++)
            {
                bool taken = false;
                for (int p = 0; p < k; p++) taken |= places[p] == i;
                if (!taken && (best < 0 || values[i] > values[best])) best = i;
            }

            places[k] = best;
        }

        new Span<int>(places, chosen).Sort();
    }

    public void GateBackward(Tensor dWeights, Tensor dScores, Tensor scores, Tensor experts, GateParameters parameters, Tensor dLogits)
    {
        RoutingChecks.GateBackward(dWeights, dScores, scores, experts, parameters, dLogits);
        var job = new Job
        {
            A = F32(dWeights), StrideA = dWeights.RowStride, B = dScores.IsEmpty ? null : F32(dScores), StrideB = dScores.RowStride, C = F32(dLogits), StrideC = dLogits.RowStride,
            D = F32(scores), StrideD = scores.RowStride, Chosen = experts.Pointer<int>(), Rows = scores.Rows, Columns = parameters.Experts, TopK = parameters.TopK, Gate = parameters,
        };
        Run(ref job, &GateBackwardBody, (long)job.Rows * job.Columns * 8);
    }

    static void GateBackwardBody(void* context, int part)
    {
        var job = (Job*)context;
        int topK = job->TopK, count = job->Columns;
        bool softmax = job->Gate.Scoring == GateScoring.Softmax;
        float scale = (float)job->Gate.RoutedScale;
        (int first, int end) = CpuThreads.Part(job->Rows, part, job->Parts);
        for (int t = first; t < end; t++)
        {
            float* s = job->D + (t * job->StrideD), g = job->C + (t * job->StrideC), w = job->A + (t * job->StrideA);
            int* places = job->Chosen + ((long)t * topK);
            if (job->B == null) new Span<float>(g, count).Clear();
            else new ReadOnlySpan<float>(job->B + (t * job->StrideB), count).CopyTo(new Span<float>(g, count));
            float sum = 1e-20f, weighted = 0;
            for (int k = 0; k < topK; k++)
            {
                sum += s[places[k]];
                weighted += w[k] * s[places[k]];
            }

            for (int k = 0; k < topK; k++) g[places[k]] += scale * (job->Gate.Normalize ? (w[k] - (weighted / sum)) / sum : w[k]);
            float mean = 0;
            for (int e = 0; softmax && e < count; e++) mean += g[e] * s[e];
            for (int e = 0; e < count; e++) g[e] = s[e] * (softmax ? g[e] - mean : g[e] * (1 - s[e]));
        }
    }

    public void BalanceLoss(Tensor scores, Tensor sequences, GateParameters parameters, double alpha, double weight, Tensor loss, Tensor dScores)
    {
        RoutingChecks.BalanceLoss(scores, sequences, parameters, loss, dScores);
        ReadOnlySpan<int> offsets = sequences.AsSpan<int>();
        AttentionChecks.SequenceOffsets(offsets, scores.Rows);
        int count = offsets.Length - 1;
        double* losses = (double*)CpuScratch.Floats(2L * Math.Max(count, 1));
        var job = new BalanceJob
        {
            Scores = F32(scores), StrideScores = scores.RowStride, Gradients = dScores.IsEmpty ? null : F32(dScores), StrideGradients = dScores.RowStride,
            Sequences = sequences.Pointer<int>(), Experts = parameters.Experts, TopK = parameters.TopK, Factor = weight * alpha, Losses = losses,
        };
        context.Threads.Run(count, &BalanceBody, &job);
        double total = 0;
        for (int s = 0; s < count; s++) total += losses[s];
        loss.AsSpan<float>()[0] = (float)total;
    }

    struct BalanceJob
    {
        public float* Scores, Gradients;
        public long StrideScores, StrideGradients;
        public int* Sequences;
        public int Experts, TopK;
        public double Factor;
        public double* Losses;
    }

    /// <summary>One sequence: its loss and gradients; tokens ascending.</summary>
    static void BalanceBody(void* context, int sequence)
    {
        var job = (BalanceJob*)context;
        int experts = job->Experts, first = job->Sequences[sequence], end = job->Sequences[sequence + 1];
        float* frequency = stackalloc float[experts];
        int* top = stackalloc int[job->TopK];
        new Span<float>(frequency, experts).Clear();
        for (int t = first; t < end; t++)
        {
            SelectLargest(job->Scores + (t * job->StrideScores), experts, top, job->TopK);
            for (int k = 0; k < job->TopK; k++) frequency[top[k]]++;
        }

        for (int e = 0; e < experts; e++) frequency[e] *= (float)((double)experts / job->TopK / (end - first));
        double factor = job->Factor / (end - first), total = 0;
        for (int t = first; t < end; t++)
        {
            float* row = job->Scores + (t * job->StrideScores);
            double sum = 0, weighted = 0;
            for (int e = 0; e < experts; e++)
            {
                sum += row[e];
                weighted += (double)frequency[e] * row[e];
            }

            total += factor * weighted / sum;
            if (job->Gradients == null) continue;
            float* g = job->Gradients + (t * job->StrideGradients);
            for (int e = 0; e < experts; e++) g[e] = (float)(factor * (frequency[e] - (weighted / sum)) / sum);
        }

        job->Losses[sequence] = total;
    }

    public void Plan(Tensor experts, int expertCount, int alignment, Tensor counts, Tensor offsets, Tensor rowToken, Tensor tokenRow)
    {
        RoutingChecks.Plan(experts, expertCount, alignment, counts, offsets, rowToken, tokenRow);
        Span<int> chosen = experts.AsSpan<int>(), count = counts.AsSpan<int>(), offset = offsets.AsSpan<int>(), token = rowToken.AsSpan<int>(), row = tokenRow.AsSpan<int>();
        count.Clear();
        foreach (int e in chosen)
        {
            if ((uint)e >= (uint)expertCount) Require.That(condition: false, $"Expert {e} was chosen; there are {expertCount}.");
            count[e]++;
        }

        offset[0] = 0;
        for (int e = 0; e < expertCount; e++) offset[e + 1] = checked(offset[e] + ((count[e] + alignment - 1) / alignment * alignment));
        Require.That(offset[expertCount] <= rowToken.Length, $"{offset[expertCount]} rows are needed; rowToken holds {rowToken.Length}.");
        token.Fill(-1);
        var next = new Span<int>((int*)CpuScratch.Floats(expertCount), expertCount);
        offset[..expertCount].CopyTo(next);
        int topK = experts[1];
        for (int pair = 0; pair < chosen.Length; pair++)
        {
            row[pair] = next[chosen[pair]]++;
            token[row[pair]] = pair / topK;
        }
    }

    static int RowsInUse(Tensor rowCount, long rows)
    {
        if (rowCount.IsEmpty) return (int)rows;
        int used = rowCount.AsSpan<int>()[0];
        Require.That(used >= 0 && used <= rows, $"{used} rows are in use; the buffer holds {rows}.");
        return used;
    }

    public void GatherRows(Tensor x, Tensor rowToken, Tensor rowCount, Tensor rows)
    {
        RoutingChecks.GatherRows(x, rowToken, rowCount, rows);
        var job = new Job
        {
            A = F32(x), StrideA = x.RowStride, C = F32(rows), StrideC = rows.RowStride, Chosen = rowToken.Pointer<int>(), Rows = RowsInUse(rowCount, rows.Rows), Columns = x.Columns,
        };
        Run(ref job, &GatherBody, (long)job.Rows * job.Columns);
    }

    static void GatherBody(void* context, int part)
    {
        var job = (Job*)context;
        (int first, int end) = CpuThreads.Part(job->Rows, part, job->Parts);
        for (int r = first; r < end; r++)
        {
            var destination = new Span<float>(job->C + (r * job->StrideC), job->Columns);
            if (job->Chosen[r] < 0) destination.Clear();
            else new ReadOnlySpan<float>(job->A + (job->Chosen[r] * job->StrideA), job->Columns).CopyTo(destination);
        }
    }

    public void GatherWeights(Tensor weights, Tensor tokenRow, Tensor rowToken, Tensor rowCount, Tensor rowWeights)
    {
        RoutingChecks.GatherWeights(weights, tokenRow, rowToken, rowCount, rowWeights);
        Span<float> source = weights.AsSpan<float>(), result = rowWeights.AsSpan<float>();
        Span<int> token = rowToken.AsSpan<int>(), row = tokenRow.AsSpan<int>();
        int used = RowsInUse(rowCount, result.Length);
        for (int r = 0; r < used; r++)
            if (token[r] < 0) result[r] = 0;
        for (int pair = 0; pair < row.Length; pair++) result[row[pair]] = source[pair];
    }

    public void CombineRows(Tensor rows, Tensor experts, Tensor tokenRow, int expertCount, Tensor y, bool accumulate)
    {
        RoutingChecks.CombineRows(rows, experts, tokenRow, expertCount, y);
        var job = new Job
        {
            A = F32(rows), StrideA = rows.RowStride, C = F32(y), StrideC = y.RowStride, Chosen = experts.Pointer<int>(), Places = tokenRow.Pointer<int>(), Rows = y.Rows,
            Columns = y.Columns, TopK = experts[1], Accumulate = accumulate,
        };
        Run(ref job, &CombineBody, (long)job.Rows * job.Columns * job.TopK);
    }

    /// <summary>
    /// The tree of a token over ascending experts: two neighbours join where their indices first differ, lower differing bits first. Kept as a stack of
    /// subtree sums, as in a binary counter; all columns follow the same joins.
    /// </summary>
    static void CombineBody(void* context, int part)
    {
        var job = (Job*)context;
        int topK = job->TopK, columns = job->Columns;
        float* stack = CpuScratch.Floats((long)topK * columns);
        int* heights = stackalloc int[topK];
        (int first, int end) = CpuThreads.Part(job->Rows, part, job->Parts);
        for (int t = first; t < end; t++)
        {
            int* chosen = job->Chosen + ((long)t * topK), place = job->Places + ((long)t * topK);
            int depth = 0;
            for (int k = 0; k < topK; k++)
            {
                new ReadOnlySpan<float>(job->A + (place[k] * job->StrideA), columns).CopyTo(new Span<float>(stack + ((long)depth * columns), columns));
                depth++;

                // Height of the smallest subtree that holds this expert and the next: everything that lies lower is complete and joins now.
                int height = k + 1 < topK ? 32 - BitOperations.LeadingZeroCount((uint)(chosen[k] ^ chosen[k + 1])) : int.MaxValue;
                while (depth > 1 && heights[depth - 2] < height)
                {
                    AddInto(stack + ((long)(depth - 2) * columns), stack + ((long)(depth - 1) * columns), columns);
                    depth--;
                }

                heights[depth - 1] = height;
            }

            float* y = job->C + (t * job->StrideC);
            if (job->Accumulate) AddInto(y, stack, columns);
            else new ReadOnlySpan<float>(stack, columns).CopyTo(new Span<float>(y, columns));
        }
    }

    static void AddInto(float* sum, float* x, int columns)
    {
        for (int c = 0; c < columns; c += Width)
        {
            int count = Math.Min(Width, columns - c);
            (TLanes.LoadFirst(sum + c, count) + TLanes.LoadFirst(x + c, count)).StoreFirst(sum + c, count);
        }
    }

    public void ScatterWeights(Tensor rowWeights, Tensor tokenRow, Tensor weights)
    {
        RoutingChecks.ScatterWeights(rowWeights, tokenRow, weights);
        Span<float> source = rowWeights.AsSpan<float>(), result = weights.AsSpan<float>();
        Span<int> row = tokenRow.AsSpan<int>();
        for (int pair = 0; pair < row.Length; pair++) result[pair] = source[row[pair]];
    }

    public void UpdateBias(Tensor counts, double speed, Tensor bias)
    {
        RoutingChecks.UpdateBias(counts, bias);
        Span<float> offset = bias.AsSpan<float>();
        double total = 0;
        for (int e = 0; e < offset.Length; e++) total += Load(counts, e);
        for (int e = 0; e < offset.Length; e++) offset[e] += (float)(speed * Math.Sign(total - (Load(counts, e) * offset.Length)));
    }

    static double Load(Tensor counts, int expert) => counts.DType == DType.I32 ? counts.AsSpan<int>()[expert] : counts.AsSpan<float>()[expert];
}
