using Hadal.Server.Api;
using Hadal.Server.Api.Description;
using Hadal.Server.Conversations;
using Hadal.Server.Keys;
using Hadal.Server.Metrics;
using Hadal.Server.Web;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.HttpOverrides;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Hadal.Server.Hosting;

/// <summary>Composes the server from its rooms. Nothing is read from files or variables beside what <see cref="ServerOptions"/> says.</summary>
public static class HadalServer
{
    /// <summary>Builds a server that does not listen yet: start it with <c>StartAsync</c>, end it with <c>StopAsync</c>, which finishes the answers being written.</summary>
    /// <param name="options">What is served, where, and how strictly.</param>
    /// <exception cref="ArgumentException">An option is impossible.</exception>
    public static WebApplication Build(ServerOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        Directory.CreateDirectory(options.Home);
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions
        {
            ApplicationName = typeof(HadalServer).Assembly.GetName().Name,
            ContentRootPath = options.Home,
            EnvironmentName = Environments.Production,
        });
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel => Limit(kestrel, options.Limits));
        Action started = ServerLog.Configure(builder.Logging, options.Logging);
        Telemetry.Configure(builder.Configuration);
        AddServices(builder.Services, options);
        WebApplication app = builder.Build();
        app.Lifetime.ApplicationStarted.Register(started);
        foreach (string url in options.Urls) app.Urls.Add(url);
        Map(app, options);
        return app;
    }

    // Rooms, in the order in which they depend on each other.
    static void AddServices(IServiceCollection services, ServerOptions options)
    {
        services.AddSingleton(options);
        services.AddSingleton(options.Time);
        services.AddSingleton<ServerState>();
        services.AddSingleton(_ => new EngineOwner(options.Plain, options.Thinking));
        services.Configure<HostOptions>(host => host.ShutdownTimeout = options.Limits.ShutdownGrace);
        services.AddRouting();
        services.AddAuthorization();
        KeyServices.Add(services, options);
        ApiEndpoints.AddServices(services);
        Telemetry.AddServices(services);
        services.AddSingleton(new ChatEngines(options.Plain, options.Thinking));
        ChatApplication.AddServices(services, new ChatOptions { Home = options.Home, DatabaseConnection = options.Database, Mail = options.Mail, AddressLimits = options.AddressLimits });
    }

    static void Map(WebApplication app, ServerOptions options)
    {
        _ = app.Services.GetRequiredService<EngineOwner>(); // made now, so that it is disposed with the server

        // A proxy on this machine says for whom it asks, and whether over TLS; nobody else is believed.
        app.UseForwardedHeaders(new ForwardedHeadersOptions { ForwardedHeaders = ForwardedHeaders.XForwardedFor | ForwardedHeaders.XForwardedProto });
        app.UseRouting();
        app.UseMiddleware<ApiErrorMiddleware>();
        ChatApplication.Use(app);
        app.UseAuthorization();
        app.UseMiddleware<ApiGateMiddleware>();
        HealthEndpoints.Map(app);
        ApiEndpoints.Map(app);
        DescriptionEndpoints.Map(app);
        Telemetry.Map(app);
        ChatApplication.Map(app);
    }

    static void Limit(KestrelServerOptions kestrel, ServerLimits limits)
    {
        kestrel.AddServerHeader = false;
        KestrelServerLimits to = kestrel.Limits;
        to.MaxRequestBodySize = limits.BodyBytes;
        to.MaxRequestHeadersTotalSize = limits.HeaderBytes;
        to.MaxRequestHeaderCount = limits.Headers;
        to.RequestHeadersTimeout = limits.HeaderTime;
        to.MinRequestBodyDataRate = new MinDataRate(limits.BytesPerSecond, limits.RateGrace);
        to.MinResponseDataRate = new MinDataRate(limits.BytesPerSecond, limits.RateGrace);
        to.KeepAliveTimeout = limits.IdleConnection;
        to.MaxConcurrentConnections = limits.Connections;
    }
}
