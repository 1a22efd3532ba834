namespace Hadal.Inference.Serving;

/// <summary>
/// Whether a drafted token may stand [inference spec §6]. The exact way needs no arithmetic: the sampler is a pure function of logits, seed and position, so a draft is right when
/// it is the token that the sampler chooses. The other way, <see cref="Residual"/>, keeps the distribution but not the token.
/// </summary>
public static class SpeculationAcceptance
{
    /// <summary>
    /// Accepts a draft drawn from q with probability min(1, p/q), and otherwise draws from max(0, p − q), normalised: what comes out is distributed as p.
    /// </summary>
    /// <param name="target">p [vocabulary], sums to 1.</param>
    /// <param name="draft">q [vocabulary], sums to 1.</param>
    /// <param name="token">Drawn from q.</param>
    /// <param name="acceptance">Uniform in [0, 1).</param>
    /// <param name="resampling">Uniform in [0, 1), independent of the first.</param>
    /// <returns>The token, and whether it is the draft.</returns>
    public static (int Token, bool Accepted) Residual(ReadOnlySpan<double> target, ReadOnlySpan<double> draft, int token, double acceptance, double resampling)
    {
        if (target.Length != draft.Length) throw new ArgumentException($"The distributions have {target.Length} and {draft.Length} tokens; expected equally many.", nameof(draft));
        if (acceptance * draft[token] < target[token]) return (token, true);
        double total = 0;
        for (int v = 0; v < target.Length; v++) total += Math.Max(0, target[v] - draft[v]);
        double aim = resampling * total, sum = 0;
        int last = -1;
        for (int v = 0; v < target.Length; v++)
        {
            double weight = Math.Max(0, target[v] - draft[v]);
            if (weight <= 0) continue;
            last = v;
            sum += weight;
            if (aim < sum) return (v, false);
        }

        return last >= 0 ? (last, false) : (token, true); // p equals q but for rounding: the draft is as good as any
    }
}
