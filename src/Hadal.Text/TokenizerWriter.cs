using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Hadal.Text;

/// <summary>
/// Writes a <c>tokenizer.json</c> that Hugging Face's libraries load. Merges are spelled "a b", which versions before and after the change to arrays read.
/// </summary>
static class TokenizerWriter
{
    public static void Write(TokenizerDefinition definition, IBufferWriter<byte> output)
    {
        using var json = new Utf8JsonWriter(output, new JsonWriterOptions { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
        json.WriteStartObject();
        json.WriteString("version", "1.0");
        json.WriteNull("truncation");
        json.WriteNull("padding");
        WriteAddedTokens(definition, json);
        json.WriteNull("normalizer");
        WritePreTokenizer(definition, json);
        WritePostProcessor(definition, json);
        json.WriteStartObject("decoder");
        WriteByteLevel(json, useRegex: true);
        WriteModel(definition, json);
        json.WriteEndObject();
    }

    static void WriteAddedTokens(TokenizerDefinition definition, Utf8JsonWriter json)
    {
        json.WriteStartArray("added_tokens");
        foreach (AddedToken token in definition.Added)
        {
            json.WriteStartObject();
            json.WriteNumber("id", token.Id);
            json.WriteString("content", token.Content);
            json.WriteBoolean("single_word", token.SingleWord);
            json.WriteBoolean("lstrip", token.LeftStrip);
            json.WriteBoolean("rstrip", token.RightStrip);
            json.WriteBoolean("normalized", token.Normalized);
            json.WriteBoolean("special", token.Special);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    static void WritePreTokenizer(TokenizerDefinition definition, Utf8JsonWriter json)
    {
        json.WriteStartObject("pre_tokenizer");
        json.WriteString("type", "Sequence");
        json.WriteStartArray("pretokenizers");
        foreach (SplitPattern split in definition.PreTokenizer.Splits)
        {
            json.WriteStartObject();
            json.WriteString("type", "Split");
            json.WriteStartObject("pattern");
            json.WriteString("Regex", split.Source);
            json.WriteEndObject();
            json.WriteString("behavior", "Isolated");
            json.WriteBoolean("invert", false);
            json.WriteEndObject();
        }
        json.WriteStartObject();
        WriteByteLevel(json, useRegex: false);
        json.WriteEndArray();
        json.WriteEndObject();
    }

    static void WriteByteLevel(Utf8JsonWriter json, bool useRegex)
    {
        json.WriteString("type", "ByteLevel");
        json.WriteBoolean("add_prefix_space", false);
        json.WriteBoolean("trim_offsets", true);
        json.WriteBoolean("use_regex", useRegex);
        json.WriteEndObject();
    }

    static void WritePostProcessor(TokenizerDefinition definition, Utf8JsonWriter json)
    {
        json.WriteStartObject("post_processor");
        if (definition.Prefix.Length + definition.Suffix.Length == 0)
        {
            WriteByteLevel(json, useRegex: true);
            return;
        }
        json.WriteString("type", "TemplateProcessing");
        foreach (string form in (ReadOnlySpan<string>)["single", "pair"])
        {
            json.WriteStartArray(form);
            foreach (int id in definition.Prefix) WritePart(json, "SpecialToken", Content(definition, id), 0);
            WritePart(json, "Sequence", "A", 0);
            foreach (int id in definition.Suffix) WritePart(json, "SpecialToken", Content(definition, id), 0);
            if (string.Equals(form, "pair", StringComparison.Ordinal))
            {
                foreach (int id in definition.Prefix) WritePart(json, "SpecialToken", Content(definition, id), 1);
                WritePart(json, "Sequence", "B", 1);
                foreach (int id in definition.Suffix) WritePart(json, "SpecialToken", Content(definition, id), 1);
            }
            json.WriteEndArray();
        }
        json.WriteStartObject("special_tokens");
        foreach (int id in definition.Prefix.Concat(definition.Suffix).Distinct())
        {
            string content = Content(definition, id);
            json.WriteStartObject(content);
            json.WriteString("id", content);
            json.WriteStartArray("ids");
            json.WriteNumberValue(id);
            json.WriteEndArray();
            json.WriteStartArray("tokens");
            json.WriteStringValue(content);
            json.WriteEndArray();
            json.WriteEndObject();
        }
        json.WriteEndObject();
        json.WriteEndObject();
    }

    static void WritePart(Utf8JsonWriter json, string kind, string id, int type)
    {
        json.WriteStartObject();
        json.WriteStartObject(kind);
        json.WriteString("id", id);
        json.WriteNumber("type_id", type);
        json.WriteEndObject();
        json.WriteEndObject();
    }

    static string Content(TokenizerDefinition definition, int id) =>
        Array.Find(definition.Added, token => token.Id == id)?.Content ?? definition.Vocabulary[id]!;

    static void WriteModel(TokenizerDefinition definition, Utf8JsonWriter json)
    {
        json.WriteStartObject("model");
        json.WriteString("type", "BPE");
        json.WriteNull("dropout");
        json.WriteNull("unk_token");
        json.WriteNull("continuing_subword_prefix");
        json.WriteNull("end_of_word_suffix");
        json.WriteBoolean("fuse_unk", false);
        json.WriteBoolean("byte_fallback", false);
        json.WriteStartObject("vocab");
        for (int id = 0; id < definition.Vocabulary.Length; id++)
            if (definition.Vocabulary[id] is { } token) json.WriteNumber(token, id);
        json.WriteEndObject();
        json.WriteStartArray("merges");
        (int[] left, int[] right, _) = definition.Merges;
        bool anySpace = Array.Exists(definition.Vocabulary, token => token is not null && token.Contains(' ', StringComparison.Ordinal));
        for (int rank = 0; rank < left.Length; rank++)
        {
            string first = definition.Vocabulary[left[rank]]!;
            string second = definition.Vocabulary[right[rank]]!;
            if (!anySpace)
            {
                json.WriteStringValue($"{first} {second}");
                continue;
            }
            json.WriteStartArray();
            json.WriteStringValue(first);
            json.WriteStringValue(second);
            json.WriteEndArray();
        }
        json.WriteEndArray();
        json.WriteEndObject();
    }
}
