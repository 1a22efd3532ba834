using System.Buffers;
using System.Text;
using System.Text.Json.Nodes;

namespace Hadal.Text.Tests;

/// <summary>Tokenizers for the fast tests.</summary>
static class Fixtures
{
    /// <summary>A tokenizer trained on a few hundred of the generated documents, 700 tokens.</summary>
    public static Tokenizer Trained { get; } = TokenizerTrainer.Train(Corpus(400), new() { VocabularySize = 700 });

    public static string[] Corpus(int count) => [.. TestDocuments.Generate(count).Where(d => d.Text is not null).Select(d => d.Text!)];

    /// <summary>The content of a tokenizer's file.</summary>
    public static byte[] Json(Tokenizer tokenizer)
    {
        var buffer = new ArrayBufferWriter<byte>();
        tokenizer.Write(buffer);
        return buffer.WrittenSpan.ToArray();
    }

    /// <summary>A minimal tokenizer file: 256 bytes with ids 0–255 in the order of their values, then the results of merges; the given change is made to it.</summary>
    public static byte[] Minimal(Action<JsonObject>? change = null, params (string Left, string Right)[] merges)
    {
        var vocab = new JsonObject();
        for (int value = 0; value < 256; value++) vocab[ByteAlphabet.ToChar((byte)value).ToString()] = value;
        var list = new JsonArray();
        foreach ((string left, string right) in merges)
        {
            if (!vocab.ContainsKey(left + right)) vocab[left + right] = vocab.Count;
            list.Add($"{left} {right}");
        }
        var root = new JsonObject
        {
            ["version"] = "1.0",
            ["truncation"] = null,
            ["padding"] = null,
            ["added_tokens"] = new JsonArray(),
            ["normalizer"] = null,
            ["pre_tokenizer"] = new JsonObject { ["type"] = "ByteLevel", ["add_prefix_space"] = false, ["use_regex"] = false },
            ["post_processor"] = null,
            ["decoder"] = new JsonObject { ["type"] = "ByteLevel" },
            ["model"] = new JsonObject { ["type"] = "BPE", ["vocab"] = vocab, ["merges"] = list },
        };
        change?.Invoke(root);
        return Encoding.UTF8.GetBytes(root.ToJsonString());
    }

    /// <summary>An added token as the file spells it.</summary>
    public static JsonObject Added(int id, string content, bool special = false, bool normalized = false, bool lstrip = false, bool rstrip = false, bool singleWord = false) => new()
    {
        ["id"] = id,
        ["content"] = content,
        ["single_word"] = singleWord,
        ["lstrip"] = lstrip,
        ["rstrip"] = rstrip,
        ["normalized"] = normalized,
        ["special"] = special,
    };
}
