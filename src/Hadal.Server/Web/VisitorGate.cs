using Hadal.Server.Accounts;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Http.Metadata;
using Microsoft.Net.Http.Headers;

namespace Hadal.Server.Web;

/// <summary>
/// What one visitor may ask of the pages' endpoints in a minute, whichever they are: each request costs one, more when its body is large or its work is known to be. Who is signed in is counted
/// by person, a stranger by network address. It stands before bodies are read. Refusals that the framework makes without words get some.
/// </summary>
sealed class VisitorGate(RequestDelegate next, AddressThrottle throttle)
{
    const int BytesPerPermit = 32 << 10;

    public async Task InvokeAsync(HttpContext context)
    {
        if (!context.Request.Path.StartsWithSegments("/app", StringComparison.Ordinal))
        {
            await next(context);
            return;
        }

        try
        {
            Enter(context);
            RequireEncoding(context.Request);
        }
        catch (AppException refusal)
        {
            await AppErrorFilter.Refuse(context, refusal).ExecuteAsync(context);
            return;
        }

        await next(context);
        if (context.Response is { HasStarted: false, ContentLength: null, StatusCode: var status } && Words(status) is { } words)
            await Results.Json(new AppError(words, null), statusCode: status).ExecuteAsync(context);
    }

    void Enter(HttpContext context)
    {
        int cost = context.GetEndpoint()?.Metadata.GetMetadata<RouteCost>()?.Permits ?? 1;
        if (context.Features.Get<IHttpRequestBodyDetectionFeature>() is { CanHaveBody: true })
        {
            // A body whose length is not said is as long as one may be.
            long most = context.Features.Get<IHttpMaxRequestBodySizeFeature>()?.MaxRequestBodySize ?? BodyLimit.Largest;
            cost += (int)(Math.Min(context.Request.ContentLength ?? most, most) / BytesPerPermit);
        }

        if (Me.IdOf(context) is { } person) throttle.Enter("page", person.ToString("n"), cost, "That was too much in one minute.");
        else throttle.Enter("stranger", context.Connection.RemoteIpAddress, cost);
    }

    // The framework's reader of JSON throws at a name that is no encoding's.
    static void RequireEncoding(HttpRequest request)
    {
        if (!MediaTypeHeaderValue.TryParse(request.ContentType, out MediaTypeHeaderValue? type) || !type.Charset.HasValue) return;
        string name = type.Charset.ToString().Trim('"');
        if (!string.Equals(name, "utf-8", StringComparison.OrdinalIgnoreCase)) throw new AppException(StatusCode.UnsupportedMediaType, "The request could not be read: expected JSON in UTF-8.");
    }

    static string? Words(int status) => status switch
    {
        StatusCodes.Status400BadRequest => "The request could not be read.",
        StatusCodes.Status404NotFound => "There is nothing here.",
        StatusCodes.Status405MethodNotAllowed => "This cannot be done here.",
        StatusCodes.Status413PayloadTooLarge => "This is too large for the server.",
        StatusCodes.Status415UnsupportedMediaType => "The request could not be read: expected JSON.",
        _ => null,
    };
}

/// <summary>What a request costs of the permits of its visitor, its body apart.</summary>
sealed record RouteCost(int Permits);

/// <summary>Most bytes of a request's body at one endpoint; more is answered 413.</summary>
sealed record BodyLimit(long Bytes) : IRequestSizeLimitMetadata
{
    public const long Largest = 4 << 20;

    /// <summary>Forms: a name, an address, a password, a title.</summary>
    public const long Form = 16 << 10;

    /// <summary>One message of the longest allowed, whatever its characters are written as.</summary>
    public const long Message = 512 << 10;

    long? IRequestSizeLimitMetadata.MaxRequestBodySize => Bytes;
}
