using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using Microsoft.AspNetCore.Http;

namespace Hadal.Server.Api;

/// <summary>An error as clients of DeepSeek and OpenAI read it.</summary>
/// <param name="Status">HTTP status.</param>
/// <param name="Message">What was given, what is expected, how to fix it.</param>
/// <param name="Type">Family, such as <c>invalid_request_error</c>.</param>
/// <param name="Code">Name, such as <c>rate_limit_exceeded</c>.</param>
/// <param name="Parameter">The field that is wrong, such as <c>messages[0].role</c>.</param>
/// <param name="RetryAfter">When it may go better; sent as Retry-After.</param>
sealed record ApiError(int Status, string Message, string Type, string Code, string? Parameter = null, TimeSpan? RetryAfter = null)
{
    /// <summary>The body is no JSON object, or the request is impossible for this model.</summary>
    public static ApiError BadRequest(string message, string? parameter = null, string code = "invalid_request_error") =>
        new(StatusCodes.Status400BadRequest, message, "invalid_request_error", code, parameter);

    /// <summary>A field has a value that it may not have.</summary>
    public static ApiError Invalid(string parameter, string message) =>
        new(StatusCodes.Status422UnprocessableEntity, message, "invalid_request_error", "invalid_request_error", parameter);

    /// <summary>No key, or one that is nobody's, or a revoked one.</summary>
    public static ApiError Unauthorized(string message) => new(StatusCodes.Status401Unauthorized, message, "authentication_error", "invalid_request_error");

    /// <summary>The tokens of the day are used up; type and code as the original sends them.</summary>
    public static ApiError NoBalance(string message, TimeSpan retryAfter) => new(StatusCodes.Status402PaymentRequired, message, "unknown_error", "invalid_request_error", RetryAfter: retryAfter);

    /// <summary>There is no such thing.</summary>
    public static ApiError NotFound(string message, string code = "not_found") => new(StatusCodes.Status404NotFound, message, "invalid_request_error", code);

    /// <summary>Too many requests, by this key or by all.</summary>
    public static ApiError TooMany(string message, string code, TimeSpan retryAfter) => new(StatusCodes.Status429TooManyRequests, message, "rate_limit_error", code, RetryAfter: retryAfter);

    /// <summary>The server is at fault.</summary>
    public static ApiError Internal(string message) => new(StatusCodes.Status500InternalServerError, message, "server_error", "internal_error");

    /// <summary>The server takes no work now.</summary>
    public static ApiError Unavailable(string message, TimeSpan retryAfter) => new(StatusCodes.Status503ServiceUnavailable, message, "server_error", "service_unavailable", RetryAfter: retryAfter);

    /// <summary>An error of the protocol by its status.</summary>
    public static ApiError OfStatus(int status, string message) => new(status, message, "invalid_request_error", status switch
    {
        StatusCodes.Status404NotFound => "not_found",
        StatusCodes.Status405MethodNotAllowed => "method_not_allowed",
        StatusCodes.Status408RequestTimeout => "request_timeout",
        StatusCodes.Status413PayloadTooLarge => "request_too_large",
        _ => "invalid_request_error",
    });

    /// <summary>The JSON object <c>{"error": …}</c>.</summary>
    public byte[] ToJson()
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            json.WriteStartObject("error");
            json.WriteString("message", Message);
            json.WriteString("type", Type);
            json.WriteString("param", Parameter);
            json.WriteString("code", Code);
            json.WriteEndObject();
            json.WriteEndObject();
        }

        return buffer.ToArray();
    }

    /// <summary>Answers with this error.</summary>
    public async Task WriteAsync(HttpContext context)
    {
        byte[] body = ToJson();
        HttpResponse response = context.Response;
        response.StatusCode = Status;
        response.ContentType = "application/json; charset=utf-8";
        response.ContentLength = body.Length;
        if (RetryAfter is TimeSpan wait) response.Headers.RetryAfter = Seconds(wait).ToString(CultureInfo.InvariantCulture);
        if (HttpMethods.IsHead(context.Request.Method)) return;
        await response.Body.WriteAsync(body, context.RequestAborted);
    }

    /// <summary>Whole seconds, at least one.</summary>
    public static long Seconds(TimeSpan wait) => Math.Max(1, (long)Math.Ceiling(Math.Min(wait.TotalSeconds, 86_400)));
}

/// <summary>Ends a request with an error.</summary>
sealed class ApiException(ApiError error) : Exception(error.Message)
{
    /// <summary>What the client is told.</summary>
    public ApiError Error { get; } = error;
}
