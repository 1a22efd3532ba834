using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Web;

/// <summary>Statuses that the web app answers with.</summary>
enum StatusCode
{
    BadRequest = 400,
    Unauthorized = 401,
    Forbidden = 403,
    NotFound = 404,
    Conflict = 409,
    UnsupportedMediaType = 415,
    TooManyRequests = 429,
    ServiceUnavailable = 503,
}

/// <summary>A refusal in words for the person in front of the page.</summary>
sealed class AppException(StatusCode status, string message, string? fieldName = null, TimeSpan? retryAfter = null) : Exception(message)
{
    public StatusCode Status => status;

    /// <summary>The field of the form that the message is about.</summary>
    public string? Field { get; } = fieldName;

    public TimeSpan? RetryAfter => retryAfter;

    public static AppException NotFound(string what) => new(StatusCode.NotFound, $"This {what} does not exist, or it is not yours.");

    public static AppException TooMany(string why, TimeSpan wait) =>
        new(StatusCode.TooManyRequests, $"{why} Try again {In(wait)}.", retryAfter: wait);

    public static void ThrowIfRefused(string field, string? refusal)
    {
        if (refusal is not null) throw new AppException(StatusCode.BadRequest, refusal, field);
    }

    static string In(TimeSpan wait) => wait.TotalSeconds < 60 ? $"in {Math.Max(1, Math.Ceiling(wait.TotalSeconds)):0} seconds" : wait.TotalMinutes < 2 ? "in a minute or two" : $"in {Math.Ceiling(wait.TotalMinutes):0} minutes";
}

/// <summary>The body of every refusal.</summary>
sealed record AppError(string Message, string? Field);

/// <summary>Turns refusals into answers, and keeps faults from telling what they should not.</summary>
sealed partial class AppErrorFilter(ILogger<AppErrorFilter> log) : IEndpointFilter
{
    public async ValueTask<object?> InvokeAsync(EndpointFilterInvocationContext context, EndpointFilterDelegate next)
    {
        HttpContext http = context.HttpContext;
        try
        {
            return await next(context);
        }
        catch (AppException refusal)
        {
            return Refuse(http, refusal);
        }
        catch (OperationCanceledException) when (http.RequestAborted.IsCancellationRequested)
        {
            return Results.Empty;
        }
        catch (Exception exception) when (!http.Response.HasStarted)
        {
            Failed(log, exception, http.Request.Method, http.Request.Path);
            return Results.Json(new AppError("Something went wrong on the server. It has been noted in its log; try again.", null), statusCode: 500);
        }
    }

    /// <summary>A refusal as the pages read it.</summary>
    public static IResult Refuse(HttpContext http, AppException refusal)
    {
        if (refusal.RetryAfter is { } wait) http.Response.Headers.RetryAfter = Math.Max(1, Math.Ceiling(wait.TotalSeconds)).ToString("0");
        return Results.Json(new AppError(refusal.Message, refusal.Field), statusCode: (int)refusal.Status);
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "{Method} {Path} failed")]
    static partial void Failed(ILogger logger, Exception exception, string method, string path);
}
