using System.Buffers;
using System.Runtime.InteropServices;
using System.Text;

namespace Hadal.Text;

/// <summary>
/// A byte-level byte-pair tokenizer, as DeepSeek-V3 uses it [V3 §4.1]: added tokens are cut out (if asked), the rest is split into pieces over Unicode scalars,
/// and inside each piece pairs of byte strings merge by rank. Any text can be encoded, and decoding gives the same text back.
/// </summary>
/// <remarks>Immutable and safe to use from many threads. Text that is not well-formed is read as if each ill-formed part were U+FFFD.</remarks>
public sealed class Tokenizer
{
    readonly TokenizerDefinition _definition;
    readonly BytePairEncoder _encoder;
    readonly AddedTokenMatcher _exact;
    readonly AddedTokenMatcher _normalized;
    readonly Dictionary<string, int> _ids = new(StringComparer.Ordinal);
    readonly byte[] _bytes;
    readonly int[] _starts;
    readonly bool[] _special;

    internal Tokenizer(TokenizerDefinition definition)
    {
        _definition = definition;
        (int[] left, int[] right, int[] merged) = definition.Merges;
        for (int id = 0; id < definition.Vocabulary.Length; id++)
            if (definition.Vocabulary[id] is { } token) _ids.Add(token, id);
        int[] byteIds = new int[256];
        for (int value = 0; value < 256; value++) byteIds[value] = _ids[ByteAlphabet.ToChar((byte)value).ToString()];
        _encoder = new BytePairEncoder(byteIds, new MergeTable(left, right, merged));
        _exact = new AddedTokenMatcher(definition.Added.Where(token => !token.Normalized));
        _normalized = new AddedTokenMatcher(definition.Added.Where(token => token.Normalized));
        _special = new bool[definition.Size];
        string?[] contents = new string?[definition.Size];
        foreach (AddedToken token in definition.Added)
        {
            _ids[token.Content] = token.Id;
            _special[token.Id] = token.Special;
            contents[token.Id] = token.Content;
        }
        (_bytes, _starts) = CollectBytes(definition, contents);
        LongestToken = Enumerable.Range(0, definition.Size).Max(id => TokenBytes(id).Length);
    }

    /// <summary>One past the largest id. (A model's embedding may have more rows, DeepSeek-V3's has 129,280.)</summary>
    public int VocabularySize => _definition.Size;

    /// <summary>The tokens that are found in text before it is split, by ascending id.</summary>
    public IReadOnlyList<AddedToken> AddedTokens => _definition.Added;

    /// <summary>Ids that the file's post-processor puts before a text, such as the beginning-of-sentence token.</summary>
    public ReadOnlySpan<int> Prefix => _definition.Prefix;

    /// <summary>Ids that the file's post-processor puts after a text.</summary>
    public ReadOnlySpan<int> Suffix => _definition.Suffix;

    /// <summary>Number of bytes of the longest token.</summary>
    public int LongestToken { get; }

    internal TokenizerDefinition Definition => _definition;

    /// <summary>Reads a <c>tokenizer.json</c>.</summary>
    /// <exception cref="TokenizerFormatException">It is damaged or describes a pipeline that is not supported; the message says where, what and the remedy.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static Tokenizer Load(string path)
    {
        long length = new FileInfo(path).Length;
        if (length > TokenizerReader.LargestFile)
            throw new TokenizerFormatException(path, $"{length} bytes; at most {TokenizerReader.LargestFile} are read.", "This is hardly a tokenizer.json: check the path.");
        try
        {
            return Parse(File.ReadAllBytes(path));
        }
        catch (TokenizerFormatException e)
        {
            throw new TokenizerFormatException($"{path}: {e.Message}", e);
        }
    }

    /// <summary>Reads the content of a <c>tokenizer.json</c>.</summary>
    /// <exception cref="TokenizerFormatException">It is damaged or describes a pipeline that is not supported.</exception>
    public static Tokenizer Parse(ReadOnlyMemory<byte> json) => new(TokenizerReader.Read(json));

    /// <summary>Writes a <c>tokenizer.json</c>; an existing file is replaced at once or not at all.</summary>
    /// <exception cref="IOException">It cannot be written; an existing file is unchanged.</exception>
    public void Save(string path)
    {
        var buffer = new ArrayBufferWriter<byte>(1 << 16);
        Write(buffer);
        string temporary = path + ".new";
        try
        {
            using (var file = new FileStream(temporary, FileMode.Create, FileAccess.Write))
            {
                file.Write(buffer.WrittenSpan);
                file.Flush(flushToDisk: true);
            }
            File.Move(temporary, path, overwrite: true);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
    }

    /// <summary>Writes the content of a <c>tokenizer.json</c>.</summary>
    public void Write(IBufferWriter<byte> output) => TokenizerWriter.Write(_definition, output);

    /// <summary>Tokens and merges spelled out, for other programs' formats.</summary>
    public TokenizerVocabulary ToVocabulary() => TokenizerVocabulary.Of(_definition);

    /// <summary>Encodes text.</summary>
    /// <param name="text">Any UTF-16; a lone surrogate is read as U+FFFD.</param>
    /// <param name="allowSpecial">Whether added tokens in the text become their ids. Leave it false for text from users: then no text can inject a control token.</param>
    public int[] Encode(ReadOnlySpan<char> text, bool allowSpecial = false)
    {
        var ids = new List<int>(text.Length / 3 + 4);
        Encode(text, ids, allowSpecial);
        return [.. ids];
    }

    /// <summary>Appends the ids of a text to a list. See <see cref="Encode(ReadOnlySpan{char}, bool)"/>.</summary>
    public void Encode(ReadOnlySpan<char> text, List<int> ids, bool allowSpecial = false)
    {
        ArgumentNullException.ThrowIfNull(ids);
        byte[] rented = Utf8Scalars.Rent(text, out int length);
        try
        {
            EncodeValid(rented.AsSpan(0, length), ids, allowSpecial);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(rented);
        }
    }

    /// <summary>Appends the ids of a UTF-8 text to a list; each ill-formed part is read as U+FFFD.</summary>
    /// <param name="text">Any bytes.</param>
    /// <param name="ids">Receives the ids.</param>
    /// <param name="allowSpecial">As in <see cref="Encode(ReadOnlySpan{char}, bool)"/>.</param>
    public void EncodeUtf8(ReadOnlySpan<byte> text, List<int> ids, bool allowSpecial = false)
    {
        ArgumentNullException.ThrowIfNull(ids);
        EncodeValid(Utf8Scalars.Repair(text), ids, allowSpecial);
    }

    /// <summary>Appends the bytes of ids to a buffer. Ids without a token (a padded embedding has such rows) give nothing.</summary>
    /// <param name="ids">Token ids.</param>
    /// <param name="output">Receives the bytes; they need not be well-formed UTF-8.</param>
    /// <param name="skipSpecial">Leaves out added tokens marked special.</param>
    public void DecodeBytes(ReadOnlySpan<int> ids, IBufferWriter<byte> output, bool skipSpecial = false)
    {
        ArgumentNullException.ThrowIfNull(output);
        foreach (int id in ids)
            if (!(skipSpecial && IsSpecial(id))) output.Write(TokenBytes(id));
    }

    /// <summary>The text of ids; bytes that are not well-formed UTF-8 become U+FFFD.</summary>
    /// <param name="ids">Token ids.</param>
    /// <param name="skipSpecial">Leaves out added tokens marked special.</param>
    public string Decode(ReadOnlySpan<int> ids, bool skipSpecial = false)
    {
        var buffer = new ArrayBufferWriter<byte>(Math.Max(16, ids.Length * 4));
        DecodeBytes(ids, buffer, skipSpecial);
        return Encoding.UTF8.GetString(buffer.WrittenSpan);
    }

    /// <summary>The bytes that an id stands for; empty when no token has it.</summary>
    public ReadOnlySpan<byte> TokenBytes(int id) =>
        (uint)id < (uint)_definition.Size ? _bytes.AsSpan(_starts[id], _starts[id + 1] - _starts[id]) : default;

    /// <summary>Whether an id is an added token marked special.</summary>
    public bool IsSpecial(int id) => (uint)id < (uint)_special.Length && _special[id];

    /// <summary>The id of a token by its spelling in the file.</summary>
    public bool TryGetId(string token, out int id) => _ids.TryGetValue(token, out id);

    /// <summary>The id of a control token by name; see <see cref="SpecialTokens"/>.</summary>
    /// <exception cref="InvalidOperationException">The vocabulary lacks it.</exception>
    public int RequireId(string token) => _ids.TryGetValue(token, out int id)
        ? id
        : throw new InvalidOperationException($"This tokenizer has no token {token}. Use a tokenizer.json of the DeepSeek family or one that Hadal trained.");

    void EncodeValid(ReadOnlySpan<byte> text, List<int> ids, bool allowSpecial)
    {
        if (allowSpecial) EncodeAround(_exact, text, ids);
        else EncodePieces(text, ids);
    }

    /// <summary>Cuts added tokens out and encodes what is between: first those that match the text as it is, then the others.</summary>
    void EncodeAround(AddedTokenMatcher matcher, ReadOnlySpan<byte> text, List<int> ids)
    {
        int search = 0;
        int taken = 0;
        while (!matcher.IsEmpty && matcher.Find(text, ref search, taken, out int start, out int end) is { } token)
        {
            EncodeBetween(matcher, text[taken..start], ids);
            ids.Add(token.Id);
            taken = Math.Max(taken, end);
            search = Math.Max(search, taken);
        }
        EncodeBetween(matcher, text[taken..], ids);
    }

    void EncodeBetween(AddedTokenMatcher matcher, ReadOnlySpan<byte> text, List<int> ids)
    {
        if (text.IsEmpty) return;
        if (ReferenceEquals(matcher, _exact)) EncodeAround(_normalized, text, ids);
        else EncodePieces(text, ids);
    }

    void EncodePieces(ReadOnlySpan<byte> text, List<int> ids)
    {
        var sink = new EncodingSink(_encoder, ids);
        _definition.PreTokenizer.Split(text, ref sink);
    }

    [StructLayout(LayoutKind.Auto)]
    readonly struct EncodingSink(BytePairEncoder encoder, List<int> ids) : IPieceSink
    {
        public void Piece(ReadOnlySpan<byte> piece) => encoder.Encode(piece, ids);
    }

    /// <summary>The bytes of all tokens one after another. A token that is not spelled in the byte alphabet stands for its own text.</summary>
    static (byte[] Bytes, int[] Starts) CollectBytes(TokenizerDefinition definition, string?[] contents)
    {
        var bytes = new ArrayBufferWriter<byte>(1 << 16);
        int[] starts = new int[definition.Size + 1];
        for (int id = 0; id < definition.Size; id++)
        {
            starts[id] = bytes.WrittenCount;
            if (contents[id] is { } content)
            {
                Encoding.UTF8.GetBytes(content, bytes);
            }
            else if (id < definition.Vocabulary.Length && definition.Vocabulary[id] is { } spelled)
            {
                if (ByteAlphabet.TryRead(spelled, bytes.GetSpan(spelled.Length))) bytes.Advance(spelled.Length);
                else Encoding.UTF8.GetBytes(spelled, bytes);
            }
        }
        starts[^1] = bytes.WrittenCount;
        return (bytes.WrittenSpan.ToArray(), starts);
    }
}
