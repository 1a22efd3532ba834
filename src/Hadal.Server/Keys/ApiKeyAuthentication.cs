using System.Net;
using System.Security.Claims;
using System.Text.Encodings.Web;
using Hadal.Server.Api;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Primitives;

namespace Hadal.Server.Keys;

/// <summary><c>Authorization: Bearer KEY</c>. The key is looked up for every request, so that a revoked one is refused at once.</summary>
sealed class ApiKeyAuthentication(IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory logger, UrlEncoder encoder, ApiKeyService keys, WrongKeyThrottle throttle)
    : AuthenticationHandler<AuthenticationSchemeOptions>(options, logger, encoder)
{
    /// <summary>Name of the scheme, and of the policy that asks for it.</summary>
    public const string SchemeName = "ApiKey";

    /// <summary>Name of the policy that asks for a key of the host beside.</summary>
    public const string HostPolicy = "HostKey";

    /// <summary>Said of callers with a key of the host.</summary>
    public const string HostClaim = "hadal:host";

    const string Bearer = "Bearer ";

    TimeSpan? _wait;

    protected override async Task<AuthenticateResult> HandleAuthenticateAsync()
    {
        if (KeyOf(Request.Headers.Authorization) is not string text) return AuthenticateResult.NoResult();
        IPAddress? address = Context.Connection.RemoteIpAddress;
        _wait = throttle.UntilLooked(address, text);
        if (_wait is not null) return AuthenticateResult.Fail("Too many wrong keys came from this address.");
        ApiCaller? caller = await keys.RecognizeAsync(text, Context.RequestAborted);
        throttle.Note(address, text, caller is not null);
        if (caller is null) return AuthenticateResult.Fail("The key is not in force.");
        Context.Features.Set(caller);
        var identity = new ClaimsIdentity([new Claim(ClaimTypes.NameIdentifier, caller.Owner)], Scheme.Name);
        if (caller.IsHost) identity.AddClaim(new Claim(HostClaim, "true"));
        return AuthenticateResult.Success(new AuthenticationTicket(new ClaimsPrincipal(identity), Scheme.Name));
    }

    protected override Task HandleChallengeAsync(AuthenticationProperties properties)
    {
        if (_wait is TimeSpan wait)
        {
            return ApiError.TooMany($"Too many wrong API keys came from your network address; expected the next key in {ApiError.Seconds(wait)} s. Check the key that your program sends.", "too_many_wrong_keys", wait)
                .WriteAsync(Context);
        }

        Response.Headers.WWWAuthenticate = "Bearer";
        string message = KeyOf(Request.Headers.Authorization) is string key
            ? $"Authentication Fails, Your api key: {KeySecret.Mask(key)} is invalid: it was never made here, or it was revoked. Keys are made in the web app under Settings, or by: hadal serve make-key."
            : "Authentication Fails: no API key was given; expected the header Authorization: Bearer KEY.";
        return ApiError.Unauthorized(message).WriteAsync(Context);
    }

    protected override Task HandleForbiddenAsync(AuthenticationProperties properties) =>
        new ApiError(StatusCodes.Status403Forbidden, "This API key may not do that; expected a key of the host: HADAL_API_KEY, or one made by hadal serve make-key.", "permission_error", "forbidden").WriteAsync(Context);

    static string? KeyOf(StringValues header) =>
        header.Count == 1 && header[0] is { Length: > 7 } value && value.StartsWith(Bearer, StringComparison.OrdinalIgnoreCase) ? value[Bearer.Length..].Trim() : null;
}
