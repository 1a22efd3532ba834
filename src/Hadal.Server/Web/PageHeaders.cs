using Microsoft.AspNetCore.Antiforgery;
using Microsoft.AspNetCore.Http;

namespace Hadal.Server.Web;

/// <summary>
/// Headers of every page: nothing may load or run but what this server sent as a file. Text of a model is text; even if it became markup by a fault of ours, the
/// browser would not run it.
/// </summary>
sealed class PageHeaders(RequestDelegate next)
{
    public const string ContentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; manifest-src 'self'; "
        + "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

    public Task InvokeAsync(HttpContext context)
    {
        bool isMissing = PageEndpoints.IsMissing(context);
        if (isMissing || context.GetEndpoint()?.Metadata.GetMetadata<ChatEndpoint>() is not null)
        {
            IHeaderDictionary headers = context.Response.Headers;
            headers.ContentSecurityPolicy = ContentSecurityPolicy;
            headers.XContentTypeOptions = "nosniff";
            headers.XFrameOptions = "DENY";
            headers["Referrer-Policy"] = "no-referrer";
            headers["Cross-Origin-Opener-Policy"] = "same-origin";
            headers["Cross-Origin-Resource-Policy"] = "same-origin";
            headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=(), payment=(), usb=()";
            if (context.Request.Path.StartsWithSegments("/app", StringComparison.Ordinal)) headers.CacheControl = "no-cache, no-store"; // as the tokens of pages want it
        }

        return isMissing ? PageEndpoints.WriteMissingAsync(context) : next(context);
    }
}

/// <summary>Every request that changes something must carry the token of its page.</summary>
sealed class AntiforgeryFilter(IAntiforgery antiforgery) : IEndpointFilter
{
    public async ValueTask<object?> InvokeAsync(EndpointFilterInvocationContext context, EndpointFilterDelegate next)
    {
        HttpContext http = context.HttpContext;
        if (!HttpMethods.IsGet(http.Request.Method) && !HttpMethods.IsHead(http.Request.Method) && !await antiforgery.IsRequestValidAsync(http))
        {
            return Results.Json(new AppError("This page is out of date. Reload it and try again.", "token"), statusCode: 400);
        }

        return await next(context);
    }
}
