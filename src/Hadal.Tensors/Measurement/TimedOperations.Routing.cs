using System.Diagnostics;
using Hadal.Tensors.Operations;

namespace Hadal.Tensors.Measurement;

/// <summary>Routing, embedding, loss and optimizer.</summary>
sealed partial class TimedOperations
{
    sealed class TimedRouting(IRoutingOperations inner, OperationProfile profile) : IRoutingOperations
    {
        readonly OperationProfile.Entry _gate = profile.Add("routing", "gate");
        readonly OperationProfile.Entry _gateBackward = profile.Add("routing", "gate backward");
        readonly OperationProfile.Entry _balanceLoss = profile.Add("routing", "balance loss");
        readonly OperationProfile.Entry _plan = profile.Add("routing", "plan");
        readonly OperationProfile.Entry _gatherRows = profile.Add("routing", "dispatch rows");
        readonly OperationProfile.Entry _gatherWeights = profile.Add("routing", "dispatch weights");
        readonly OperationProfile.Entry _combineRows = profile.Add("routing", "combine rows");
        readonly OperationProfile.Entry _scatterWeights = profile.Add("routing", "weight gradients back");
        readonly OperationProfile.Entry _updateBias = profile.Add("routing", "update bias");

        public void Gate(Tensor logits, Tensor bias, GateParameters parameters, Tensor scores, Tensor experts, Tensor weights)
        {
            long start = Stopwatch.GetTimestamp();
            inner.Gate(logits, bias, parameters, scores, experts, weights);
            _gate.Stop(start);
        }

        public void GateBackward(Tensor dWeights, Tensor dScores, Tensor scores, Tensor experts, GateParameters parameters, Tensor dLogits)
        {
            long start = Stopwatch.GetTimestamp();
            inner.GateBackward(dWeights, dScores, scores, experts, parameters, dLogits);
            _gateBackward.Stop(start);
        }

        public void BalanceLoss(Tensor scores, Tensor sequences, GateParameters parameters, double alpha, double weight, Tensor loss, Tensor dScores)
        {
            long start = Stopwatch.GetTimestamp();
            inner.BalanceLoss(scores, sequences, parameters, alpha, weight, loss, dScores);
            _balanceLoss.Stop(start);
        }

        public void Plan(Tensor experts, int expertCount, int alignment, Tensor counts, Tensor offsets, Tensor rowToken, Tensor tokenRow)
        {
            long start = Stopwatch.GetTimestamp();
            inner.Plan(experts, expertCount, alignment, counts, offsets, rowToken, tokenRow);
            _plan.Stop(start);
        }

        public void GatherRows(Tensor x, Tensor rowToken, Tensor rowCount, Tensor rows)
        {
            long start = Stopwatch.GetTimestamp();
            inner.GatherRows(x, rowToken, rowCount, rows);
            _gatherRows.Stop(start);
        }

        public void GatherWeights(Tensor weights, Tensor tokenRow, Tensor rowToken, Tensor rowCount, Tensor rowWeights)
        {
            long start = Stopwatch.GetTimestamp();
            inner.GatherWeights(weights, tokenRow, rowToken, rowCount, rowWeights);
            _gatherWeights.Stop(start);
        }

        public void CombineRows(Tensor rows, Tensor experts, Tensor tokenRow, int expertCount, Tensor y, bool accumulate)
        {
            long start = Stopwatch.GetTimestamp();
            inner.CombineRows(rows, experts, tokenRow, expertCount, y, accumulate);
            _combineRows.Stop(start);
        }

        public void ScatterWeights(Tensor rowWeights, Tensor tokenRow, Tensor weights)
        {
            long start = Stopwatch.GetTimestamp();
            inner.ScatterWeights(rowWeights, tokenRow, weights);
            _scatterWeights.Stop(start);
        }

        public void UpdateBias(Tensor counts, double speed, Tensor bias)
        {
            long start = Stopwatch.GetTimestamp();
            inner.UpdateBias(counts, speed, bias);
            _updateBias.Stop(start);
        }
    }

    sealed class TimedEmbedding(IEmbeddingOperations inner, OperationProfile profile) : IEmbeddingOperations
    {
        readonly OperationProfile.Entry _embed = profile.Add("embedding", "forward");
        readonly OperationProfile.Entry _embedBackward = profile.Add("embedding", "backward");
        readonly OperationProfile.Entry _crossEntropy = profile.Add("loss", "cross-entropy");
        readonly OperationProfile.Entry _sum = profile.Add("loss", "sum");

        public void Embed(Tensor tokens, Tensor table, Tensor y)
        {
            long start = Stopwatch.GetTimestamp();
            inner.Embed(tokens, table, y);
            _embed.Stop(start);
        }

        public void EmbedBackward(Tensor tokens, Tensor dy, Tensor dTable, bool accumulate)
        {
            long start = Stopwatch.GetTimestamp();
            inner.EmbedBackward(tokens, dy, dTable, accumulate);
            _embedBackward.Stop(start);
        }

        public void CrossEntropy(Tensor logits, Tensor targets, double weight, Tensor losses, Tensor dLogits)
        {
            long start = Stopwatch.GetTimestamp();
            inner.CrossEntropy(logits, targets, weight, losses, dLogits);
            _crossEntropy.Stop(start);
        }

        public void Sum(Tensor x, double factor, Tensor total, bool accumulate)
        {
            long start = Stopwatch.GetTimestamp();
            inner.Sum(x, factor, total, accumulate);
            _sum.Stop(start);
        }
    }

    sealed class TimedOptimizer(IOptimizerOperations inner, OperationProfile profile) : IOptimizerOperations
    {
        readonly OperationProfile.Entry _sumOfSquares = profile.Add("optimizer", "gradient norm");
        readonly OperationProfile.Entry _adamW = profile.Add("optimizer", "AdamW");
        readonly OperationProfile.Entry _movingAverage = profile.Add("optimizer", "moving average");

        public void SumOfSquares(Tensor x, Tensor sum, bool accumulate)
        {
            long start = Stopwatch.GetTimestamp();
            inner.SumOfSquares(x, sum, accumulate);
            _sumOfSquares.Stop(start);
        }

        public void AdamW(Tensor master, Tensor firstMoment, Tensor secondMoment, Tensor gradient, AdamWParameters parameters, Tensor state)
        {
            long start = Stopwatch.GetTimestamp();
            inner.AdamW(master, firstMoment, secondMoment, gradient, parameters, state);
            _adamW.Stop(start);
        }

        public void MovingAverage(Tensor x, double decay, Tensor average)
        {
            long start = Stopwatch.GetTimestamp();
            inner.MovingAverage(x, decay, average);
            _movingAverage.Stop(start);
        }
    }
}
