using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace Hadal.Server.Hosting;

/// <summary><c>/health</c>: the process answers. <c>/ready</c>: it takes work; a proxy that asks sends none while the server starts or shuts down.</summary>
static class HealthEndpoints
{
    public static void Map(IEndpointRouteBuilder routes)
    {
        routes.MapGet("/health", () => Results.Text("healthy\n")).WithName("health").AllowAnonymous();
        routes.MapGet("/ready", (ServerState state) => state.IsReady
            ? Results.Text("ready\n")
            : Results.Text(state.IsStopping ? "shutting down\n" : "starting\n", statusCode: StatusCodes.Status503ServiceUnavailable)).WithName("ready").AllowAnonymous();
    }
}
