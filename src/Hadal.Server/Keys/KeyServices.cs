using Hadal.Server.Hosting;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Authorization;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Hadal.Server.Keys;

/// <summary>Adds keys to the server: the scheme and the policy <c>ApiKey</c>, their store and their limits.</summary>
static class KeyServices
{
    public static void Add(IServiceCollection services, ServerOptions options)
    {
        services.TryAddSingleton<IApiKeyStore, DatabaseApiKeyStore>();
        services.AddSingleton(_ => new KeyLimiter(options.Time, options.KeyRequestsPerMinute, options.KeyTokensPerDay));
        services.AddSingleton<WrongKeyThrottle>();
        services.AddSingleton(provider => new ApiKeyService(provider.GetRequiredService<IApiKeyStore>(), options.Time, options.ApiKey, countsByPerson: options.KeyTokensPerDay is not null));
        services.AddAuthentication().AddScheme<AuthenticationSchemeOptions, ApiKeyAuthentication>(ApiKeyAuthentication.SchemeName, null);
        services.AddAuthorizationBuilder().AddPolicy(ApiKeyAuthentication.SchemeName,
            new AuthorizationPolicyBuilder(ApiKeyAuthentication.SchemeName).RequireAuthenticatedUser().Build())
            .AddPolicy(ApiKeyAuthentication.HostPolicy, new AuthorizationPolicyBuilder(ApiKeyAuthentication.SchemeName).RequireClaim(ApiKeyAuthentication.HostClaim).Build());
    }
}
