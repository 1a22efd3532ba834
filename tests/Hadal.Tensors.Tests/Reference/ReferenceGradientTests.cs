using Hadal.Tensors.Operations;

namespace Hadal.Tensors.Tests.Reference;

/// <summary>Every backward of the reference is the derivative of its forward, by central differences in double.</summary>
public sealed class ReferenceGradientTests : IDisposable
{
    readonly FiniteDifference _f = new();

    public void Dispose() => _f.Dispose();

    [Fact]
    public void RmsNorm()
    {
        Tensor x = _f.Normal(3, 5), weight = _f.Normal(5), y = _f.Zeros(3, 5), inverse = _f.Zeros(3), dy = _f.Normal(3, 5), dx = _f.Zeros(3, 5), dw = _f.Zeros(5);
        void Forward() => _f.Operations.Elementwise.RmsNorm(x, weight, 1e-3, y, inverse);
        Forward();
        _f.Operations.Elementwise.RmsNormBackwardInput(dy, x, weight, inverse, dx, accumulate: false);
        _f.Operations.Elementwise.RmsNormBackwardWeight(dy, x, inverse, dw, accumulate: false);
        FiniteDifference.Check(x, Forward, y, dy, dx);
        FiniteDifference.Check(weight, Forward, y, dy, dw);
    }

    [Fact]
    public void SwiGlu()
    {
        Tensor gateUp = _f.Normal(3, 8), rowWeight = _f.Normal(3), y = _f.Zeros(3, 4), dy = _f.Normal(3, 4), dGateUp = _f.Zeros(3, 8), dRowWeight = _f.Zeros(3);
        void Forward() => _f.Operations.Elementwise.SwiGlu(gateUp, rowWeight, default, y);
        _f.Operations.Elementwise.SwiGluBackward(dy, gateUp, rowWeight, default, dGateUp, dRowWeight);
        FiniteDifference.Check(gateUp, Forward, y, dy, dGateUp);
        FiniteDifference.Check(rowWeight, Forward, y, dy, dRowWeight);
    }

    [Fact]
    public void Rope_backwards_is_its_gradient()
    {
        Tensor x = _f.Normal(3, 2, 4), positions = _f.Integers(0, 2, 5), table = _f.Zeros(6, 4), y = _f.Zeros(3, 2, 4), dy = _f.Normal(3, 2, 4), dx = _f.Zeros(3, 2, 4);
        for (int i = 0; i < 24; i += 2) (table.AsSpan<double>()[i + 1], table.AsSpan<double>()[i]) = Math.SinCos(i * 0.37);
        _f.Operations.Elementwise.Rope(dy, positions, table, inverse: true, dx);
        FiniteDifference.Check(x, () => _f.Operations.Elementwise.Rope(x, positions, table, inverse: false, y), y, dy, dx);
    }

    [Fact]
    public void Attention()
    {
        Tensor q = _f.Normal(7, 2, 3), k = _f.Normal(7, 2, 3), v = _f.Normal(7, 2, 2), o = _f.Zeros(7, 2, 2), lse = _f.Zeros(7, 2), sequences = _f.Integers(0, 2, 7);
        Tensor dO = _f.Normal(7, 2, 2), dq = _f.Zeros(7, 2, 3), dk = _f.Zeros(7, 2, 3), dv = _f.Zeros(7, 2, 2);
        void Forward() => _f.Operations.Attention.Causal(q, k, v, sequences, 0.6, o, lse);
        Forward();
        _f.Operations.Attention.CausalBackward(dO, q, k, v, o, lse, sequences, 0.6, dq, dk, dv);
        FiniteDifference.Check(q, Forward, o, dO, dq);
        FiniteDifference.Check(k, Forward, o, dO, dk);
        FiniteDifference.Check(v, Forward, o, dO, dv);
    }

    [Theory]
    [InlineData(GateScoring.Sigmoid, true)]
    [InlineData(GateScoring.Sigmoid, false)]
    [InlineData(GateScoring.Softmax, true)]
    [InlineData(GateScoring.Softmax, false)]
    public void Gate(GateScoring scoring, bool normalize)
    {
        var parameters = new GateParameters(6, 2, 3, 2, scoring, GroupScoring.TopTwoSum, normalize, 2.5);
        Tensor logits = _f.Normal(4, 6), scores = _f.Zeros(4, 6), experts = _f.Integers(0, 0, 0, 0, 0, 0, 0, 0), weights = _f.Zeros(4, 2);
        Tensor dWeights = _f.Normal(4, 2), dLogits = _f.Zeros(4, 6);
        void Forward() => _f.Operations.Routing.Gate(logits, default, parameters, scores, experts, weights);
        Forward();
        _f.Operations.Routing.GateBackward(dWeights, default, scores, experts, parameters, dLogits);
        FiniteDifference.Check(logits, Forward, weights, dWeights, dLogits);
    }

    [Fact]
    public void Balance_loss()
    {
        var parameters = new GateParameters(6, 2, 1, 1, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, 1);
        Tensor scores = _f.Normal(5, 6), loss = _f.Zeros(1), dScores = _f.Zeros(5, 6), sequences = _f.Integers(0, 3, 5), one = _f.Zeros(1);
        foreach (ref double s in scores.AsSpan<double>()) s = 1 / (1 + Math.Exp(-s));
        one.AsSpan<double>()[0] = 1;
        void Forward() => _f.Operations.Routing.BalanceLoss(scores, sequences, parameters, 0.3, 0.5, loss, default);
        _f.Operations.Routing.BalanceLoss(scores, sequences, parameters, 0.3, 0.5, loss, dScores);
        FiniteDifference.Check(scores, Forward, loss, one, dScores);
    }

    [Fact]
    public void Cross_entropy()
    {
        Tensor logits = _f.Normal(4, 5), targets = _f.Integers(3, -1, 0, 4), losses = _f.Zeros(4), dLogits = _f.Zeros(4, 5), weights = _f.Zeros(4);
        weights.AsSpan<double>().Fill(0.25);
        _f.Operations.Embedding.CrossEntropy(logits, targets, 0.25, losses, dLogits);
        FiniteDifference.Check(logits, () => _f.Operations.Embedding.CrossEntropy(logits, targets, 0.25, losses, default), losses, weights, dLogits);
    }
}
