using System.Runtime.InteropServices;

namespace Hadal.Text;

/// <summary>
/// Learns byte-pair merges from counted pieces [Sennrich et al. 2016]: again and again the most frequent adjacent pair becomes a token. Ties go to the pair with the
/// lower left id, then the lower right id, so the result depends on the counts alone. Pair counts are kept up to date piece by piece; a priority queue
/// with lazy corrections gives the next pair.
/// </summary>
sealed class MergeLearner
{
    /// <summary>How often a pair occurs, and the pieces in which it may occur.</summary>
    struct Pair
    {
        public ulong Key;
        public long Count;
        public List<int> Pieces;
        public bool Raised;
    }

    /// <summary>Higher counts first, then lower pairs.</summary>
    sealed class Order : IComparer<Priority>
    {
        public int Compare(Priority x, Priority y) => x.Count != y.Count ? y.Count.CompareTo(x.Count) : x.Key.CompareTo(y.Key);
    }

    readonly record struct Priority(long Count, ulong Key);

    readonly int[] _symbols;
    readonly int[] _starts;
    readonly int[] _lengths;
    readonly long[] _counts;
    readonly Dictionary<ulong, int> _index = [];
    readonly List<Pair> _pairs = [];
    readonly List<int> _raised = [];
    readonly PriorityQueue<int, Priority> _queue = new(new Order());
    readonly List<string> _vocabulary;
    readonly Dictionary<string, int> _ids = new(StringComparer.Ordinal);
    readonly HashSet<string> _reserved;
    readonly long _minimumFrequency;
    readonly int _maximumBytes;

    /// <summary>Prepares learning.</summary>
    /// <param name="counts">Pieces and how often each occurs.</param>
    /// <param name="vocabulary">The tokens to begin with, among them all 256 bytes; learned tokens are appended.</param>
    /// <param name="reserved">Strings that must not become ordinary tokens.</param>
    /// <param name="minimumFrequency">Rarer pairs are not merged.</param>
    /// <param name="maximumBytes">Longer tokens are not made.</param>
    public MergeLearner(Dictionary<byte[], long> counts, List<string> vocabulary, IEnumerable<string> reserved, long minimumFrequency, int maximumBytes)
    {
        _vocabulary = vocabulary;
        _reserved = new HashSet<string>(reserved, StringComparer.Ordinal);
        _minimumFrequency = Math.Max(1, minimumFrequency);
        _maximumBytes = maximumBytes;
        for (int id = 0; id < vocabulary.Count; id++) _ids.Add(vocabulary[id], id);
        int[] byteIds = new int[256];
        for (int value = 0; value < 256; value++) byteIds[value] = _ids[ByteAlphabet.ToChar((byte)value).ToString()];
        KeyValuePair<byte[], long>[] pieces = [.. counts.Where(entry => entry.Key.Length > 1)];
        _symbols = new int[pieces.Sum(entry => (long)entry.Key.Length)];
        _starts = new int[pieces.Length];
        _lengths = new int[pieces.Length];
        _counts = new long[pieces.Length];
        int place = 0;
        for (int piece = 0; piece < pieces.Length; piece++)
        {
            (byte[] bytes, long count) = pieces[piece];
            _starts[piece] = place;
            _lengths[piece] = bytes.Length;
            _counts[piece] = count;
            foreach (byte value in bytes) _symbols[place++] = byteIds[value];
            for (int i = _starts[piece]; i + 1 < place; i++) Change(_symbols[i], _symbols[i + 1], count, piece);
        }
        OfferRaised();
    }

    /// <summary>The merges so far: left, right and merged id by rank.</summary>
    public List<(int Left, int Right, int Merged)> Merges { get; } = [];

    /// <summary>Learns one merge.</summary>
    /// <returns>False when no pair is frequent enough.</returns>
    public bool TryLearn()
    {
        while (_queue.TryDequeue(out int index, out Priority priority))
        {
            ref Pair pair = ref CollectionsMarshal.AsSpan(_pairs)[index];
            if (pair.Count != priority.Count)
            {
                // A count that fell is offered again; one that rose was offered when it rose.
                if (pair.Count < priority.Count && pair.Count >= _minimumFrequency) _queue.Enqueue(index, new Priority(pair.Count, pair.Key));
                continue;
            }
            int left = (int)(pair.Key >> 32);
            int right = (int)(uint)pair.Key;
            string token = _vocabulary[left] + _vocabulary[right];
            if (_reserved.Contains(token)) continue;
            if (!_ids.TryGetValue(token, out int merged))
            {
                // Another pair may have made the same string before; then its id is shared.
                merged = _vocabulary.Count;
                _vocabulary.Add(token);
                _ids.Add(token, merged);
            }
            Merges.Add((left, right, merged));
            List<int> pieces = pair.Pieces;
            pair.Pieces = [];
            foreach (int piece in pieces) Apply(piece, left, right, merged);
            CollectionsMarshal.AsSpan(_pairs)[index].Count = 0;
            OfferRaised();
            return true;
        }
        return false;
    }

    /// <summary>Merges a pair wherever it occurs in a piece, left to right, and corrects the counts of the neighbouring pairs.</summary>
    void Apply(int piece, int left, int right, int merged)
    {
        Span<int> symbols = _symbols.AsSpan(_starts[piece], _lengths[piece]);
        long count = _counts[piece];
        int written = 0;
        for (int read = 0; read < symbols.Length; read++)
        {
            int symbol = symbols[read];
            if (symbol == left && read + 1 < symbols.Length && symbols[read + 1] == right)
            {
                if (written > 0)
                {
                    Change(symbols[written - 1], left, -count, piece);
                    Change(symbols[written - 1], merged, count, piece);
                }
                if (read + 2 < symbols.Length)
                {
                    Change(right, symbols[read + 2], -count, piece);
                    Change(merged, symbols[read + 2], count, piece);
                }
                symbol = merged;
                read++;
            }
            symbols[written++] = symbol;
        }
        _lengths[piece] = written;
    }

    void Change(int left, int right, long change, int piece)
    {
        ulong key = ((ulong)(uint)left << 32) | (uint)right;
        ref int index = ref CollectionsMarshal.GetValueRefOrAddDefault(_index, key, out bool known);
        if (!known)
        {
            index = _pairs.Count;
            _pairs.Add(new Pair { Key = key, Pieces = [] });
        }
        ref Pair pair = ref CollectionsMarshal.AsSpan(_pairs)[index];
        pair.Count += change;
        if (change < 0) return;
        if (pair.Pieces.Count == 0 || pair.Pieces[^1] != piece) pair.Pieces.Add(piece);
        if (pair.Raised) return;
        pair.Raised = true;
        _raised.Add(index);
    }

    void OfferRaised()
    {
        Span<Pair> pairs = CollectionsMarshal.AsSpan(_pairs);
        foreach (int index in _raised)
        {
            ref Pair pair = ref pairs[index];
            pair.Raised = false;
            if (pair.Count < _minimumFrequency) continue;
            if (_vocabulary[(int)(pair.Key >> 32)].Length + _vocabulary[(int)(uint)pair.Key].Length <= _maximumBytes) _queue.Enqueue(index, new Priority(pair.Count, pair.Key));
        }
        _raised.Clear();
    }
}
