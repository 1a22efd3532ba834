using System.Diagnostics;
using Hadal.Tensors.Operations;

namespace Hadal.Tensors.Measurement;

/// <summary>Every operation of the vocabulary, timed and passed on.</summary>
sealed partial class TimedOperations(IOperations inner, OperationProfile profile) : IOperations
{
    public IElementwiseOperations Elementwise { get; } = new TimedElementwise(inner.Elementwise, profile);

    public IMatrixOperations Matrix { get; } = new TimedMatrix(inner.Matrix, profile);

    public IAttentionOperations Attention { get; } = new TimedAttention(inner.Attention, profile);

    public IRoutingOperations Routing { get; } = new TimedRouting(inner.Routing, profile);

    public IEmbeddingOperations Embedding { get; } = new TimedEmbedding(inner.Embedding, profile);

    // Only on demand: a backend without quantised operations throws when asked for them.
    public IQuantizationOperations Quantization => field ??= new TimedQuantization(inner.Quantization, profile);

    public IOptimizerOperations Optimizer { get; } = new TimedOptimizer(inner.Optimizer, profile);


    sealed class TimedElementwise(IElementwiseOperations inner, OperationProfile profile) : IElementwiseOperations
    {
        readonly OperationProfile.Entry _copy = profile.Add("elementwise", "copy");
        readonly OperationProfile.Entry _fill = profile.Add("elementwise", "fill");
        readonly OperationProfile.Entry _add = profile.Add("elementwise", "add");
        readonly OperationProfile.Entry _scale = profile.Add("elementwise", "scale");
        readonly OperationProfile.Entry _repeatRows = profile.Add("elementwise", "repeat rows");
        readonly OperationProfile.Entry _sumRowGroups = profile.Add("elementwise", "sum row groups");
        readonly OperationProfile.Entry _rmsNorm = profile.Add("norm", "forward");
        readonly OperationProfile.Entry _rmsNormBackwardInput = profile.Add("norm", "input gradient");
        readonly OperationProfile.Entry _rmsNormBackwardWeight = profile.Add("norm", "weight gradient");
        readonly OperationProfile.Entry _rope = profile.Add("elementwise", "rope");
        readonly OperationProfile.Entry _swiGlu = profile.Add("SwiGLU", "forward");
        readonly OperationProfile.Entry _swiGluBackward = profile.Add("SwiGLU", "backward");

        public void Copy(Tensor x, Tensor y)
        {
            long start = Stopwatch.GetTimestamp();
            inner.Copy(x, y);
            _copy.Stop(start);
        }

        public void Fill(Tensor y, double value)
        {
            long start = Stopwatch.GetTimestamp();
            inner.Fill(y, value);
            _fill.Stop(start);
        }

        public void Add(Tensor a, Tensor b, Tensor y)
        {
            long start = Stopwatch.GetTimestamp();
            inner.Add(a, b, y);
            _add.Stop(start);
        }

        public void Scale(Tensor x, double factor, Tensor y)
        {
            long start = Stopwatch.GetTimestamp();
            inner.Scale(x, factor, y);
            _scale.Stop(start);
        }

        public void RepeatRows(Tensor x, int repeatEach, Tensor y)
        {
            long start = Stopwatch.GetTimestamp();
            inner.RepeatRows(x, repeatEach, y);
            _repeatRows.Stop(start);
        }

        public void SumRowGroups(Tensor x, int groupSize, Tensor y, bool accumulate)
        {
            long start = Stopwatch.GetTimestamp();
            inner.SumRowGroups(x, groupSize, y, accumulate);
            _sumRowGroups.Stop(start);
        }

        public void RmsNorm(Tensor x, Tensor weight, double epsilon, Tensor y, Tensor inverseRms)
        {
            long start = Stopwatch.GetTimestamp();
            inner.RmsNorm(x, weight, epsilon, y, inverseRms);
            _rmsNorm.Stop(start);
        }

        public void RmsNormBackwardInput(Tensor dy, Tensor x, Tensor weight, Tensor inverseRms, Tensor dx, bool accumulate)
        {
            long start = Stopwatch.GetTimestamp();
            inner.RmsNormBackwardInput(dy, x, weight, inverseRms, dx, accumulate);
            _rmsNormBackwardInput.Stop(start);
        }

        public void RmsNormBackwardWeight(Tensor dy, Tensor x, Tensor inverseRms, Tensor dWeight, bool accumulate)
        {
            long start = Stopwatch.GetTimestamp();
            inner.RmsNormBackwardWeight(dy, x, inverseRms, dWeight, accumulate);
            _rmsNormBackwardWeight.Stop(start);
        }

        public void Rope(Tensor x, Tensor positions, Tensor table, bool inverse, Tensor y)
        {
            long start = Stopwatch.GetTimestamp();
            inner.Rope(x, positions, table, inverse, y);
            _rope.Stop(start);
        }

        public void SwiGlu(Tensor gateUp, Tensor rowWeight, Tensor rowCount, Tensor y)
        {
            long start = Stopwatch.GetTimestamp();
            inner.SwiGlu(gateUp, rowWeight, rowCount, y);
            _swiGlu.Stop(start);
        }

        public void SwiGluBackward(Tensor dy, Tensor gateUp, Tensor rowWeight, Tensor rowCount, Tensor dGateUp, Tensor dRowWeight)
        {
            long start = Stopwatch.GetTimestamp();
            inner.SwiGluBackward(dy, gateUp, rowWeight, rowCount, dGateUp, dRowWeight);
            _swiGluBackward.Stop(start);
        }
    }

    sealed class TimedMatrix(IMatrixOperations inner, OperationProfile profile) : IMatrixOperations
    {
        readonly OperationProfile.Entry _refresh = profile.Add("matrix", "pack weights");
        readonly OperationProfile.Entry _forward = profile.Add("matrix", "forward");
        readonly OperationProfile.Entry _backwardInput = profile.Add("matrix", "input gradient");
        readonly OperationProfile.Entry _backwardWeight = profile.Add("matrix", "weight gradient");
        readonly OperationProfile.Entry _groupedForward = profile.Add("matrix", "grouped forward");
        readonly OperationProfile.Entry _groupedBackwardInput = profile.Add("matrix", "grouped input gradient");
        readonly OperationProfile.Entry _groupedBackwardWeight = profile.Add("matrix", "grouped weight gradient");
        readonly OperationProfile.Entry _batchedForward = profile.Add("matrix", "batched forward");
        readonly OperationProfile.Entry _batchedBackwardInput = profile.Add("matrix", "batched input gradient");

        public PreparedWeight Prepare(ReadOnlySpan<Tensor> groups, ProductUses uses) => inner.Prepare(groups, uses);

        public void Refresh(PreparedWeight weight)
        {
            long start = Stopwatch.GetTimestamp();
            inner.Refresh(weight);
            _refresh.Stop(start);
        }

        public void Forward(Tensor x, PreparedWeight weight, Tensor y, bool accumulate = false)
        {
            long start = Stopwatch.GetTimestamp();
            inner.Forward(x, weight, y, accumulate);
            _forward.Stop(start, profile, x.Rows, y.Columns, x.Columns);
        }

        public void BackwardInput(Tensor dy, PreparedWeight weight, Tensor dx, bool accumulate = false)
        {
            long start = Stopwatch.GetTimestamp();
            inner.BackwardInput(dy, weight, dx, accumulate);
            _backwardInput.Stop(start, profile, dy.Rows, dx.Columns, dy.Columns);
        }

        public void BackwardWeight(Tensor dy, Tensor x, Tensor dWeight, bool accumulate)
        {
            long start = Stopwatch.GetTimestamp();
            inner.BackwardWeight(dy, x, dWeight, accumulate);
            _backwardWeight.Stop(start, profile, dy.Columns, x.Columns, dy.Rows);
        }

        public void GroupedForward(Tensor x, Tensor offsets, PreparedWeight weight, Tensor y)
        {
            long start = Stopwatch.GetTimestamp();
            inner.GroupedForward(x, offsets, weight, y);
            _groupedForward.Stop(start, profile, Rows(offsets), y.Columns, x.Columns);
        }

        public void GroupedBackwardInput(Tensor dy, Tensor offsets, PreparedWeight weight, Tensor dx)
        {
            long start = Stopwatch.GetTimestamp();
            inner.GroupedBackwardInput(dy, offsets, weight, dx);
            _groupedBackwardInput.Stop(start, profile, Rows(offsets), dx.Columns, dy.Columns);
        }

        public void GroupedBackwardWeight(Tensor dy, Tensor x, Tensor offsets, Tensor dWeight, bool accumulate)
        {
            long start = Stopwatch.GetTimestamp();
            inner.GroupedBackwardWeight(dy, x, offsets, dWeight, accumulate);
            _groupedBackwardWeight.Stop(start, profile, dy.Columns, x.Columns, Rows(offsets));
        }

        public void BatchedForward(Tensor x, PreparedWeight weight, Tensor y)
        {
            long start = Stopwatch.GetTimestamp();
            inner.BatchedForward(x, weight, y);
            _batchedForward.Stop(start, profile, x.Rows, y.Columns, x.Columns);
        }

        public void BatchedBackwardInput(Tensor dy, PreparedWeight weight, Tensor dx)
        {
            long start = Stopwatch.GetTimestamp();
            inner.BatchedBackwardInput(dy, weight, dx);
            _batchedBackwardInput.Stop(start, profile, dy.Rows, dx.Columns, dy.Columns);
        }

        // The number of rows lies on the device; where the host cannot read it, only time is known.
        public static int Rows(Tensor offsets) => offsets.IsHost ? offsets.AsSpan<int>()[^1] : 0;
    }

    sealed class TimedAttention(IAttentionOperations inner, OperationProfile profile) : IAttentionOperations
    {
        readonly OperationProfile.Entry _causal = profile.Add("attention", "forward");
        readonly OperationProfile.Entry _causalBackward = profile.Add("attention", "backward");
        readonly OperationProfile.Entry _latent = profile.Add("attention", "latent");
        readonly OperationProfile.Entry _appendLatent = profile.Add("attention", "append latent");

        public void Causal(Tensor q, Tensor k, Tensor v, Tensor sequences, double scale, Tensor o, Tensor logSumExp)
        {
            long start = Stopwatch.GetTimestamp();
            inner.Causal(q, k, v, sequences, scale, o, logSumExp);
            _causal.Stop(start);
        }

        public void CausalBackward(Tensor dOutput, Tensor q, Tensor k, Tensor v, Tensor o, Tensor logSumExp, Tensor sequences, double scale, Tensor dq, Tensor dk, Tensor dv)
        {
            long start = Stopwatch.GetTimestamp();
            inner.CausalBackward(dOutput, q, k, v, o, logSumExp, sequences, scale, dq, dk, dv);
            _causalBackward.Stop(start);
        }

        public void Latent(Tensor q, Tensor cache, Tensor pageTable, Tensor queryOffsets, Tensor contextLengths, double scale, Tensor o)
        {
            long start = Stopwatch.GetTimestamp();
            inner.Latent(q, cache, pageTable, queryOffsets, contextLengths, scale, o);
            _latent.Stop(start);
        }

        public void AppendLatent(Tensor rows, Tensor cache, Tensor pageTable, Tensor queryOffsets, Tensor contextLengths)
        {
            long start = Stopwatch.GetTimestamp();
            inner.AppendLatent(rows, cache, pageTable, queryOffsets, contextLengths);
            _appendLatent.Stop(start);
        }
    }
}
