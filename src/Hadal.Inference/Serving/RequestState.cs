using System.Threading.Channels;

namespace Hadal.Inference.Serving;

/// <summary>
/// One request on its way: its tokens, its text, and the events its caller reads. Both engines use it, so that a text cannot depend on which of them made it.
/// Everything but <see cref="Cancel"/> and <see cref="Events"/> belongs to the engine's thread.
/// </summary>
sealed class RequestState
{
    readonly Channel<GenerationEvent> _events = Channel.CreateUnbounded<GenerationEvent>(new UnboundedChannelOptions { SingleReader = true, SingleWriter = true });
    readonly TextStream _text;
    readonly TokenPicker _picker;
    readonly int[] _tokens;
    readonly List<TokenLogProbability> _logProbabilities = [];
    readonly ServedModel _model;
    readonly Action _wake;
    int _reported;
    bool _ended;
    volatile bool _cancelled;
    (int Place, long Second) _told;

    /// <summary>Takes a request that was checked.</summary>
    /// <param name="request">What to generate.</param>
    /// <param name="resumed">Tokens generated and reported before, elsewhere: they are taken as they are, and not reported again.</param>
    /// <param name="model">The model.</param>
    /// <param name="picker">Of the engine's thread.</param>
    /// <param name="wake">Tells the engine that the request was given up.</param>
    public RequestState(GenerationRequest request, ReadOnlySpan<int> resumed, ServedModel model, TokenPicker picker, Action wake)
    {
        Request = request;
        _model = model;
        _picker = picker;
        _wake = wake;
        PromptLength = request.Prompt.Length;
        Limit = Math.Min(request.MaxNewTokens, model.MaxPositions - PromptLength);
        _tokens = new int[PromptLength + Limit];
        request.Prompt.Span.CopyTo(_tokens);
        Length = PromptLength;
        _text = new TextStream(model.Tokenizer, request.Stop);
        FormBegan = request.FormBeginsAfter is null;
        FormTokens = RequestChecks.LeastFormTokens(request, model);
        if (request.FrequencyPenalty != 0 || request.PresencePenalty != 0) Counts = new int[picker.Vocabulary];
        foreach (int token in resumed) Append(token);
        _reported = Length;
        if (Reason is not null) _text.Finish(); // all but its last event was reported
        _text.Skip();
        FirstOwn = Length;
    }

    /// <summary>What to generate.</summary>
    public GenerationRequest Request { get; }

    /// <summary>What the caller reads.</summary>
    public ChannelReader<GenerationEvent> Events => _events.Reader;

    /// <summary>Prompt and generated tokens.</summary>
    public ReadOnlySpan<int> Tokens => _tokens.AsSpan(0, Length);

    /// <summary>Tokens known.</summary>
    public int Length { get; private set; }

    /// <summary>Of which prompt.</summary>
    public int PromptLength { get; }

    /// <summary>Most tokens to generate.</summary>
    public int Limit { get; }

    /// <summary>Tokens when this engine took the request: the prompt, and what was generated elsewhere.</summary>
    public int FirstOwn { get; }

    /// <summary>Most positions that the cache must hold for it: the last token is never read.</summary>
    public int MostPositions => _tokens.Length - 1;

    /// <summary>Tokens generated.</summary>
    public int Generated => Length - PromptLength;

    /// <summary>Why it ended; null while it goes on.</summary>
    public FinishReason? Reason { get; private set; }

    /// <summary>Times each token was generated; null without penalties.</summary>
    public int[]? Counts { get; }

    /// <summary>Whether the form holds already.</summary>
    public bool FormBegan { get; private set; }

    /// <summary>Tokens that the shortest text of its form needs.</summary>
    public int FormTokens { get; }

    /// <summary>Tokens that may come after the next one.</summary>
    public int Left => Limit - Generated - 1;

    /// <summary>Where the JSON text stands.</summary>
    public JsonAutomaton Json { get; private set; }

    /// <summary>Ids that end a text.</summary>
    public IReadOnlyList<int> EndTokens => _model.EndTokens;

    /// <summary>The caller gave it up.</summary>
    public bool IsCancelled => _cancelled;

    /// <summary>Tokens of the prompt that were cached.</summary>
    public int CachedTokens { get; set; }

    /// <summary>Tokens drafted for it.</summary>
    public int Drafted { get; set; }

    /// <summary>Drafted tokens that were right.</summary>
    public int Accepted { get; set; }

    /// <summary>Whether <see cref="RequestStarted"/> was sent.</summary>
    public bool IsStarted { get; private set; }

    /// <summary>Order of arrival.</summary>
    public long Arrival { get; set; }

    /// <summary>What the engine keeps for it.</summary>
    public object? Attachment { get; set; }

    /// <summary>Called from any thread: nobody listens any more.</summary>
    public void Cancel()
    {
        if (_cancelled) return;
        _cancelled = true;
        _wake();
    }

    /// <summary>logits −= frequency·count + presence of each token generated so far.</summary>
    public void Penalize(Span<float> logits)
    {
        for (int v = 0; v < logits.Length; v++)
            if (Counts![v] > 0) logits[v] = (float)(logits[v] - (Request.FrequencyPenalty * Counts[v]) - Request.PresencePenalty);
    }

    /// <summary>Chooses the next token from the logits after the last one and takes it.</summary>
    /// <exception cref="InvalidDataException">The logits are no numbers.</exception>
    public int Step(ReadOnlySpan<float> logits)
    {
        TokenPicker.RequireNumbers(logits, Length);
        int token = _picker.Choose(this, logits);
        Take(token, logits);
        return token;
    }

    /// <summary>Takes a token chosen from <paramref name="logits"/>.</summary>
    public void Take(int token, ReadOnlySpan<float> logits)
    {
        if (Request.TopLogProbabilities is int top) _logProbabilities.Add(TokenPicker.LogProbability(logits, token, top));
        Append(token);
    }

    void Append(int token)
    {
        _tokens[Length++] = token;
        if (Counts is not null) Counts[token]++;
        bool done = false;
        if (Request.Form == OutputForm.JsonObject)
        {
            if (FormBegan)
            {
                Json = _picker.Json.Advance(Json, token);
                done = Json.IsDone;
            }
            else if (token == Request.FormBeginsAfter)
            {
                FormBegan = true;
            }
        }

        bool end = false;
        for (int i = 0; i < _model.EndTokens.Count; i++) end |= _model.EndTokens[i] == token;
        _text.Append(token);
        if ((end && !Request.IgnoreEndTokens) || done || _text.IsStopped) Reason = FinishReason.Stop;
        else if (Generated >= Limit) Reason = FinishReason.Length;
    }

    /// <summary>Tells the place in line, if it changed, and no more than once a second for the wait alone.</summary>
    public void Tell(int place, TimeSpan wait)
    {
        long second = Environment.TickCount64 / 1000;
        if (_told.Place == place && _told.Second == second) return;
        _told = (place, second);
        Write(new RequestQueued(place, wait));
    }

    /// <summary>Tells that it was taken; once.</summary>
    public void Start()
    {
        if (IsStarted) return;
        IsStarted = true;
        Write(new RequestStarted(CachedTokens));
    }

    /// <summary>Sends the tokens that were not reported yet, and the last event if it ended.</summary>
    public void Report()
    {
        if (_ended) return;
        if (Reason is not null) _text.Finish();
        string text = _text.Take();
        if (Length > _reported || text.Length > 0)
        {
            Write(new TokensGenerated(text, _tokens[_reported..Length], _logProbabilities.Count == 0 ? [] : _logProbabilities.ToArray()));
            _reported = Length;
            _logProbabilities.Clear();
        }

        if (Reason is not FinishReason reason) return;
        Write(new RequestFinished(reason, new TokenUsage(PromptLength, CachedTokens, Generated, Drafted, Accepted)));
        End(null);
    }

    /// <summary>The engine cannot go on with it.</summary>
    public void GiveUp(FinishReason reason)
    {
        Reason = reason;
        Report();
    }

    /// <summary>No event follows; with an error the caller gets it.</summary>
    public void End(Exception? error)
    {
        if (_ended) return;
        _ended = true;
        Reason ??= FinishReason.InsufficientResources;
        _events.Writer.TryComplete(error);
    }

    void Write(GenerationEvent happened) => _events.Writer.TryWrite(happened);
}
