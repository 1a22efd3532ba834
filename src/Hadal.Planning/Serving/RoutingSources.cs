using System.Runtime.Intrinsics;
using Hadal.Numerics;
using Hadal.Parallel.Serving;
using Hadal.Tensors.Operations;

namespace Hadal.Planning.Serving;

/// <summary>Tokens whose choices drive a simulation.</summary>
public interface IRoutingSource
{
    /// <summary>For people: what it is.</summary>
    string Description { get; }

    /// <summary>Experts of a layer.</summary>
    int Experts { get; }

    /// <summary>Experts of a token.</summary>
    int TopK { get; }

    /// <summary>When other tokens come than at the beginning, their experts about as popular: a moment later, or with the next recorded window.</summary>
    TimeSpan OtherTokensAt { get; }

    /// <summary>Chooses for tokens at a time.</summary>
    /// <param name="time">Since the simulation began.</param>
    /// <param name="layer">Layer of the simulation, from 0.</param>
    /// <param name="stream">Tokens of other streams are other tokens.</param>
    /// <param name="choices">[tokens · topK]: receives experts, ascending for each token.</param>
    void Choose(TimeSpan time, int layer, int stream, Span<int> choices);

    /// <summary>What a gate is given, so that the tokens of a stream choose by this routing.</summary>
    /// <param name="time">Since the simulation began.</param>
    /// <param name="layer">Layer of the simulation, from 0.</param>
    /// <param name="stream">Tokens of other streams are other tokens.</param>
    /// <param name="logits">[tokens · experts]: receives the gate's logits.</param>
    void Logits(TimeSpan time, int layer, int stream, Span<float> logits);
}

/// <summary>
/// Skewed routing: an expert's popularity falls with its place in an order of its layer (Zipf), every token adds noise of its own, and chooses as the gate does: the best groups by their two
/// best experts, then the best experts in them. With a drift, the order changes from one into the next all the time, so that experts become hot and cool again.
/// </summary>
/// <param name="gate">Experts, groups, choices.</param>
/// <param name="exponent">Popularity ∝ 1/place^exponent; 0 for even routing.</param>
/// <param name="drift">How long one order takes to become the next; null for one order for ever.</param>
/// <param name="seed">Of everything random.</param>
public sealed class SyntheticRouting(GateParameters gate, double exponent, TimeSpan? drift = null, ulong seed = 0) : IRoutingSource
{
    static readonly float[] Noise = MakeNoise();

    /// <inheritdoc/>
    public string Description => FormattableString.Invariant($"synthetic routing, Zipf {exponent:0.##}{(drift is { } time ? FormattableString.Invariant($", popularity turning over every {time.TotalMinutes:0.#} minutes") : "")}, seed {seed}");

    /// <inheritdoc/>
    public int Experts => gate.Experts;

    /// <inheritdoc/>
    public int TopK => gate.TopK;

    /// <inheritdoc/>
    public TimeSpan OtherTokensAt => TimeSpan.FromSeconds(1);

    /// <inheritdoc/>
    public void Choose(TimeSpan time, int layer, int stream, Span<int> choices)
    {
        float[] scores = new float[Experts], groups = new float[gate.Groups];
        var tokens = new Stream(this, time, layer, stream);
        int size = Experts / gate.Groups;
        for (int t = 0; t * TopK < choices.Length; t++)
        {
            tokens.Next(scores);
            for (int group = 0; group < groups.Length; group++) groups[group] = TopTwo(scores.AsSpan(group * size, size));
            for (int drop = gate.TopGroups; drop < groups.Length; drop++)
            {
                int worst = groups.AsSpan().IndexOf(groups.Min());
                groups[worst] = float.MaxValue;
                scores.AsSpan(worst * size, size).Fill(float.MinValue);
            }

            // The best so far in descending order; of equal ones the first comes first, as when the largest is searched again and again.
            Span<int> chosen = choices.Slice(t * TopK, TopK);
            int found = 0;
            float least = float.NegativeInfinity;
            for (int expert = 0; expert < scores.Length; expert++)
            {
                float score = scores[expert];
                if (score <= least) continue;
                int place = found < chosen.Length ? found++ : chosen.Length - 1;
                for (; place > 0 && scores[chosen[place - 1]] < score; place--) chosen[place] = chosen[place - 1];
                chosen[place] = expert;
                if (found == chosen.Length) least = scores[chosen[^1]];
            }

            chosen.Sort();
        }
    }

    /// <inheritdoc/>
    public void Logits(TimeSpan time, int layer, int stream, Span<float> logits)
    {
        var tokens = new Stream(this, time, layer, stream);
        for (int at = 0; at < logits.Length; at += Experts) tokens.Next(logits.Slice(at, Experts));
    }

    // Tokens of a stream: popularity, and noise of each token's own.
    struct Stream
    {
        readonly float[] _popularity;
        readonly uint[] _words;
        readonly CounterRandom _random;
        ulong _index;

        public Stream(SyntheticRouting routing, TimeSpan time, int layer, int stream)
        {
            double turns = routing.Drift is { } period ? time / period : 0;
            int turn = (int)Math.Floor(turns);
            _popularity = new float[routing.Experts];
            _words = new uint[(routing.Experts + 1) / 2];
            routing.Mix(_popularity, layer, turn, 1 - (turns - turn));
            routing.Mix(_popularity, layer, turn + 1, turns - turn);
            _random = new CounterRandom(routing.Seed, RandomPurpose.Simulation, (uint)((layer << 16) ^ stream));
            _index = (ulong)time.Ticks * 65_536;
        }

        public void Next(Span<float> scores)
        {
            _random.Fill(_words, _index);
            _index += (ulong)_words.Length;
            for (int expert = 0; expert < scores.Length; expert++) scores[expert] = _popularity[expert] + Noise[(_words[expert / 2] >> (16 * (expert & 1))) & 0xFFFF];
        }
    }

    TimeSpan? Drift => drift;

    ulong Seed => seed;

    // log 1/place^exponent, in an order of its own for every layer and turn.
    void Mix(float[] popularity, int layer, int turn, double weight)
    {
        if (weight == 0) return;
        int[] order = new CounterRandom(seed + 1, RandomPurpose.Simulation, (uint)((layer << 16) ^ (turn & 0xFFFF))).Permutation(Experts);
        for (int place = 0; place < order.Length; place++) popularity[order[place]] -= (float)(weight * exponent * Math.Log(place + 1));
    }

    // The sum of the two largest.
    static float TopTwo(ReadOnlySpan<float> scores)
    {
        int at = 0;
        float first = float.MinValue, second = float.MinValue;
        if (scores.Length >= Vector256<float>.Count)
        {
            Vector256<float> most = Vector256.Create(float.MinValue), next = most;
            for (; at + Vector256<float>.Count <= scores.Length; at += Vector256<float>.Count)
            {
                Vector256<float> values = Vector256.Create(scores[at..]);
                next = Vector256.Max(next, Vector256.Min(most, values));
                most = Vector256.Max(most, values);
            }

            for (int lane = 0; lane < Vector256<float>.Count; lane++)
            {
                Add(most[lane]);
                Add(next[lane]);
            }
        }

        for (; at < scores.Length; at++) Add(scores[at]);
        return scores.Length == 1 ? first : first + second;

        void Add(float score)
        {
            second = Math.Max(second, Math.Min(first, score));
            first = Math.Max(first, score);
        }
    }

    // Gumbel noise makes the choice of the largest a draw by popularity. 65,536 values of equal probability.
    static float[] MakeNoise()
    {
        float[] noise = new float[65_536];
        for (int i = 0; i < noise.Length; i++) noise[i] = (float)-Math.Log(-Math.Log((i + 0.5) / noise.Length));
        return noise;
    }
}

/// <summary>Recorded routing: the windows follow each other, each for as long, and begin again after the last. Tokens are those whose choices were kept, from another one on in each stream.</summary>
public sealed class RecordedRouting : IRoutingSource
{
    readonly RoutingRecord _record;
    readonly TimeSpan _window;

    /// <summary>A record played back.</summary>
    /// <param name="record">With the choices of some tokens in every window.</param>
    /// <param name="window">How long a window lasts.</param>
    /// <exception cref="ArgumentException">The record has counts alone.</exception>
    public RecordedRouting(RoutingRecord record, TimeSpan window)
    {
        ArgumentNullException.ThrowIfNull(record);
        if (record.SampledTokens == 0) throw new ArgumentException("The recorded routing has no choices of single tokens in some window; expected some: record with hadal inspect experts --sample 512 or more.", nameof(record));
        if (window <= TimeSpan.Zero) throw new ArgumentOutOfRangeException(nameof(window), window, "A window lasts longer than nothing.");
        (_record, _window) = (record, window);
    }

    /// <inheritdoc/>
    public string Description => FormattableString.Invariant($"recorded routing of {_record.Model}: {_record.Layers.Count} layers, {_record.Windows.Count} windows of {_window.TotalMinutes:0.#} minutes");

    /// <inheritdoc/>
    public int Experts => _record.Experts;

    /// <inheritdoc/>
    public int TopK => _record.TopK;

    /// <summary>The kept tokens of a window are few and come again and again: measured on them, a placement made from them would look better than it is.</summary>
    public TimeSpan OtherTokensAt => _window;

    /// <inheritdoc/>
    public void Choose(TimeSpan time, int layer, int stream, Span<int> choices)
    {
        RoutingWindow window = _record.Windows[(int)((long)(time / _window) % _record.Windows.Count)];
        ushort[] kept = window.Choices[layer % window.Choices.Length];
        int tokens = kept.Length / TopK, count = choices.Length / TopK;
        long first = ((long)stream * count) % tokens;
        for (int t = 0; t < count; t++)
        {
            int from = (int)((first + t) % tokens) * TopK;
            for (int k = 0; k < TopK; k++) choices[(t * TopK) + k] = kept[from + k];
        }
    }

    /// <summary>High for the recorded experts and low for all others, so that a gate with the limits of the recorded one chooses the same.</summary>
    /// <inheritdoc cref="IRoutingSource.Logits"/>
    public void Logits(TimeSpan time, int layer, int stream, Span<float> logits)
    {
        int[] choices = new int[logits.Length / Experts * TopK];
        Choose(time, layer, stream, choices);
        logits.Fill(-4);
        for (int i = 0; i < choices.Length; i++) logits[(i / TopK * Experts) + choices[i]] = 4;
    }
}
