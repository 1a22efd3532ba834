using System.Reflection;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace Hadal.Server.Api.Description;

/// <summary><c>/openapi/v1.json</c> describes the API for programs (OpenAPI 3.1), <c>/docs</c> shows the same to people. Neither asks for a key, neither says anything of this server's state.</summary>
static class DescriptionEndpoints
{
    const string Policy = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    static readonly byte[] Document = Resource("openapi.json");
    static readonly byte[] Style = Resource("docs.css");
    static readonly Lazy<byte[]> Page = new(() => Encoding.UTF8.GetBytes(DescriptionPage.Render(Document)));

    /// <summary>The OpenAPI document, UTF-8 JSON.</summary>
    public static ReadOnlyMemory<byte> OpenApi => Document;

    public static void Map(IEndpointRouteBuilder routes)
    {
        Serve("/openapi/v1.json", "application/json; charset=utf-8", () => Document);
        Serve("/docs", "text/html; charset=utf-8", () => Page.Value);
        Serve("/docs/style.css", "text/css; charset=utf-8", () => Style);

        void Serve(string path, string type, Func<byte[]> content) => routes.MapMethods(path, ["GET", "HEAD"], (HttpContext http) =>
        {
            http.Response.Headers.ContentSecurityPolicy = Policy;
            http.Response.Headers.XContentTypeOptions = "nosniff";
            http.Response.Headers.CacheControl = "no-cache";
            http.Response.Headers["Referrer-Policy"] = "no-referrer";
            return Results.Bytes(content(), type);
        }).AllowAnonymous();
    }

    static byte[] Resource(string name)
    {
        using Stream stream = Assembly.GetExecutingAssembly().GetManifestResourceStream("Api/" + name)!;
        byte[] content = new byte[stream.Length];
        stream.ReadExactly(content);
        return content;
    }
}
