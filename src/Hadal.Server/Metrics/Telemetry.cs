using System.Collections;
using Hadal.Server.Api;
using Hadal.Server.Keys;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using OpenTelemetry.Metrics;
using OpenTelemetry.Trace;

namespace Hadal.Server.Metrics;

/// <summary>OpenTelemetry: <c>/metrics</c> for Prometheus, which asks for a key of the host; metrics and traces to a collector when OTEL_EXPORTER_OTLP_ENDPOINT names one.</summary>
static class Telemetry
{
    const string Prefix = "OTEL_";

    /// <summary>Adds the variables that OpenTelemetry names (address, protocol, headers, intervals); the exporters look for them in the server's configuration, which holds nothing else.</summary>
    public static void Configure(IConfigurationBuilder configuration) => configuration.AddInMemoryCollection(Environment.GetEnvironmentVariables().Cast<DictionaryEntry>()
        .Where(variable => ((string)variable.Key).StartsWith(Prefix, StringComparison.Ordinal)).Select(variable => KeyValuePair.Create((string)variable.Key, (string?)variable.Value)));

    public static void AddServices(IServiceCollection services)
    {
        services.AddSingleton<ServerMetrics>();
        bool exports = !string.IsNullOrEmpty(Environment.GetEnvironmentVariable("OTEL_EXPORTER_OTLP_ENDPOINT"));
        services.AddOpenTelemetry()
            .WithMetrics(metrics =>
            {
                metrics.AddMeter(ServerMetrics.Name).AddAspNetCoreInstrumentation().AddPrometheusExporter();
                if (exports) metrics.AddOtlpExporter();
            })
            .WithTracing(traces =>
            {
                traces.AddSource(ServerMetrics.Name).AddAspNetCoreInstrumentation();
                if (exports) traces.AddOtlpExporter();
            });
    }

    public static void Map(IEndpointRouteBuilder routes)
    {
        _ = routes.ServiceProvider.GetRequiredService<ServerMetrics>();
        routes.MapPrometheusScrapingEndpoint("/metrics").RequireAuthorization(ApiKeyAuthentication.SchemeName, ApiKeyAuthentication.HostPolicy).WithMetadata(ApiEndpoint.Instance);
    }
}
