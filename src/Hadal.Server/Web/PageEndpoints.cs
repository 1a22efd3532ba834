using System.Collections.Frozen;
using System.Reflection;
using System.Security.Cryptography;
using Hadal.Server.Api;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Net.Http.Headers;

namespace Hadal.Server.Web;

/// <summary>The files of the app, out of the program itself.</summary>
static class PageEndpoints
{
    const string Prefix = "Web/";
    static readonly string[] Pages = ["/", "/c/{id}", "/sign-in", "/sign-up", "/reset", "/settings", "/operator"];
    static readonly FrozenDictionary<string, Asset> Assets = Load();

    public static void Map(RouteGroupBuilder group)
    {
        foreach (string page in Pages) group.MapMethods(page, ["GET", "HEAD"], (HttpContext http) => Send(http, "index.html"));
        group.MapMethods("/assets/{**path}", ["GET", "HEAD"], (HttpContext http, string path) => Send(http, path));
        group.MapMethods("/favicon.ico", ["GET", "HEAD"], (HttpContext http) => Send(http, "icon.svg"));
    }

    /// <summary>Whether a browser asks for a page at an address where there is none: it gets the app, which says so, instead of its own empty page.</summary>
    public static bool IsMissing(HttpContext http) => http.GetEndpoint() is null && HttpMethods.IsGet(http.Request.Method) && http.Request.Headers.Accept.ToString().Contains("text/html", StringComparison.Ordinal)
        && !ApiEndpoint.Owns(http) && !http.Request.Path.StartsWithSegments("/app", StringComparison.Ordinal) && !http.Request.Path.StartsWithSegments("/assets", StringComparison.Ordinal);

    /// <summary>The app, with status 404.</summary>
    public static Task WriteMissingAsync(HttpContext http)
    {
        Asset page = Assets["index.html"];
        http.Response.StatusCode = StatusCodes.Status404NotFound;
        http.Response.ContentType = page.ContentType;
        http.Response.ContentLength = page.Content.Length;
        return http.Response.Body.WriteAsync(page.Content, http.RequestAborted).AsTask();
    }

    static IResult Send(HttpContext http, string path)
    {
        if (!Assets.TryGetValue(path, out Asset? asset)) return Results.NotFound();

        // Always asked for again, answered with 304 while it is the same: a new version of the server shows at once.
        http.Response.Headers.CacheControl = "no-cache";
        return Results.Bytes(asset.Content, asset.ContentType, entityTag: asset.Tag);
    }

    static FrozenDictionary<string, Asset> Load()
    {
        Assembly assembly = typeof(PageEndpoints).Assembly;
        var assets = new Dictionary<string, Asset>(StringComparer.Ordinal);
        foreach (string name in assembly.GetManifestResourceNames().Where(name => name.StartsWith(Prefix, StringComparison.Ordinal)))
        {
            using Stream stream = assembly.GetManifestResourceStream(name)!;
            byte[] content = new byte[stream.Length];
            stream.ReadExactly(content);
            string path = name[Prefix.Length..].Replace('\\', '/');
            assets[path] = new Asset(content, TypeOf(path), new EntityTagHeaderValue($"\"{Convert.ToHexStringLower(SHA256.HashData(content).AsSpan(0, 8))}\""));
        }

        return assets.ToFrozenDictionary(StringComparer.Ordinal);
    }

    static string TypeOf(string path) => Path.GetExtension(path) switch
    {
        ".html" => "text/html; charset=utf-8",
        ".js" => "text/javascript; charset=utf-8",
        ".css" => "text/css; charset=utf-8",
        ".svg" => "image/svg+xml",
        ".webmanifest" => "application/manifest+json",
        ".png" => "image/png",
        _ => "application/octet-stream",
    };

    sealed record Asset(byte[] Content, string ContentType, EntityTagHeaderValue Tag);
}
