using System.Globalization;
using System.Text;
using System.Text.Json;
using Hadal.Inference.Serving;

namespace Hadal.Server.Api;

/// <summary>A chat completion, whole or in chunks: reasoning first, then content, then calls.</summary>
sealed class ChatAnswerWriter : AnswerWriter
{
    const string Chunk = "chat.completion.chunk";
    readonly AnswerParser _parser;
    readonly List<AnswerPiece> _pieces = [];
    readonly List<AnswerToken> _tokens = [];
    readonly StringBuilder _reasoning = new(), _content = new();
    readonly List<(string Name, StringBuilder Arguments)> _calls = [];
    readonly bool _thinks, _logprobs;
    readonly string? _forcedTool;

    public ChatAnswerWriter(ModelEntry entry, ChatRequest request, ChatPrompt prompt, string id, long created)
        : base(entry, request.Sampling, id, created)
    {
        _thinks = entry.Thinks;
        _logprobs = request.TopLogProbabilities is not null;
        _forcedTool = prompt.ForcedTool;
        _parser = new AnswerParser(entry.Tokenizer, entry.Model.EndTokens, prompt.Start, prompt.CallsTools);
    }

    public override IEnumerable<ReadOnlyMemory<byte>> Begin()
    {
        if (Sampling.Stream)
        {
            yield return WriteChunk(delta =>
            {
                delta.WriteString("role", "assistant");
                delta.WriteString(_thinks ? "reasoning_content" : "content", "");
                if (_thinks) delta.WriteNull("content");
            });
        }

        if (_forcedTool is null) yield break;
        _pieces.Add(_parser.Forced(_forcedTool));
        foreach (ReadOnlyMemory<byte> chunk in Flush()) yield return chunk;
    }

    public override IEnumerable<ReadOnlyMemory<byte>> Append(TokensGenerated generated)
    {
        _parser.Append(generated, _pieces, _tokens);
        return Flush();
    }

    public override IEnumerable<ReadOnlyMemory<byte>> End(RequestFinished finished)
    {
        _parser.Finish(_pieces, _tokens);
        foreach (ReadOnlyMemory<byte> chunk in Flush()) yield return chunk;
        string reason = Name(finished.Reason, _parser.Calls > 0);
        int? reasoning = _thinks || _parser.ReasoningTokens > 0 ? _parser.ReasoningTokens : null;
        if (!Sampling.Stream)
        {
            yield return Write("chat.completion", json => WriteWhole(json, reason), json => WriteUsage(json, finished.Usage, reasoning));
            yield break;
        }

        yield return WriteChunk(_ => { }, reason: reason);
        if (Sampling.IncludeUsage) yield return Write(Chunk, _ => { }, json => WriteUsage(json, finished.Usage, reasoning));
    }

    // A stream sends pieces as they come; a whole answer collects them.
    IEnumerable<ReadOnlyMemory<byte>> Flush()
    {
        if (!Sampling.Stream)
        {
            foreach (AnswerPiece piece in _pieces) Collect(piece);
            _pieces.Clear();
            yield break;
        }

        for (int i = 0; i < _pieces.Count; i++)
        {
            AnswerPiece piece = _pieces[i];
            if (piece.Kind == PieceKind.CallBegin) _calls.Add((piece.Text, new StringBuilder()));
            yield return WriteChunk(delta => WritePiece(delta, piece), _logprobs && i == _pieces.Count - 1 ? _tokens : null);
        }

        if (_pieces.Count > 0) _tokens.Clear();
        _pieces.Clear();
    }

    void Collect(AnswerPiece piece)
    {
        if (piece.Kind == PieceKind.Reasoning) _reasoning.Append(piece.Text);
        else if (piece.Kind == PieceKind.Content) _content.Append(piece.Text);
        else if (piece.Kind == PieceKind.CallBegin) _calls.Add((piece.Text, new StringBuilder()));
        else _calls[^1].Arguments.Append(piece.Text);
    }

    void WritePiece(Utf8JsonWriter delta, AnswerPiece piece)
    {
        if (piece.Kind is PieceKind.Reasoning or PieceKind.Content)
        {
            delta.WriteString(piece.Kind == PieceKind.Reasoning ? "reasoning_content" : "content", piece.Text);
            return;
        }

        delta.WriteStartArray("tool_calls");
        delta.WriteStartObject();
        delta.WriteNumber("index", _calls.Count - 1);
        bool begins = piece.Kind == PieceKind.CallBegin;
        if (begins)
        {
            delta.WriteString("id", CallId(_calls.Count - 1));
            delta.WriteString("type", "function");
        }

        delta.WriteStartObject("function");
        if (begins) delta.WriteString("name", piece.Text);
        delta.WriteString("arguments", begins ? "" : piece.Text);
        delta.WriteEndObject();
        delta.WriteEndObject();
        delta.WriteEndArray();
    }

    ReadOnlyMemory<byte> WriteChunk(Action<Utf8JsonWriter> delta, List<AnswerToken>? tokens = null, string? reason = null) => Write(Chunk, json =>
    {
        json.WriteStartObject();
        json.WriteNumber("index", 0);
        json.WriteStartObject("delta");
        delta(json);
        json.WriteEndObject();
        WriteLogProbabilities(json, tokens);
        json.WriteString("finish_reason", reason);
        json.WriteEndObject();
    }, Sampling.IncludeUsage ? json => json.WriteNullValue() : null);

    void WriteWhole(Utf8JsonWriter json, string reason)
    {
        json.WriteStartObject();
        json.WriteNumber("index", 0);
        json.WriteStartObject("message");
        json.WriteString("role", "assistant");
        if (_content.Length == 0 && _calls.Count > 0) json.WriteNull("content");
        else json.WriteString("content", _content.ToString());
        if (_thinks || _reasoning.Length > 0) json.WriteString("reasoning_content", _reasoning.ToString());
        if (_calls.Count > 0)
        {
            json.WriteStartArray("tool_calls");
            for (int i = 0; i < _calls.Count; i++)
            {
                json.WriteStartObject();
                json.WriteNumber("index", i);
                json.WriteString("id", CallId(i));
                json.WriteString("type", "function");
                json.WriteStartObject("function");
                json.WriteString("name", _calls[i].Name);
                json.WriteString("arguments", _calls[i].Arguments.ToString());
                json.WriteEndObject();
                json.WriteEndObject();
            }

            json.WriteEndArray();
        }

        json.WriteEndObject();
        WriteLogProbabilities(json, _logprobs ? _tokens : null);
        json.WriteString("finish_reason", reason);
        json.WriteEndObject();
    }

    string CallId(int index) => string.Create(CultureInfo.InvariantCulture, $"call_{index}_{Id}");

    void WriteLogProbabilities(Utf8JsonWriter json, List<AnswerToken>? tokens)
    {
        if (tokens is null)
        {
            json.WriteNull("logprobs");
            return;
        }

        json.WriteStartObject("logprobs");
        WriteTokens(json, "content", tokens, isReasoning: false);
        if (_thinks) WriteTokens(json, "reasoning_content", tokens, isReasoning: true);
        json.WriteEndObject();
    }

    void WriteTokens(Utf8JsonWriter json, string name, List<AnswerToken> tokens, bool isReasoning)
    {
        json.WriteStartArray(name);
        foreach (AnswerToken token in tokens)
        {
            if (token.IsReasoning != isReasoning) continue;
            WriteToken(json, token.Probability.Token, token.Probability.LogProbability);
            json.WriteStartArray("top_logprobs");
            foreach ((int id, double probability) in token.Probability.Top)
            {
                WriteToken(json, id, probability);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    // Left open for what follows.
    void WriteToken(Utf8JsonWriter json, int id, double probability)
    {
        json.WriteStartObject();
        json.WriteString("token", TextOf(Entry.Tokenizer, id));
        json.WriteNumber("logprob", Math.Max(probability, -9999));
        json.WriteStartArray("bytes");
        foreach (byte part in Entry.Tokenizer.TokenBytes(id)) json.WriteNumberValue(part);
        json.WriteEndArray();
    }
}
