using Hadal.Inference.Serving;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Api;

/// <summary>Marks endpoints of the API: their errors are written in its form.</summary>
sealed class ApiEndpoint
{
    ApiEndpoint()
    {
    }

    public static ApiEndpoint Instance { get; } = new();

    /// <summary>Paths whose unknown members are answered in the API's form.</summary>
    public static bool Owns(HttpContext context) => context.GetEndpoint()?.Metadata.GetMetadata<ApiEndpoint>() is not null
        || context.Request.Path.StartsWithSegments("/v1", StringComparison.Ordinal) || context.Request.Path.StartsWithSegments("/beta", StringComparison.Ordinal);
}

/// <summary>Turns exceptions and empty refusals of API endpoints into the API's errors.</summary>
sealed partial class ApiErrorMiddleware(RequestDelegate next, ILogger<ApiErrorMiddleware> log)
{
    public async Task InvokeAsync(HttpContext context)
    {
        if (!ApiEndpoint.Owns(context))
        {
            await next(context);
            return;
        }

        try
        {
            await next(context);
            if (context.Response is { HasStarted: false, ContentLength: null, StatusCode: >= 400 } && OfRefusal(context) is ApiError refusal) await refusal.WriteAsync(context);
        }
        catch (Exception exception) when (!context.RequestAborted.IsCancellationRequested)
        {
            ApiError error = Describe(exception);
            if (error.Status >= 500) Failed(log, exception, context.Request.Method, context.Request.Path);
            if (context.Response.HasStarted) throw;
            context.Response.Clear();
            await error.WriteAsync(context);
        }
        catch (Exception) when (context.RequestAborted.IsCancellationRequested)
        {
            // The client is gone: there is nobody to tell.
        }
    }

    /// <summary>What a client is told about an exception.</summary>
    public static ApiError Describe(Exception exception) => exception switch
    {
        ApiException known => known.Error,
        EngineBusyException busy => ApiError.TooMany($"{busy.Message} You would be number {busy.PlaceInLine} in line.", "engine_overloaded", busy.ExpectedWait),
        BadHttpRequestException bad => ApiError.OfStatus(bad.StatusCode, bad.Message),
        EngineStoppingException => ApiError.Unavailable("The server is shutting down; it finishes the answers it began and takes no new request.", TimeSpan.FromSeconds(10)),
        ObjectDisposedException => ApiError.Unavailable("The server is shutting down; the request was given up.", TimeSpan.FromSeconds(10)),
        RequestRefusedException impossible => ApiError.BadRequest(impossible.Message),
        _ => ApiError.Internal("The server failed while it worked on this request; its log says more. Trying again may help."),
    };

    static ApiError? OfRefusal(HttpContext context) => context.Response.StatusCode switch
    {
        StatusCodes.Status404NotFound => ApiError.NotFound($"There is no {context.Request.Path} here; GET /openapi/v1.json lists what there is."),
        StatusCodes.Status405MethodNotAllowed => ApiError.OfStatus(StatusCodes.Status405MethodNotAllowed,
            $"{context.Request.Method} is not served at {context.Request.Path}; expected {context.Response.Headers.Allow}."),
        _ => null,
    };

    [LoggerMessage(Level = LogLevel.Error, Message = "{Method} {Path} failed")]
    private static partial void Failed(ILogger log, Exception exception, string method, PathString path);
}
