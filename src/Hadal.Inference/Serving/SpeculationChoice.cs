namespace Hadal.Inference.Serving;

/// <summary>
/// Whether drafting pays in the next step. With it each text gets 1 + a tokens a step, a the share of drafts that are right; without it one, in less time. Both times are
/// measured for each number of texts, in steps that only decode; a is known for each text. What is not done is tried from time to time, more and more seldom while the answer
/// stays the same. The choice changes the speed, never a text. Not thread safe, but for <see cref="Gain"/>; allocates nothing.
/// </summary>
sealed class SpeculationChoice
{
    const int First = 4, Trial = 12, ShortestPause = 64, LongestPause = 512, Prior = 4;
    const double Margin = 1.02;
    readonly EngineOptions _options;
    readonly Cell[] _cells;
    double _acceptance = 0.5;
    long _verified;

    /// <summary>What is known of one number of texts. Index 0 without drafts, 1 with.</summary>
    struct Cell
    {
        public Time Verify0, Verify1, Draft0, Draft1;
        public bool Drafts;
        public int Pause, SinceTrial, TrialLeft;
    }

    /// <summary>Seconds, as they are when nothing disturbs: a shorter one is believed sooner than a longer one.</summary>
    struct Time
    {
        public double Seconds;
        public int Count;

        public void Add(double seconds)
        {
            if (Count++ == 0) return; // the first runs cold
            if (Seconds == 0) Seconds = seconds;
            else if (seconds < Seconds) Seconds += 0.3 * (seconds - Seconds);
            else Seconds += 0.05 * (Math.Min(seconds, 2 * Seconds) - Seconds);
        }

        public readonly bool IsKnown => Count >= First;
    }

    public SpeculationChoice(EngineOptions options)
    {
        _options = options;
        _cells = new Cell[options.MaxRunning + 1];
        for (int i = 0; i < _cells.Length; i++) _cells[i].Pause = ShortestPause;
    }

    /// <summary>Tokens a second with drafts over those without, as last estimated; 0 before both were measured.</summary>
    public double Gain { get => Volatile.Read(ref field); private set => Volatile.Write(ref field, value); }

    /// <summary>The share of a text's drafts that will be right: of its own so far, begun with that of all texts of late.</summary>
    public double Expected(int drafted, int accepted) => (accepted + (Prior * _acceptance)) / (drafted + Prior);

    /// <summary>A draft was right or wrong.</summary>
    public void Verified(bool right) => _acceptance += ((right ? 1 : 0) - _acceptance) / Math.Min(64, 8 + _verified++);

    /// <summary>Seconds of the main model and of choosing tokens.</summary>
    public void Verification(int texts, bool drafted, double seconds)
    {
        if (drafted) _cells[texts].Verify1.Add(seconds);
        else _cells[texts].Verify0.Add(seconds);
    }

    /// <summary>Seconds of the MTP module: of drafts, or of what is done without them.</summary>
    public void Drafting(int texts, bool drafts, double seconds)
    {
        if (drafts) _cells[texts].Draft1.Add(seconds);
        else _cells[texts].Draft0.Add(seconds);
    }

    /// <summary>Whether the next step is to verify drafts.</summary>
    /// <param name="texts">Texts that go on, 1 to <see cref="EngineOptions.MaxRunning"/>.</param>
    /// <param name="acceptance">Mean of <see cref="Expected"/> over them.</param>
    public bool ShouldDraft(int texts, double acceptance)
    {
        if (_options.DraftWhen is { } decide) return decide(texts);
        if (_options.AlwaysSpeculate) return true;
        ref Cell cell = ref _cells[texts];

        // 1. Both ways are tried first.
        if (!cell.Verify0.IsKnown || !cell.Draft0.IsKnown) return false;
        if (!cell.Verify1.IsKnown || !cell.Draft1.IsKnown) return true;

        // 2. A trial of the other way goes on, or begins.
        if (cell.TrialLeft > 0)
        {
            cell.TrialLeft--;
            return !cell.Drafts;
        }

        // 3. The faster one; the one in use is kept when they are alike.
        double gain = (1 + acceptance) * (cell.Verify0.Seconds + cell.Draft0.Seconds) / (cell.Verify1.Seconds + cell.Draft1.Seconds);
        Gain = gain;
        bool drafts = gain > (cell.Drafts ? 1 : Margin);
        if (drafts != cell.Drafts)
        {
            cell.Drafts = drafts;
            cell.Pause = ShortestPause;
            cell.SinceTrial = 0;
        }
        else if (++cell.SinceTrial >= cell.Pause)
        {
            cell.SinceTrial = 0;
            cell.Pause = Math.Min(2 * cell.Pause, LongestPause);
            cell.TrialLeft = Math.Max(3, Trial / texts) - 1;
            return !drafts;
        }

        return drafts;
    }
}
