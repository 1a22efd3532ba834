using System.Security.Claims;
using Hadal.Server.Accounts;
using Hadal.Server.Conversations;
using Hadal.Server.Database;
using Hadal.Server.Web.Text;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Authentication.Cookies;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Identity;
using Microsoft.AspNetCore.Routing;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Hadal.Server.Web;

/// <summary>The chat in the browser: accounts, conversations and the pages, as parts of a host.</summary>
public static class ChatApplication
{
    /// <summary>Registers everything the chat needs. The host registers a <see cref="ChatEngines"/> itself.</summary>
    /// <param name="services">The host's.</param>
    /// <param name="options">What the chat is started with.</param>
    public static IServiceCollection AddServices(IServiceCollection services, ChatOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        DatabaseSetup.PrepareFolder(options.Home);
        services.TryAddSingleton(TimeProvider.System);
        services.AddSingleton(options);
        services.AddHadalDatabase(options.Home, options.DatabaseConnection);
        DatabaseSetup.AddProtection(services, options.Home);
        services.AddIdentityCore<Person>(identity =>
        {
            identity.User.RequireUniqueEmail = true;
            identity.User.AllowedUserNameCharacters = ""; // the user name is an address, with rules of its own
        }).AddEntityFrameworkStores<HadalDatabase>();
        services.AddAuthentication(IdentityConstants.ApplicationScheme).AddCookie(IdentityConstants.ApplicationScheme, Configure);
        services.AddAntiforgery(antiforgery =>
        {
            antiforgery.HeaderName = "X-Hadal-Token";
            antiforgery.SuppressReadingTokenFromFormBody = true; // a form is no request of the pages
            antiforgery.Cookie.Name = "hadal.antiforgery";
            antiforgery.Cookie.SameSite = SameSiteMode.Strict;
            antiforgery.Cookie.HttpOnly = true;
            antiforgery.Cookie.SecurePolicy = CookieSecurePolicy.SameAsRequest;
        });
        services.AddSingleton<IMailCarrier>(options.Mail is { } mail ? new SmtpCarrier(mail) : new OutboxCarrier(options.Home));
        services.AddSingleton<MailPump>();
        services.AddSingleton(_ => new AddressThrottle(options.AddressLimits));
        services.AddSingleton(provider => new Registration(options.Mail, provider));
        services.AddScoped<CodeService>();
        services.AddScoped<AccountService>();
        services.AddSingleton<AnswerService>();
        services.AddScoped<ConversationService>();
        services.AddScoped<Session>();
        services.AddHostedService<DatabaseStart>(); // first: the others read the database
        services.AddHostedService(provider => provider.GetRequiredService<MailPump>());
        services.AddHostedService(provider => provider.GetRequiredService<AnswerService>());
        return services;
    }

    /// <summary>Adds the headers of the pages, the reading of their cookie and their limits; before the endpoints.</summary>
    public static void Use(IApplicationBuilder application)
    {
        application.UseMiddleware<PageHeaders>();
        application.UseAuthentication();
        application.UseMiddleware<VisitorGate>();
    }

    /// <summary>Adds the pages and their endpoints.</summary>
    public static void Map(IEndpointRouteBuilder endpoints)
    {
        RouteGroupBuilder group = endpoints.MapGroup("").WithMetadata(ChatEndpoint.Instance).ExcludeFromDescription();
        PageEndpoints.Map(group);
        RouteGroupBuilder app = group.MapGroup("/app").AddEndpointFilter<AppErrorFilter>().AddEndpointFilter<AntiforgeryFilter>();
        AccountEndpoints.Map(app);
        ConversationEndpoints.Map(app);
        RenderEndpoints.Map(app);
        KeyEndpoints.Map(app);
        OperatorEndpoints.Map(app);
    }

    static void Configure(CookieAuthenticationOptions cookie)
    {
        cookie.Cookie.Name = "hadal.session";
        cookie.Cookie.HttpOnly = true;
        cookie.Cookie.SameSite = SameSiteMode.Strict;
        cookie.Cookie.SecurePolicy = CookieSecurePolicy.SameAsRequest;
        cookie.ExpireTimeSpan = TimeSpan.FromDays(14);
        cookie.SlidingExpiration = true;
        cookie.Events.OnRedirectToLogin = context => Answer(context.Response, 401);
        cookie.Events.OnRedirectToAccessDenied = context => Answer(context.Response, 403);
        cookie.Events.OnValidatePrincipal = ValidateAsync;
    }

    static Task Answer(HttpResponse response, int status)
    {
        response.StatusCode = status;
        return Task.CompletedTask;
    }

    // At every request: "sign out everywhere" and a deleted account count at once.
    static async Task ValidateAsync(CookieValidatePrincipalContext context)
    {
        IServiceProvider services = context.HttpContext.RequestServices;
        string claim = services.GetRequiredService<IOptions<IdentityOptions>>().Value.ClaimsIdentity.SecurityStampClaimType;
        string? stamp = null;
        if (Guid.TryParse(context.Principal?.FindFirstValue(ClaimTypes.NameIdentifier), out Guid id))
        {
            stamp = await services.GetRequiredService<HadalDatabase>().Users.Where(person => person.Id == id).Select(person => person.SecurityStamp)
                .SingleOrDefaultAsync(context.HttpContext.RequestAborted);
        }

        if (stamp is not null && string.Equals(stamp, context.Principal!.FindFirstValue(claim), StringComparison.Ordinal)) return;
        context.RejectPrincipal();
        await context.HttpContext.SignOutAsync(IdentityConstants.ApplicationScheme);
    }

    sealed class DatabaseStart(IServiceScopeFactory scopes) : IHostedService
    {
        public async Task StartAsync(CancellationToken cancellationToken)
        {
            using IServiceScope scope = scopes.CreateScope();
            await DatabaseSetup.MigrateAsync(scope.ServiceProvider.GetRequiredService<HadalDatabase>(), cancellationToken);
        }

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}

/// <summary>Marks the endpoints of the pages.</summary>
sealed class ChatEndpoint
{
    public static ChatEndpoint Instance { get; } = new();
}
