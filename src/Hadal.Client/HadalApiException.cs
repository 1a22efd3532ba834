using System.Net;

namespace Hadal.Client;

/// <summary>The server refused a request, or its answer broke off. <see cref="HttpRequestException.StatusCode"/> is null when the answer had begun well.</summary>
public sealed class HadalApiException : HttpRequestException
{
    /// <summary>Says what the server said.</summary>
    public HadalApiException(string message, HttpStatusCode? statusCode, string? type, string? code, TimeSpan? retryAfter, Exception? inner = null)
        : base(message, inner, statusCode)
    {
        Type = type;
        Code = code;
        RetryAfter = retryAfter;
    }

    /// <summary>The error's <c>type</c>, such as <c>invalid_request_error</c>.</summary>
    public string? Type { get; }

    /// <summary>The error's <c>code</c>.</summary>
    public string? Code { get; }

    /// <summary>When the server says that it can be asked again.</summary>
    public TimeSpan? RetryAfter { get; }

    internal static HadalApiException From(HttpStatusCode? status, WireError? error, string? body, TimeSpan? retryAfter)
    {
        string said = error?.Message is { Length: > 0 } message ? message : body is { Length: > 0 } ? body : "nothing more";
        string what = status is { } code ? $"The server answered {(int)code} {code}: {said}" : $"The server ended the answer with an error: {said}";
        string? fix = status switch
        {
            HttpStatusCode.Unauthorized => "Give HadalChatClientOptions.ApiKey a key of this server.",
            HttpStatusCode.NotFound => "Check HadalChatClientOptions.Endpoint and the model's name.",
            HttpStatusCode.PaymentRequired => "The account has no balance left.",
            HttpStatusCode.TooManyRequests or HttpStatusCode.ServiceUnavailable when retryAfter is { } wait => $"Ask again in {Math.Ceiling(wait.TotalSeconds):0} s.",
            _ => null,
        };
        return new HadalApiException(fix is null ? what : $"{what.TrimEnd('.', ' ')}. {fix}", status, error?.Type, error?.Code?.ToString(), retryAfter);
    }

    internal static HadalApiException BrokenOff(string what, Exception? inner = null) => new($"The answer broke off: {what}. Ask again.", null, null, null, null, inner);
}
