namespace Hadal.Client;

/// <summary>Where the server is and how it is asked.</summary>
public sealed record HadalChatClientOptions
{
    /// <summary>Base address: <c>/chat/completions</c> is appended. <c>https://api.deepseek.com</c> for DeepSeek, the address that <c>hadal serve</c> prints for Hadal.</summary>
    public required Uri Endpoint { get; init; }

    /// <summary>Sent as <c>Authorization: Bearer</c>; null sends none.</summary>
    public string? ApiKey { get; init; }

    /// <summary>Model of requests that name none.</summary>
    public string Model { get; init; } = "deepseek-chat";

    /// <summary>Model of requests that name none and ask for reasoning (<see cref="Microsoft.Extensions.AI.ChatOptions.Reasoning"/>).</summary>
    public string ReasoningModel { get; init; } = "deepseek-reasoner";

    /// <summary>
    /// Whether the reasoning of earlier answers is sent back as <c>reasoning_content</c>. DeepSeek's own service and servers as strict as it answer 400 to that;
    /// null sends it everywhere but to <c>api.deepseek.com</c>.
    /// </summary>
    public bool? SendReasoning { get; init; }

    /// <summary>How often a request is repeated after 429, 502, 503 or 504, as long as nothing of the answer has arrived.</summary>
    public int MaxRetries { get; init; } = 2;

    /// <summary>Longest pause before a repetition. A server that asks for a longer one (<c>Retry-After</c>) is not asked again: the exception carries its wish.</summary>
    public TimeSpan MaxRetryDelay { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Longest wait for a whole answer; for a streamed one, for its first line and then between two lines.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>The clock of pauses and timeouts.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    internal bool SendsReasoning => SendReasoning ?? !Endpoint.Host.Equals("api.deepseek.com", StringComparison.OrdinalIgnoreCase);

    internal Uri ChatCompletions => new(Endpoint.AbsoluteUri.TrimEnd('/') + "/chat/completions");

    internal void Validate()
    {
        ArgumentNullException.ThrowIfNull(Endpoint);
        if (!Endpoint.IsAbsoluteUri || Endpoint.Scheme is not ("http" or "https") || Endpoint.Query.Length > 0 || Endpoint.Fragment.Length > 0)
            throw new ArgumentException($"The endpoint '{Endpoint}' is not usable. Expected an absolute http or https address without query, such as http://127.0.0.1:5080.", nameof(Endpoint));
        if (string.IsNullOrWhiteSpace(Model) || string.IsNullOrWhiteSpace(ReasoningModel)) throw new ArgumentException("A model has no name. Expected for example deepseek-chat.", nameof(Model));
        if (MaxRetries is < 0 or > 100) throw new ArgumentOutOfRangeException(nameof(MaxRetries), MaxRetries, "Expected 0 to 100 repetitions.");
        if (MaxRetryDelay < TimeSpan.Zero) throw new ArgumentOutOfRangeException(nameof(MaxRetryDelay), MaxRetryDelay, "Expected a pause of zero or more.");
        if (Timeout <= TimeSpan.Zero) throw new ArgumentOutOfRangeException(nameof(Timeout), Timeout, "Expected a positive time.");
    }
}
