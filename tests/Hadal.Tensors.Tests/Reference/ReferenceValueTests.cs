using Hadal.Tensors.Operations;

namespace Hadal.Tensors.Tests.Reference;

/// <summary>The definition against values worked out by hand.</summary>
public sealed class ReferenceValueTests : IDisposable
{
    readonly FiniteDifference _f = new();

    public void Dispose() => _f.Dispose();

    Tensor Values(ReadOnlySpan<int> shape, params ReadOnlySpan<double> values)
    {
        Tensor tensor = _f.Zeros(shape);
        values.CopyTo(tensor.AsSpan<double>());
        return tensor;
    }

    static void Near(Tensor tensor, params ReadOnlySpan<double> expected)
    {
        Assert.Equal(expected.Length, tensor.Length);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], tensor.AsSpan<double>()[i], 1e-12);
    }

    [Fact]
    public void RmsNorm_of_three_and_four()
    {
        Tensor y = _f.Zeros(1, 2), inverse = _f.Zeros(1);
        _f.Operations.Elementwise.RmsNorm(Values([1, 2], 3, 4), Values([2], 1, 10), 0, y, inverse);
        Near(inverse, 1 / Math.Sqrt(12.5));
        Near(y, 3 / Math.Sqrt(12.5), 40 / Math.Sqrt(12.5));
    }

    [Fact]
    [Implements("V3 §2.1.1", "Rotary embedding turns interleaved pairs of dimensions")]
    public void Rope_turns_a_pair_by_a_quarter()
    {
        Tensor y = _f.Zeros(1, 2);
        _f.Operations.Elementwise.Rope(Values([1, 2], 3, 5), _f.Integers(1), Values([2, 2], 1, 0, 0, 1), inverse: false, y);
        Near(y, -5, 3);
    }

    [Fact]
    public void Attention_sees_the_past_of_its_own_sequence()
    {
        // Scores 0 and ln 3 give probabilities 1/4 and 3/4; the third token begins another sequence and sees itself alone.
        Tensor q = Values([3, 1, 1], 1, 1, 1), k = Values([3, 1, 1], 0, Math.Log(3), 9), v = Values([3, 1, 1], 8, 4, 100), o = _f.Zeros(3, 1, 1), lse = _f.Zeros(3, 1);
        _f.Operations.Attention.Causal(q, k, v, _f.Integers(0, 2, 3), 1, o, lse);
        Near(o, 8, (0.25 * 8) + (0.75 * 4), 100);
        Near(lse, 0, Math.Log(4), 9);
    }

    [Fact]
    [Implements("V3 §2.1.2", "Gate scores are sigmoids; a bias for each expert takes part in the choice and not in the weights")]
    [Implements("V3 §2.1.2", "Experts are chosen inside the best groups, a group being judged by its two best experts")]
    public void Gate_adds_the_bias_for_selection_only_and_keeps_whole_groups()
    {
        // Scores 0.9, 0.6, 0.5, 0.4 in two groups. The bias lifts the second group (0.5 + 0.4 + 2·0.4 > 0.9 + 0.6); weights use the scores alone.
        static double Logit(double p) => Math.Log(p / (1 - p));
        Tensor logits = Values([1, 4], Logit(0.9), Logit(0.6), Logit(0.5), Logit(0.4)), bias = Values([4], 0, 0, 0.4, 0.4);
        Tensor scores = _f.Zeros(1, 4), experts = _f.Integers(0, 0), weights = _f.Zeros(1, 2);
        _f.Operations.Routing.Gate(logits, bias, new GateParameters(4, 2, 2, 1, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, 2), scores, experts, weights);
        Assert.Equal([2, 3], experts.AsSpan<int>().ToArray());
        Near(weights, 2 * 0.5 / 0.9, 2 * 0.4 / 0.9);
    }

    [Fact]
    [Implements("V3 §2.1.2", "Experts of groups that were not kept cannot be chosen, whatever the biases")]
    public void Groups_left_out_are_minus_infinity_not_zero()
    {
        // All biased scores are negative: a mask of zero would choose experts of the group that was left out.
        Tensor logits = _f.Zeros(1, 4), bias = Values([4], -2, -2, -3, -3), scores = _f.Zeros(1, 4), experts = _f.Integers(0, 0), weights = _f.Zeros(1, 2);
        _f.Operations.Routing.Gate(logits, bias, new GateParameters(4, 2, 2, 1, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, 1), scores, experts, weights);
        Assert.Equal([0, 1], experts.AsSpan<int>().ToArray());
    }

    [Fact]
    [Implements("V3 §2.1.2", "The complementary balance loss looks at one sequence at a time")]
    public void Balance_loss_of_an_even_load_is_alpha()
    {
        Tensor loss = _f.Zeros(1);
        Tensor scores = Values([2, 2], 0.75, 0.25, 0.25, 0.75);
        _f.Operations.Routing.BalanceLoss(scores, _f.Integers(0, 2), new GateParameters(2, 1, 1, 1, GateScoring.Sigmoid, GroupScoring.Maximum, Normalize: true, 1), 0.1, 1, loss, default);
        Near(loss, 0.1);
        scores = Values([2, 2], 0.75, 0.25, 0.75, 0.25); // all to the first: f = (2, 0), P = (0.75, 0.25)
        _f.Operations.Routing.BalanceLoss(scores, _f.Integers(0, 2), new GateParameters(2, 1, 1, 1, GateScoring.Sigmoid, GroupScoring.Maximum, Normalize: true, 1), 0.1, 1, loss, default);
        Near(loss, 0.15);
    }

    [Fact]
    [Implements("V3 §2.1.2", "No token is dropped: every chosen pair of token and expert has its row")]
    public void Plan_sorts_rows_by_expert_then_token()
    {
        Tensor counts = _f.Integers(9, 9, 9), offsets = _f.Integers(9, 9, 9, 9), rowToken = _f.Integers(9, 9, 9, 9, 9, 9, 9, 9), tokenRow = _f.Integers(9, 9, 9, 9);
        _f.Operations.Routing.Plan(_f.Integers(0, 2, 0, 1).Reshape(2, 2), 3, 2, counts, offsets, rowToken, tokenRow);
        Assert.Equal([2, 1, 1], counts.AsSpan<int>().ToArray());
        Assert.Equal([0, 2, 4, 6], offsets.AsSpan<int>().ToArray());
        Assert.Equal([0, 1, 1, -1, 0, -1, -1, -1], rowToken.AsSpan<int>().ToArray());
        Assert.Equal([0, 4, 1, 2], tokenRow.AsSpan<int>().ToArray());
    }

    [Fact]
    public void Experts_add_along_the_tree_and_not_in_order()
    {
        // Experts 0, 2, 3 of 4: x0 + (x2 + x3). In order, 1 + 1e16 loses the one before −1e16 takes the rest away.
        Tensor rows = Values([3, 1], 1, 1e16, -1e16), y = _f.Zeros(1, 1);
        _f.Operations.Routing.CombineRows(rows, _f.Integers(0, 2, 3).Reshape(1, 3), _f.Integers(0, 1, 2).Reshape(1, 3), 4, y, accumulate: false);
        Near(y, 1);
    }

    [Fact]
    [Implements("V3 §2.1.2", "After each step the bias of an expert moves by a fixed amount towards even load")]
    public void Bias_moves_by_the_sign_of_the_shortfall()
    {
        Tensor bias = Values([4], 0, 0, 0, 1);
        _f.Operations.Routing.UpdateBias(_f.Integers(4, 2, 0, 2), 0.001, bias);
        Near(bias, -0.001, 0, 0.001, 1);
    }

    [Fact]
    [Implements("V3 §4.2", "AdamW with decoupled decay")]
    public void First_AdamW_step_moves_by_the_learning_rate_against_the_sign()
    {
        Tensor master = Values([2], 1, -1), m = _f.Zeros(2), v = _f.Zeros(2);
        _f.Operations.Optimizer.AdamW(master, m, v, Values([2], 0.5, -3), new AdamWParameters(0.9, 0.95, 0, 0.1), Values([4], 0.01, 1, 1, 1));
        Near(master, 1 - (0.01 * (1 + 0.1)), -1 + (0.01 * (1 + 0.1)));
    }

    [Fact]
    public void Cross_entropy_of_equal_logits_is_the_log_of_the_vocabulary()
    {
        Tensor losses = _f.Zeros(2), dLogits = _f.Zeros(2, 4);
        _f.Operations.Embedding.CrossEntropy(_f.Zeros(2, 4), _f.Integers(2, -1), 0.5, losses, dLogits);
        Near(losses, Math.Log(4), 0);
        Near(dLogits, 0.125, 0.125, -0.375, 0.125, 0, 0, 0, 0);
    }

    [Fact]
    public void Wrong_operands_are_refused_with_what_was_given_and_expected()
    {
        ArgumentException shape = Assert.Throws<ArgumentException>(() => _f.Operations.Elementwise.Add(_f.Zeros(2, 3), _f.Zeros(3, 2), _f.Zeros(2, 3)));
        Assert.Contains("F64[3, 2]", shape.Message, StringComparison.Ordinal);
        Assert.Contains("2 rows of 3", shape.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => _f.Operations.Embedding.Embed(_f.Integers(5), _f.Zeros(5, 2), _f.Zeros(1, 2)));
        Assert.Throws<ArgumentException>(() => _f.Operations.Attention.Causal(
            _f.Zeros(3, 1, 2), _f.Zeros(3, 1, 2), _f.Zeros(3, 1, 2), _f.Integers(0, 2), 1, _f.Zeros(3, 1, 2), default));
    }
}
