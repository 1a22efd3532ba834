using System.Globalization;
using Hadal.Server.Database;
using Hadal.Server.Hosting;
using Hadal.Server.Keys;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace Hadal.Server.Web;

/// <summary>Keys to the API, made and revoked by the person who uses them.</summary>
static class KeyEndpoints
{
    const int MostKeys = 50;
    const int MostKeysADay = 100;

    public static void Map(RouteGroupBuilder app)
    {
        RouteGroupBuilder group = app.MapGroup("/keys").WithMetadata(new BodyLimit(BodyLimit.Form));
        group.MapGet("", async (HttpContext http, ApiKeyService keys) =>
            Results.Ok((await keys.ListAsync(Me.Require(http), http.RequestAborted)).Where(key => key.Revoked is null).Select(KeyView.Of)));
        group.MapPost("", async (HttpContext http, ApiKeyService keys, TimeProvider clock, ServerOptions options, Wanted wanted) =>
        {
            Guid me = Me.Require(http);
            IReadOnlyList<ApiKey> had = await keys.ListAsync(me, http.RequestAborted);
            if (had.Count(key => key.Revoked is null) >= MostKeys) throw new AppException(StatusCode.Conflict, $"You have {MostKeys} keys. Revoke one first.");
            DateTimeOffset yesterday = clock.GetUtcNow() - TimeSpan.FromDays(1);
            if (had.Count(key => key.Created > yesterday) >= MostKeysADay) throw AppException.TooMany($"You made {MostKeysADay} keys within a day.", TimeSpan.FromHours(1));
            if (string.IsNullOrWhiteSpace(StoredText.Clean(wanted.Name))) throw new AppException(StatusCode.BadRequest, "Give the key a name by which you will know it.", "name");
            if (wanted.RequestsPerMinute is < 1) throw new AppException(StatusCode.BadRequest, "At least 1 request per minute, or leave it empty for no limit.", "requestsPerMinute");
            if (wanted.TokensPerDay is < 1) throw new AppException(StatusCode.BadRequest, "At least 1 token per day, or leave it empty for no limit.", "tokensPerDay");
            if (wanted.RequestsPerMinute > options.KeyRequestsPerMinute) throw Above("requests per minute", options.KeyRequestsPerMinute.Value, "requestsPerMinute");
            if (wanted.TokensPerDay > options.KeyTokensPerDay) throw Above("tokens per day", options.KeyTokensPerDay.Value, "tokensPerDay");
            NewApiKey made = await keys.MakeAsync(me, wanted.Name!, wanted.RequestsPerMinute ?? options.KeyRequestsPerMinute, wanted.TokensPerDay ?? options.KeyTokensPerDay, http.RequestAborted);
            return Results.Ok(new { Key = KeyView.Of(made.Key), made.Secret });
        });
        group.MapDelete("/{id:guid}", async (HttpContext http, ApiKeyService keys, Guid id) =>
            await keys.RevokeAsync(Me.Require(http), id, http.RequestAborted) ? Results.NoContent() : throw AppException.NotFound("key"));
    }

    static AppException Above(string what, long most, string field) =>
        new(StatusCode.BadRequest, string.Create(CultureInfo.InvariantCulture, $"At most {most} {what} on this server, or leave it empty for as many."), field);

    sealed record Wanted(string? Name, int? RequestsPerMinute, long? TokensPerDay);

    sealed record KeyView(Guid Id, string Name, string Prefix, DateTimeOffset Created, DateTimeOffset? LastUsed, int? RequestsPerMinute, long? TokensPerDay)
    {
        public static KeyView Of(ApiKey key) => new(key.Id, key.Name, key.Prefix, key.Created, key.LastUsed, key.RequestsPerMinute, key.TokensPerDay);
    }
}
