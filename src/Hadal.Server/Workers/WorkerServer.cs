using System.Security.Cryptography;
using System.Text;
using Hadal.Server.Hosting;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Hadal.Server.Workers;

/// <summary>Composes the server of a prefill or decode worker: gRPC over HTTP/2, and nothing else.</summary>
public static class WorkerServer
{
    internal const string KeyHeader = "hadal-worker-key";

    /// <summary>Builds a server that does not listen yet: start it with <c>StartAsync</c>, end it with <c>StopAsync</c>, which finishes what is being computed.</summary>
    /// <exception cref="ArgumentException">An option is impossible.</exception>
    public static WebApplication Build(WorkerOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions
        {
            ApplicationName = typeof(WorkerServer).Assembly.GetName().Name,
            EnvironmentName = Environments.Production,
        });
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.ConfigureEndpointDefaults(listen => listen.Protocols = HttpProtocols.Http2);
            kestrel.Limits.Http2.MaxStreamsPerConnection = 4096;
            kestrel.Limits.Http2.InitialConnectionWindowSize = 16 << 20; // pages are large, loopback is fast
            kestrel.Limits.Http2.InitialStreamWindowSize = 4 << 20;
        });
        Action started = ServerLog.Configure(builder.Logging, options.Logging);
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = options.ShutdownGrace);
        builder.Services.AddSingleton(options);
        builder.Services.AddSingleton(_ => new EngineOwner(options.Engine));
        builder.Services.AddRouting();
        builder.Services.AddGrpc(grpc =>
        {
            grpc.MaxReceiveMessageSize = 4 * WireForm.PartBytes;
            grpc.MaxSendMessageSize = 4 * WireForm.PartBytes;
        });
        WebApplication app = builder.Build();
        app.Lifetime.ApplicationStarted.Register(started);
        foreach (string url in options.Urls) app.Urls.Add(url);
        _ = app.Services.GetRequiredService<EngineOwner>(); // made now, so that it is disposed with the server
        if (options.Key is string key) app.Use((context, next) => RequireKey(context, next, SHA256.HashData(Encoding.UTF8.GetBytes(key))));
        app.MapGrpcService<WorkerService>();
        return app;
    }

    // Hashes are compared, so that the time tells nothing of the length either.
    static Task RequireKey(HttpContext context, RequestDelegate next, byte[] expected)
    {
        byte[] given = SHA256.HashData(Encoding.UTF8.GetBytes(context.Request.Headers[KeyHeader].ToString()));
        if (CryptographicOperations.FixedTimeEquals(given, expected)) return next(context);
        context.Response.StatusCode = StatusCodes.Status401Unauthorized;
        return Task.CompletedTask;
    }
}
