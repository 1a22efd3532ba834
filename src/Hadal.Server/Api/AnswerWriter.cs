using System.Buffers;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Hadal.Inference.Serving;
using Hadal.Text;

namespace Hadal.Server.Api;

/// <summary>Writes an answer's JSON. One request each; the buffer is used again for every chunk.</summary>
abstract class AnswerWriter
{
    readonly ArrayBufferWriter<byte> _buffer = new(512);
    readonly Utf8JsonWriter _json;

    protected AnswerWriter(ModelEntry entry, SamplingFields sampling, string id, long created)
    {
        Entry = entry;
        Sampling = sampling;
        Id = id;
        Created = created;
        _json = new Utf8JsonWriter(_buffer, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, SkipValidation = true });
    }

    public ModelEntry Entry { get; }

    public SamplingFields Sampling { get; }

    protected string Id { get; }

    protected long Created { get; }

    /// <summary>Chunks that can be sent before the first token; none for a whole answer.</summary>
    public abstract IEnumerable<ReadOnlyMemory<byte>> Begin();

    /// <summary>Takes what the engine reports and gives the chunks that can be sent now.</summary>
    public abstract IEnumerable<ReadOnlyMemory<byte>> Append(TokensGenerated generated);

    /// <summary>The last chunks, or the whole answer.</summary>
    public abstract IEnumerable<ReadOnlyMemory<byte>> End(RequestFinished finished);

    /// <summary>One object, in the form of its kind.</summary>
    protected ReadOnlyMemory<byte> Write(string kind, Action<Utf8JsonWriter> choices, Action<Utf8JsonWriter>? usage)
    {
        _buffer.ResetWrittenCount();
        _json.Reset();
        _json.WriteStartObject();
        _json.WriteString("id", Id);
        _json.WriteString("object", kind);
        _json.WriteNumber("created", Created);
        _json.WriteString("model", Entry.Name);
        _json.WriteString("system_fingerprint", Entry.Fingerprint);
        _json.WriteStartArray("choices");
        choices(_json);
        _json.WriteEndArray();
        if (usage is not null)
        {
            _json.WritePropertyName("usage");
            usage(_json);
        }

        _json.WriteEndObject();
        _json.Flush();
        return _buffer.WrittenMemory;
    }

    protected static void WriteUsage(Utf8JsonWriter json, TokenUsage usage, int? reasoning)
    {
        json.WriteStartObject();
        json.WriteNumber("prompt_tokens", usage.PromptTokens);
        json.WriteNumber("completion_tokens", usage.GeneratedTokens);
        json.WriteNumber("total_tokens", usage.PromptTokens + usage.GeneratedTokens);
        json.WriteNumber("prompt_cache_hit_tokens", usage.CachedTokens);
        json.WriteNumber("prompt_cache_miss_tokens", usage.PromptTokens - usage.CachedTokens);
        json.WriteStartObject("prompt_tokens_details");
        json.WriteNumber("cached_tokens", usage.CachedTokens);
        json.WriteEndObject();
        if (reasoning is int tokens)
        {
            json.WriteStartObject("completion_tokens_details");
            json.WriteNumber("reasoning_tokens", tokens);
            json.WriteEndObject();
        }

        json.WriteEndObject();
    }

    protected static string Name(FinishReason reason, bool called) => reason switch
    {
        FinishReason.Length => "length",
        FinishReason.InsufficientResources => "insufficient_system_resource",
        _ => called ? "tool_calls" : "stop",
    };

    /// <summary>A token's bytes as text; a part of a character becomes U+FFFD.</summary>
    protected static string TextOf(Tokenizer tokenizer, int token) => Encoding.UTF8.GetString(tokenizer.TokenBytes(token));
}
