using System.Text;
using System.Text.Json;
using Hadal.Inference.Serving;

namespace Hadal.Server.Api;

/// <summary>A text completion, whole or in chunks.</summary>
sealed class TextAnswerWriter(ModelEntry entry, TextRequest request, string id, long created) : AnswerWriter(entry, request.Sampling, id, created)
{
    const string Kind = "text_completion";
    readonly StringBuilder _text = new();
    readonly List<TokenLogProbability> _tokens = [];
    int _offset;

    public override IEnumerable<ReadOnlyMemory<byte>> Begin()
    {
        if (!request.Echo) yield break;
        string prompt = request.Prompt ?? Entry.Tokenizer.Decode(request.Tokens, skipSpecial: true);
        _text.Append(prompt);
        if (Sampling.Stream) yield return WriteChunk(prompt, null);
    }

    public override IEnumerable<ReadOnlyMemory<byte>> Append(TokensGenerated generated)
    {
        foreach (TokenLogProbability token in generated.LogProbabilities)
            if (!Entry.Model.EndTokens.Contains(token.Token)) _tokens.Add(token);
        if (!Sampling.Stream) _text.Append(generated.Text);
        else if (generated.Text.Length > 0) yield return WriteChunk(generated.Text, null);
    }

    public override IEnumerable<ReadOnlyMemory<byte>> End(RequestFinished finished)
    {
        string reason = Name(finished.Reason, called: false);
        if (!Sampling.Stream)
        {
            yield return Write(Kind, json => WriteChoice(json, _text.ToString(), reason), json => WriteUsage(json, finished.Usage, null));
            yield break;
        }

        yield return WriteChunk("", reason);
        if (Sampling.IncludeUsage) yield return Write(Kind, _ => { }, json => WriteUsage(json, finished.Usage, null));
    }

    ReadOnlyMemory<byte> WriteChunk(string text, string? reason) =>
        Write(Kind, json => WriteChoice(json, text, reason), Sampling.IncludeUsage ? json => json.WriteNullValue() : null);

    void WriteChoice(Utf8JsonWriter json, string text, string? reason)
    {
        json.WriteStartObject();
        json.WriteString("text", text);
        json.WriteNumber("index", 0);
        if (request.TopLogProbabilities is null) json.WriteNull("logprobs");
        else WriteLogProbabilities(json);
        json.WriteString("finish_reason", reason);
        json.WriteEndObject();
    }

    void WriteLogProbabilities(Utf8JsonWriter json)
    {
        json.WriteStartObject("logprobs");
        json.WriteStartArray("tokens");
        foreach (TokenLogProbability token in _tokens) json.WriteStringValue(TextOf(Entry.Tokenizer, token.Token));
        json.WriteEndArray();
        json.WriteStartArray("token_logprobs");
        foreach (TokenLogProbability token in _tokens) json.WriteNumberValue(Math.Max(token.LogProbability, -9999));
        json.WriteEndArray();
        json.WriteStartArray("top_logprobs");
        foreach (TokenLogProbability token in _tokens)
        {
            json.WriteStartObject();
            foreach (IGrouping<string, (int Token, double LogProbability)> top in token.Top.GroupBy(other => TextOf(Entry.Tokenizer, other.Token), StringComparer.Ordinal))
                json.WriteNumber(top.Key, Math.Max(top.First().LogProbability, -9999));
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartArray("text_offset");
        foreach (TokenLogProbability token in _tokens)
        {
            json.WriteNumberValue(_offset);
            _offset += TextOf(Entry.Tokenizer, token.Token).Length;
        }

        json.WriteEndArray();
        json.WriteEndObject();
        _tokens.Clear();
    }
}
