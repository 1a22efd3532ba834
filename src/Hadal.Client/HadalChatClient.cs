using System.Net;
using System.Net.Http.Headers;
using System.Net.ServerSentEvents;
using System.Runtime.CompilerServices;
using System.Text.Json;
using Microsoft.Extensions.AI;

namespace Hadal.Client;

/// <summary>
/// Talks to a server of DeepSeek's chat API: <c>hadal serve</c>, DeepSeek itself, or another that speaks it. Reasoning comes as <see cref="TextReasoningContent"/> before
/// the answer, and goes back when the answer is put into the next request, where the server allows it.
/// </summary>
/// <remarks>Safe to use from several threads. Fields of DeepSeek's API that <see cref="ChatOptions"/> does not know (<c>logprobs</c>, <c>top_logprobs</c>) pass through
/// <see cref="ChatOptions.AdditionalProperties"/> by their own names; an assistant's message with <c>AdditionalProperties["prefix"] = true</c> is continued.</remarks>
public sealed class HadalChatClient : IChatClient
{
    const int LongestErrorBody = 1 << 16;

    readonly HadalChatClientOptions _options;
    readonly HttpClient _http;
    readonly bool _ownsHttp;
    readonly ChatClientMetadata _metadata;

    /// <summary>A client with an HTTP connection pool of its own.</summary>
    /// <param name="options">Where the server is.</param>
    /// <exception cref="ArgumentException">An option is not usable.</exception>
    public HadalChatClient(HadalChatClientOptions options)
        : this(options, new HttpClient { Timeout = System.Threading.Timeout.InfiniteTimeSpan }, ownsHttp: true)
    {
    }

    /// <summary>A client over a given <see cref="HttpClient"/>, which stays its owner's; its <see cref="HttpClient.Timeout"/> counts too.</summary>
    /// <param name="options">Where the server is.</param>
    /// <param name="httpClient">Sends the requests.</param>
    /// <exception cref="ArgumentException">An option is not usable.</exception>
    public HadalChatClient(HadalChatClientOptions options, HttpClient httpClient)
        : this(options, httpClient, ownsHttp: false)
    {
    }

    HadalChatClient(HadalChatClientOptions options, HttpClient http, bool ownsHttp)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(http);
        options.Validate();
        _options = options;
        _http = http;
        _ownsHttp = ownsHttp;
        _metadata = new ChatClientMetadata("deepseek", options.Endpoint, options.Model);
    }

    /// <summary>Asks for an answer and waits for all of it.</summary>
    /// <exception cref="HadalApiException">The server refused, or the answer was no answer.</exception>
    /// <exception cref="HttpRequestException">The server could not be reached.</exception>
    /// <exception cref="TimeoutException">No answer came in <see cref="HadalChatClientOptions.Timeout"/>.</exception>
    /// <exception cref="NotSupportedException">A message or tool of a kind these servers do not have.</exception>
    public async Task<ChatResponse> GetResponseAsync(IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(messages);
        WireRequest request = RequestWriter.Write(messages, options, _options, stream: false);
        using var patience = new Patience(_options, cancellationToken);
        try
        {
            using HttpResponseMessage response = await SendAsync(request, patience).ConfigureAwait(false);
            Stream body = await response.Content.ReadAsStreamAsync(patience.Token).ConfigureAwait(false);
            await using (body.ConfigureAwait(false))
            {
                WireResponse? wire = await JsonSerializer.DeserializeAsync(body, WireJson.Default.WireResponse, patience.Token).ConfigureAwait(false);
                if (wire?.Error is { } error) throw HadalApiException.From(null, error, null, null);
                return ResponseReader.Read(wire ?? throw HadalApiException.BrokenOff("the body is null"), WantsReasoning(options));
            }
        }
        catch (JsonException exception)
        {
            throw HadalApiException.BrokenOff($"the server sent no JSON of a chat completion ({exception.Message})", exception);
        }
        catch (OperationCanceledException exception) when (patience.IsOver)
        {
            throw TooSlow(exception);
        }
    }

    /// <summary>Asks for an answer and gives its pieces as they come. Calls of functions come whole; the last update carries the usage.</summary>
    /// <exception cref="HadalApiException">The server refused, or the stream ended before the answer did.</exception>
    /// <exception cref="HttpRequestException">The server could not be reached.</exception>
    /// <exception cref="TimeoutException">Nothing came for <see cref="HadalChatClientOptions.Timeout"/>.</exception>
    /// <exception cref="NotSupportedException">A message or tool of a kind these servers do not have.</exception>
    public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(messages);
        WireRequest request = RequestWriter.Write(messages, options, _options, stream: true);
        using var patience = new Patience(_options, cancellationToken);
        using HttpResponseMessage response = await Patiently(SendAsync(request, patience), patience).ConfigureAwait(false);
        Stream body = await Patiently(response.Content.ReadAsStreamAsync(patience.Token), patience).ConfigureAwait(false);
        await using (body.ConfigureAwait(false))
        {
            IAsyncEnumerator<SseItem<string>> events = SseParser.Create(body).EnumerateAsync(patience.Token).GetAsyncEnumerator(patience.Token);
            await using (events.ConfigureAwait(false))
            {
                var calls = new ToolCallAssembly();
                bool finished = false;
                while (await Patiently(events.MoveNextAsync().AsTask(), patience).ConfigureAwait(false))
                {
                    patience.Renew();
                    string data = events.Current.Data;
                    if (data.Length == 0) continue;
                    if (string.Equals(data, "[DONE]", StringComparison.Ordinal)) break;
                    WireResponse chunk = Chunk(data);
                    if (Update(chunk, calls, WantsReasoning(options)) is { } update)
                    {
                        finished |= update.FinishReason is not null;
                        yield return update;
                    }
                }

                if (!finished) throw HadalApiException.BrokenOff("the stream ended without a finish_reason");
            }
        }
    }

    /// <inheritdoc/>
    public object? GetService(Type serviceType, object? serviceKey = null)
    {
        ArgumentNullException.ThrowIfNull(serviceType);
        return serviceKey is not null ? null
            : serviceType == typeof(ChatClientMetadata) ? _metadata
            : serviceType == typeof(HttpClient) ? _http
            : serviceType.IsInstanceOfType(this) ? this : null;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_ownsHttp) _http.Dispose();
    }

    static bool WantsReasoning(ChatOptions? options) => options?.Reasoning?.Output is not ReasoningOutput.None;

    static WireResponse Chunk(string data)
    {
        try
        {
            WireResponse chunk = JsonSerializer.Deserialize(data, WireJson.Default.WireResponse) ?? throw HadalApiException.BrokenOff("an event of the stream is null");
            return chunk.Error is { } error ? throw HadalApiException.From(null, error, null, null) : chunk;
        }
        catch (JsonException exception)
        {
            throw HadalApiException.BrokenOff($"an event of the stream is no JSON of a chunk ({exception.Message})", exception);
        }
    }

    /// <summary>An update, or null for a chunk that tells nothing.</summary>
    static ChatResponseUpdate? Update(WireResponse chunk, ToolCallAssembly calls, bool withReasoning)
    {
        WireChoice? choice = chunk.Choices is { Count: > 0 } choices ? choices[0] : null;
        var contents = new List<AIContent>();
        if (withReasoning && choice?.Delta?.ReasoningContent is { Length: > 0 } reasoning) contents.Add(new TextReasoningContent(reasoning));
        if (choice?.Delta?.Content is { Length: > 0 } text) contents.Add(new TextContent(text));
        foreach (WireToolCall piece in choice?.Delta?.ToolCalls ?? []) calls.Add(piece);
        ChatFinishReason? reason = ResponseReader.Reason(choice?.FinishReason);
        if (reason is not null && !calls.IsEmpty) contents.AddRange(calls.Finish());
        if (chunk.Usage is { } usage) contents.Add(new UsageContent(ResponseReader.Usage(usage)));
        if (contents.Count == 0 && reason is null && choice?.Logprobs is null) return null;
        return new ChatResponseUpdate(ChatRole.Assistant, contents)
        {
            ResponseId = chunk.Id,
            MessageId = chunk.Id,
            ModelId = chunk.Model,
            CreatedAt = ResponseReader.Time(chunk),
            FinishReason = reason,
            AdditionalProperties = ResponseReader.Properties(chunk, choice),
        };
    }

    async Task<HttpResponseMessage> SendAsync(WireRequest body, Patience patience)
    {
        byte[] json = JsonSerializer.SerializeToUtf8Bytes(body, WireJson.Default.WireRequest);
        for (int attempt = 0; ; attempt++)
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, _options.ChatCompletions) { Content = new ByteArrayContent(json) };
            request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/json", "utf-8");
            request.Headers.Accept.ParseAdd(body.Stream == true ? "text/event-stream" : "application/json");
            if (_options.ApiKey is { Length: > 0 } key) request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", key);
            HttpResponseMessage response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, patience.Token).ConfigureAwait(false);
            if (response.IsSuccessStatusCode) return response;
            using (response)
            {
                TimeSpan? retryAfter = RetryAfter(response);
                TimeSpan pause = retryAfter ?? TimeSpan.FromSeconds(0.5 * Math.Pow(2, Math.Min(attempt, 10)));
                bool again = response.StatusCode is HttpStatusCode.TooManyRequests or HttpStatusCode.BadGateway or HttpStatusCode.ServiceUnavailable or HttpStatusCode.GatewayTimeout;
                if (!again || attempt >= _options.MaxRetries || pause > _options.MaxRetryDelay) throw await RefusalAsync(response, retryAfter, patience.Token).ConfigureAwait(false);
                await Task.Delay(pause, _options.TimeProvider, patience.Token).ConfigureAwait(false);
                patience.Renew();
            }
        }
    }

    TimeSpan? RetryAfter(HttpResponseMessage response) => response.Headers.RetryAfter switch
    {
        { Delta: { } delta } => delta,
        { Date: { } date } => date - _options.TimeProvider.GetUtcNow() is { Ticks: > 0 } wait ? wait : TimeSpan.Zero,
        _ => null,
    };

    static async Task<HadalApiException> RefusalAsync(HttpResponseMessage response, TimeSpan? retryAfter, CancellationToken cancellationToken)
    {
        byte[] buffer = new byte[LongestErrorBody];
        Stream stream = await response.Content.ReadAsStreamAsync(cancellationToken).ConfigureAwait(false);
        int length;
        await using (stream.ConfigureAwait(false)) length = await stream.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, cancellationToken).ConfigureAwait(false);
        WireError? error = null;
        try
        {
            error = JsonSerializer.Deserialize(buffer.AsSpan(0, length), WireJson.Default.WireResponse)?.Error;
        }
        catch (JsonException)
        {
            // A proxy's page: shown as it is.
        }

        string text = System.Text.Encoding.UTF8.GetString(buffer, 0, Math.Min(length, 500)).Trim();
        return HadalApiException.From(response.StatusCode, error, text, retryAfter);
    }

    async Task<T> Patiently<T>(Task<T> work, Patience patience)
    {
        try
        {
            return await work.ConfigureAwait(false);
        }
        catch (OperationCanceledException exception) when (patience.IsOver)
        {
            throw TooSlow(exception);
        }
        catch (IOException exception)
        {
            throw HadalApiException.BrokenOff($"the connection was lost ({exception.Message})", exception);
        }
    }

    TimeoutException TooSlow(Exception exception) =>
        new($"Nothing came from {_options.Endpoint} for {_options.Timeout.TotalSeconds:0.###} s. Give HadalChatClientOptions.Timeout more, or ask for fewer tokens.", exception);

    /// <summary>The caller's cancellation and the time limit in one token.</summary>
    sealed class Patience : IDisposable
    {
        readonly CancellationTokenSource _clock, _both;
        readonly TimeSpan _limit;
        readonly CancellationToken _caller;

        internal Patience(HadalChatClientOptions options, CancellationToken caller)
        {
            _limit = options.Timeout;
            _caller = caller;
            _clock = new CancellationTokenSource(_limit, options.TimeProvider);
            _both = CancellationTokenSource.CreateLinkedTokenSource(caller, _clock.Token);
        }

        internal CancellationToken Token => _both.Token;

        internal bool IsOver => _clock.IsCancellationRequested && !_caller.IsCancellationRequested;

        internal void Renew() => _clock.CancelAfter(_limit);

        public void Dispose()
        {
            _both.Dispose();
            _clock.Dispose();
        }
    }
}
