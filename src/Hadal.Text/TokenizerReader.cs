using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;

namespace Hadal.Text;

/// <summary>
/// Reads the Hugging Face <c>tokenizer.json</c> of a byte-level BPE tokenizer. The file is not trusted: every size is bounded, every reference checked,
/// and whatever would change ids but is not implemented is refused by name.
/// </summary>
static class TokenizerReader
{
    /// <summary>Largest file that is read: 256 MiB. DeepSeek-V3's has 7.8 MB.</summary>
    public const int LargestFile = 256 << 20;

    const string Supported = "Supported is byte-level BPE: normalizer none; pre_tokenizer ByteLevel or a Sequence of isolated Splits and a last ByteLevel; "
        + "model BPE; decoder ByteLevel; post_processor none, ByteLevel, TemplateProcessing or a Sequence of these.";

    /// <summary>Reads a file's bytes.</summary>
    /// <exception cref="TokenizerFormatException">The bytes are not a tokenizer that this library supports.</exception>
    public static TokenizerDefinition Read(ReadOnlyMemory<byte> json)
    {
        if (json.Length > LargestFile)
            throw new TokenizerFormatException("(file)", $"{json.Length} bytes; at most {LargestFile} are read.", "This is hardly a tokenizer.json: check the path.");
        if (json.Span.StartsWith((ReadOnlySpan<byte>)[0xEF, 0xBB, 0xBF])) json = json[3..];
        if (!Utf8.IsValid(json.Span)) throw new TokenizerFormatException("(file)", "not UTF-8 text.", "Take the file from its publisher again.");
        try
        {
            using JsonDocument document = JsonDocument.Parse(json, new JsonDocumentOptions { MaxDepth = 16 });
            return ReadRoot(new JsonAt(document.RootElement, ""));
        }
        catch (JsonException e)
        {
            throw new TokenizerFormatException(
                $"(file) line {e.LineNumber + 1}, byte {e.BytePositionInLine}: not JSON: {e.Message} The file is damaged or cut short: take it from its publisher again.", e);
        }
    }

    static TokenizerDefinition ReadRoot(JsonAt root)
    {
        root.Object();
        RefuseUnlessAbsent(root["truncation"]);
        RefuseUnlessAbsent(root["padding"]);
        ReadNormalizer(root["normalizer"]);
        PreTokenizer preTokenizer = ReadPreTokenizer(root["pre_tokenizer"]);
        ReadDecoder(root["decoder"]);
        JsonAt model = root["model"].Object();
        ReadModelOptions(model);
        Dictionary<string, int> ids = ReadVocabulary(model["vocab"], out string?[] vocabulary);
        (int[], int[], int[]) merges = ReadMerges(model["merges"], ids);
        AddedToken[] added = ReadAddedTokens(root["added_tokens"], ids, vocabulary);
        var prefix = new List<int>();
        var suffix = new List<int>();
        ReadPostProcessor(root["post_processor"], added, ids, prefix, suffix);
        return new TokenizerDefinition
        {
            Vocabulary = vocabulary,
            Merges = merges,
            Added = added,
            PreTokenizer = preTokenizer,
            Prefix = [.. prefix],
            Suffix = [.. suffix],
        };
    }

    static void RefuseUnlessAbsent(JsonAt setting)
    {
        if (!setting.IsNull) throw setting.Refuse("a fixed truncation or padding, which is not supported.", "Set it to null; lengths are the caller's business.");
    }

    static void ReadNormalizer(JsonAt normalizer)
    {
        if (normalizer.IsNull) return;
        string type = normalizer["type"].Text();
        if (!string.Equals(type, "Sequence", StringComparison.Ordinal)) throw normalizer.Refuse($"the normalizer {type} is not supported.", Supported);
        foreach (JsonAt inner in normalizer["normalizers"].Items()) ReadNormalizer(inner);
    }

    static PreTokenizer ReadPreTokenizer(JsonAt preTokenizer)
    {
        if (preTokenizer.IsNull) throw preTokenizer.Refuse("there is no pre-tokenizer, so the tokenizer is not byte-level.", Supported);
        var splits = new List<SplitPattern>();
        bool finished = false;
        if (string.Equals(preTokenizer["type"].Text(), "Sequence", StringComparison.Ordinal))
        {
            foreach (JsonAt step in preTokenizer["pretokenizers"].Items()) ReadSplit(step, splits, ref finished);
        }
        else
        {
            ReadSplit(preTokenizer, splits, ref finished);
        }
        if (!finished) throw preTokenizer.Refuse("no ByteLevel at the end, so the tokenizer is not byte-level.", Supported);
        return new PreTokenizer(splits);
    }

    static void ReadSplit(JsonAt step, List<SplitPattern> splits, ref bool finished)
    {
        string type = step["type"].Text();
        if (finished) throw step.Refuse($"{type} after ByteLevel.", Supported);
        if (splits.Count == 8) throw step.Refuse("more than 8 splits.", Supported);
        switch (type)
        {
            case "ByteLevel":
                if (step["add_prefix_space"].FlagOr(true)) throw step.Refuse("ByteLevel with add_prefix_space is not supported.", Supported);
                if (step["use_regex"].FlagOr(true)) splits.Add(SplitPattern.Parse(PreTokenizer.Gpt2Pattern, step.Path));
                finished = true;
                return;
            case "Split":
                JsonAt behavior = step["behavior"];
                if (!string.Equals(behavior.Text(), "Isolated", StringComparison.Ordinal)) throw behavior.Refuse($"the split behavior {behavior.Text()} is not supported.", Supported);
                if (step["invert"].FlagOr(false)) throw step.Refuse("an inverted split is not supported.", Supported);
                JsonAt regex = step["pattern"]["Regex"];
                splits.Add(SplitPattern.Parse(regex.Text(), regex.Path));
                return;
            default:
                throw step.Refuse($"the pre-tokenizer {type} is not supported.", Supported);
        }
    }

    static void ReadDecoder(JsonAt decoder)
    {
        if (decoder.IsNull) throw decoder.Refuse("there is no decoder, so the tokenizer is not byte-level.", Supported);
        string type = decoder["type"].Text();
        if (!string.Equals(type, "ByteLevel", StringComparison.Ordinal)) throw decoder.Refuse($"the decoder {type} is not supported.", Supported);
    }

    static void ReadModelOptions(JsonAt model)
    {
        string type = model["type"].TextOr("BPE");
        if (!string.Equals(type, "BPE", StringComparison.Ordinal)) throw model.Refuse($"the model {type} is not supported.", Supported);
        JsonAt dropout = model["dropout"];
        if (!dropout.IsNull && !(dropout.Element.ValueKind == JsonValueKind.Number && dropout.Element.GetDouble() == 0))
            throw dropout.Refuse("merges that are dropped at random are not supported.", "Set dropout to null.");
        foreach (string name in (ReadOnlySpan<string>)["continuing_subword_prefix", "end_of_word_suffix"])
            if (model[name].TextOr("").Length > 0) throw model[name].Refuse("an affix on subwords is not supported.", Supported);
        if (model["ignore_merges"].FlagOr(false)) throw model["ignore_merges"].Refuse("ignore_merges is not supported.", Supported);
    }

    static Dictionary<string, int> ReadVocabulary(JsonAt vocab, out string?[] vocabulary)
    {
        vocab.Object();
        var ids = new Dictionary<string, int>(StringComparer.Ordinal);
        int size = 0;
        foreach (JsonProperty entry in vocab.Element.EnumerateObject())
        {
            var at = new JsonAt(entry.Value, vocab.Path);
            string token;
            try
            {
                token = entry.Name;
            }
            catch (InvalidOperationException e)
            {
                throw new TokenizerFormatException($"{vocab.Path}: a token with half a surrogate pair. Take the file from its publisher again, or repair this place.", e);
            }
            int id = at.Id();
            if (token.Length == 0) throw at.Refuse($"id {id} is an empty token.");
            if (!ids.TryAdd(token, id)) throw at.Refuse($"the token \"{Shorten(token)}\" occurs twice.");
            size = Math.Max(size, id + 1);
        }
        vocabulary = new string?[size];
        foreach ((string token, int id) in ids)
        {
            if (vocabulary[id] is { } other) throw vocab.Refuse($"the tokens \"{Shorten(other)}\" and \"{Shorten(token)}\" both have id {id}.");
            vocabulary[id] = token;
        }
        for (int value = 0; value < 256; value++)
            if (!ids.ContainsKey(ByteAlphabet.ToChar((byte)value).ToString()))
                throw vocab.Refuse($"byte 0x{value:X2} (spelled \"{ByteAlphabet.ToChar((byte)value)}\") has no token.", "A byte-level vocabulary needs all 256 bytes; some text could not be encoded otherwise.");
        return ids;
    }

    static (int[] Left, int[] Right, int[] Merged) ReadMerges(JsonAt merges, Dictionary<string, int> ids)
    {
        if (!merges.IsArray) throw merges.Wrong("an array");
        int count = merges.Element.GetArrayLength();
        int[] left = new int[count];
        int[] right = new int[count];
        int[] merged = new int[count];
        var concatenated = new StringBuilder();
        int rank = 0;
        foreach (JsonElement element in merges.Element.EnumerateArray())
        {
            var at = new JsonAt(element, merges.Path);
            (string first, string second) = ReadMerge(at, rank);
            concatenated.Clear().Append(first).Append(second);
            left[rank] = Resolve(first);
            right[rank] = Resolve(second);
            merged[rank] = Resolve(concatenated.ToString());
            rank++;

            int Resolve(string token) =>
                ids.TryGetValue(token, out int id) ? id : throw at.Refuse($"merge {rank} needs the token \"{Shorten(token)}\", which is not in the vocabulary.");
        }
        return (left, right, merged);
    }

    /// <summary>Both spellings of a merge: <c>"a b"</c> and <c>["a", "b"]</c>.</summary>
    static (string First, string Second) ReadMerge(JsonAt at, int rank)
    {
        if (at.IsArray && at.Element.GetArrayLength() == 2) return (new JsonAt(at.Element[0], at.Path).Text(), new JsonAt(at.Element[1], at.Path).Text());
        if (at.Element.ValueKind != JsonValueKind.String) throw at.Wrong($"\"a b\" or [\"a\", \"b\"] as merge {rank}");
        string text = at.Text();
        int space = text.IndexOf(' ', StringComparison.Ordinal);
        if (space <= 0 || space == text.Length - 1 || text.IndexOf(' ', space + 1) >= 0) throw at.Refuse($"merge {rank} is \"{Shorten(text)}\": two tokens and one space were expected.");
        return (text[..space], text[(space + 1)..]);
    }

    static AddedToken[] ReadAddedTokens(JsonAt list, Dictionary<string, int> ids, string?[] vocabulary)
    {
        if (list.IsNull) return [];
        var byId = new SortedDictionary<int, AddedToken>();
        var contents = new HashSet<string>(StringComparer.Ordinal);
        foreach (JsonAt at in list.Items())
        {
            int id = at["id"].Id();
            string content = at["content"].Text();
            int bytes = Encoding.UTF8.GetByteCount(content);
            if (bytes is 0 or > AddedTokenMatcher.LongestContent)
                throw at.Refuse($"an added token of {bytes} bytes; 1 to {AddedTokenMatcher.LongestContent} are allowed.");
            if (ids.TryGetValue(content, out int ordinary) && ordinary != id) throw at.Refuse($"\"{Shorten(content)}\" has id {id} here and id {ordinary} in the vocabulary.");
            if (id < vocabulary.Length && vocabulary[id] is { } other && !string.Equals(other, content, StringComparison.Ordinal))
                throw at.Refuse($"id {id} is \"{Shorten(content)}\" here and \"{Shorten(other)}\" in the vocabulary.");
            if (!contents.Add(content)) throw at.Refuse($"the added token \"{Shorten(content)}\" occurs twice.");
            var token = new AddedToken(id, content, at["special"].FlagOr(false))
            {
                SingleWord = at["single_word"].FlagOr(false),
                LeftStrip = at["lstrip"].FlagOr(false),
                RightStrip = at["rstrip"].FlagOr(false),
                Normalized = at["normalized"].FlagOr(true),
            };
            if (!byId.TryAdd(id, token)) throw at.Refuse($"two added tokens have id {id}.");
        }
        return [.. byId.Values];
    }

    static void ReadPostProcessor(JsonAt processor, AddedToken[] added, Dictionary<string, int> ids, List<int> prefix, List<int> suffix)
    {
        if (processor.IsNull) return;
        string type = processor["type"].Text();
        switch (type)
        {
            case "ByteLevel":
                return; // It trims offsets, which we do not report.
            case "Sequence":
                foreach (JsonAt inner in processor["processors"].Items()) ReadPostProcessor(inner, added, ids, prefix, suffix);
                return;
            case "TemplateProcessing":
                if (prefix.Count + suffix.Count > 0) throw processor.Refuse("a second template.", Supported);
                ReadTemplate(processor["single"], added, ids, prefix, suffix);
                return;
            default:
                throw processor.Refuse($"the post-processor {type} is not supported.", Supported);
        }
    }

    static void ReadTemplate(JsonAt single, AddedToken[] added, Dictionary<string, int> ids, List<int> prefix, List<int> suffix)
    {
        bool seen = false;
        foreach (JsonAt part in single.Items())
        {
            JsonAt sequence = part["Sequence"];
            if (!sequence.IsNull)
            {
                if (seen || !string.Equals(sequence["id"].Text(), "A", StringComparison.Ordinal)) throw part.Refuse("a template with other than one text.", Supported);
                seen = true;
                continue;
            }
            JsonAt name = part["SpecialToken"]["id"];
            string content = name.Text();
            AddedToken? token = Array.Find(added, candidate => string.Equals(candidate.Content, content, StringComparison.Ordinal));
            int id = token?.Id ?? (ids.TryGetValue(content, out int ordinary) ? ordinary : throw name.Refuse($"\"{Shorten(content)}\" is not a token of this file."));
            (seen ? suffix : prefix).Add(id);
        }
        if (!seen) throw single.Refuse("a template without the text.", Supported);
        if (prefix.Count + suffix.Count > 64) throw single.Refuse("a template with more than 64 tokens.", Supported);
    }

    static string Shorten(string text)
    {
        if (text.Length <= 40) return text;
        return string.Concat(text.AsSpan(0, 40), "…", text.Length.ToString(CultureInfo.InvariantCulture), " characters");
    }
}
