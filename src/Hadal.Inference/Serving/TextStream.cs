using System.Buffers;
using System.Text;
using Hadal.Text;

namespace Hadal.Inference.Serving;

/// <summary>
/// Tokens to text that may be shown: bytes of an unfinished character are held back, and so is text that may turn out to be a stop text. Where the text ends does not
/// depend on token borders: the first stop text to be complete ends it, the longest of those that are complete at the same character.
/// </summary>
sealed class TextStream
{
    readonly Tokenizer _tokenizer;
    readonly string[] _stop;
    readonly byte[] _bytes; // of an unfinished character, then of the token
    readonly char[] _decoded;
    char[] _held = new char[64];
    char[] _ready = new char[64];
    int _heldCount, _readyCount, _unfinished;

    public TextStream(Tokenizer tokenizer, IReadOnlyList<string> stop)
    {
        _tokenizer = tokenizer;
        _bytes = new byte[tokenizer.LongestToken + 4];
        _decoded = new char[_bytes.Length];
        _stop = [.. stop];
    }

    /// <summary>A stop text was found: what came before it is all there is.</summary>
    public bool IsStopped { get; private set; }

    /// <summary>Takes a token.</summary>
    public void Append(int token)
    {
        if (IsStopped || _tokenizer.IsSpecial(token)) return;
        ReadOnlySpan<byte> bytes = _tokenizer.TokenBytes(token);
        bytes.CopyTo(_bytes.AsSpan(_unfinished));
        Add(_decoded.AsSpan(0, Decode(_unfinished + bytes.Length)));
    }

    /// <summary>Ends the text: nothing is held back any more.</summary>
    public void Finish()
    {
        if (!IsStopped && _unfinished > 0) Add("\uFFFD");
        _unfinished = 0;
        Release(_heldCount);
    }

    /// <summary>The text that may be shown since the last call.</summary>
    public string Take()
    {
        if (_readyCount == 0) return "";
        var text = new string(_ready, 0, _readyCount);
        _readyCount = 0;
        return text;
    }

    /// <summary>Drops the text that may be shown: it was shown before.</summary>
    public void Skip() => _readyCount = 0;

    // The characters that are complete; each ill-formed part becomes U+FFFD, as in Tokenizer.Decode. (.NET's own decoder allocates for each of them.)
    int Decode(int count)
    {
        ReadOnlySpan<byte> bytes = _bytes.AsSpan(0, count);
        int characters = 0;
        while (!bytes.IsEmpty)
        {
            OperationStatus status = Rune.DecodeFromUtf8(bytes, out Rune rune, out int consumed);
            if (status == OperationStatus.NeedMoreData) break;
            characters += rune.EncodeToUtf16(_decoded.AsSpan(characters));
            bytes = bytes[consumed..];
        }

        _unfinished = bytes.Length;
        bytes.CopyTo(_bytes);
        return characters;
    }

    void Add(ReadOnlySpan<char> text)
    {
        if (_stop.Length == 0)
        {
            Push(ref _ready, ref _readyCount, text);
            return;
        }

        foreach (char c in text)
        {
            Push(ref _held, ref _heldCount, [c]);
            int matched = 0;
            foreach (string stop in _stop)
                if (stop.Length > matched && _held.AsSpan(0, _heldCount).EndsWith(stop, StringComparison.Ordinal)) matched = stop.Length;
            if (matched == 0) continue;
            IsStopped = true;
            _heldCount -= matched;
            Release(_heldCount);
            return;
        }

        Release(_heldCount - Held());
    }

    /// <summary>Length of the longest end of the held text that begins a stop text.</summary>
    int Held()
    {
        int longest = 0;
        ReadOnlySpan<char> held = _held.AsSpan(0, _heldCount);
        foreach (string stop in _stop)
        {
            for (int length = Math.Min(stop.Length - 1, held.Length); length > longest; length--)
            {
                if (!held.EndsWith(stop.AsSpan(0, length), StringComparison.Ordinal)) continue;
                longest = length;
                break;
            }
        }

        // Half of a surrogate pair is not shown either.
        if (longest < held.Length && char.IsHighSurrogate(held[held.Length - longest - 1])) longest++;
        return longest;
    }

    void Release(int count)
    {
        Push(ref _ready, ref _readyCount, _held.AsSpan(0, count));
        _held.AsSpan(count, _heldCount - count).CopyTo(_held);
        _heldCount -= count;
    }

    static void Push(ref char[] buffer, ref int count, ReadOnlySpan<char> text)
    {
        if (count + text.Length > buffer.Length) Array.Resize(ref buffer, Math.Max(buffer.Length * 2, count + text.Length));
        text.CopyTo(buffer.AsSpan(count));
        count += text.Length;
    }
}
