using System.Text;
using System.Text.Json;
using Hadal.Server.Conversations;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace Hadal.Server.Web;

/// <summary>Conversations over HTTP. Every one of these asks who is there first, and finds only what is theirs.</summary>
static class ConversationEndpoints
{
    static readonly TimeSpan KeepAlive = TimeSpan.FromSeconds(15);

    public static void Map(RouteGroupBuilder app)
    {
        RouteGroupBuilder group = app.MapGroup("/conversations").WithMetadata(new BodyLimit(BodyLimit.Message));
        group.MapGet("", async (HttpContext http, ConversationService service, string? search, long? before) =>
            Results.Ok(await service.ListAsync(Me.Require(http), search, before, http.RequestAborted))).WithMetadata(new RouteCost(8));
        group.MapPost("", async (HttpContext http, ConversationService service, Said said) =>
            Results.Ok(await service.SendAsync(Me.Require(http), null, null, said.Text, said.DeepThink, http.RequestAborted)));
        group.MapDelete("", async (HttpContext http, ConversationService service) =>
        {
            await service.DeleteAllAsync(Me.Require(http), http.RequestAborted);
            return Results.NoContent();
        });
        group.MapGet("/{id:guid}", async (HttpContext http, ConversationService service, Guid id) => Results.Ok(await service.GetAsync(Me.Require(http), id, http.RequestAborted)));
        group.MapPatch("/{id:guid}", async (HttpContext http, ConversationService service, Guid id, Renamed renamed) =>
        {
            await service.RenameAsync(Me.Require(http), id, renamed.Title, http.RequestAborted);
            return Results.NoContent();
        });
        group.MapDelete("/{id:guid}", async (HttpContext http, ConversationService service, Guid id) =>
        {
            await service.DeleteAsync(Me.Require(http), id, http.RequestAborted);
            return Results.NoContent();
        });
        group.MapPost("/{id:guid}/messages", async (HttpContext http, ConversationService service, Guid id, Said said) =>
            Results.Ok(await service.SendAsync(Me.Require(http), id, said.ParentId, said.Text, said.DeepThink, http.RequestAborted)));
        group.MapPost("/{id:guid}/messages/{message:guid}/edit", async (HttpContext http, ConversationService service, Guid id, Guid message, Said said) =>
            Results.Ok(await service.EditAsync(Me.Require(http), id, message, said.Text, said.DeepThink, http.RequestAborted)));
        group.MapPost("/{id:guid}/messages/{message:guid}/regenerate", async (HttpContext http, ConversationService service, Guid id, Guid message, Said said) =>
            Results.Ok(await service.RegenerateAsync(Me.Require(http), id, message, said.DeepThink, http.RequestAborted)));
        group.MapPost("/{id:guid}/messages/{message:guid}/stop", async (HttpContext http, ConversationService service, Guid id, Guid message) =>
        {
            await service.StopAsync(Me.Require(http), id, message, http.RequestAborted);
            return Results.NoContent();
        });
        group.MapPut("/{id:guid}/leaf", async (HttpContext http, ConversationService service, Guid id, Selected selected) =>
            Results.Ok(await service.SelectAsync(Me.Require(http), id, selected.MessageId, http.RequestAborted)));
        group.MapGet("/{id:guid}/messages/{message:guid}/events", EventsAsync);
        group.MapGet("/{id:guid}/export", ExportAsync).WithMetadata(new RouteCost(8));
    }

    static async Task<IResult> ExportAsync(HttpContext http, ConversationService service, Guid id, string? format)
    {
        ConversationView conversation = await service.GetAsync(Me.Require(http), id, http.RequestAborted);
        return format switch
        {
            "markdown" => Results.File(Encoding.UTF8.GetBytes(Export.Markdown(conversation)), "text/markdown; charset=utf-8", Export.FileName(conversation, "md")),
            null or "json" => Results.File(JsonSerializer.SerializeToUtf8Bytes(conversation, AppJson.Indented), "application/json", Export.FileName(conversation, "json")),
            _ => throw new AppException(StatusCode.BadRequest, $"There is no format \"{format}\"; expected json or markdown.", "format"),
        };
    }

    // Server-sent events from a number on. The number of the next one goes with each, so that whoever lost the line asks for the rest only.
    static async Task<IResult> EventsAsync(HttpContext http, ConversationService service, AnswerService answers, Guid id, Guid message, int? from)
    {
        Guid me = Me.Require(http);
        MessageView kept = await service.MessageAsync(me, id, message, http.RequestAborted);
        using IDisposable reading = answers.EnterReading(me);
        http.Response.ContentType = "text/event-stream";
        http.Response.Headers["X-Accel-Buffering"] = "no"; // a proxy must not hold events back
        CancellationToken gone = http.RequestAborted;
        if (answers.Find(message) is not { } answer)
        {
            // Read again: it may have ended between the two look-ups.
            kept = await service.MessageAsync(me, id, message, gone);
            await SendAsync(http, 0, new AnswerEvent(AnswerEventKind.Done, Message: kept));
            return Results.Empty;
        }

        await using IAsyncEnumerator<(int Next, AnswerEvent Happened)> events = answer.ReadAsync(from ?? 0, gone).GetAsyncEnumerator(gone);
        while (true)
        {
            Task<bool> more = events.MoveNextAsync().AsTask();
            while (!more.IsCompleted)
            {
                using var pause = CancellationTokenSource.CreateLinkedTokenSource(gone);
                if (await Task.WhenAny(more, Task.Delay(KeepAlive, pause.Token)) == more)
                {
                    await pause.CancelAsync();
                    break;
                }

                gone.ThrowIfCancellationRequested();
                await http.Response.WriteAsync(": still here\n\n", gone);
                await http.Response.Body.FlushAsync(gone);
            }

            if (!await more) return Results.Empty;
            await SendAsync(http, events.Current.Next, events.Current.Happened);
        }
    }

    static async Task SendAsync(HttpContext http, int next, AnswerEvent happened)
    {
        string data = JsonSerializer.Serialize(happened, AppJson.Compact);
        await http.Response.WriteAsync($"id: {next}\ndata: {data}\n\n", http.RequestAborted);
        await http.Response.Body.FlushAsync(http.RequestAborted);
    }

    sealed record Said(string? Text, bool DeepThink, Guid? ParentId);

    sealed record Renamed(string? Title);

    sealed record Selected(Guid MessageId);
}

/// <summary>JSON as the pages read it.</summary>
static class AppJson
{
    public static JsonSerializerOptions Compact { get; } = new(JsonSerializerDefaults.Web) { DefaultIgnoreCondition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingNull, Converters = { new System.Text.Json.Serialization.JsonStringEnumConverter(JsonNamingPolicy.CamelCase) } };

    public static JsonSerializerOptions Indented { get; } = new(JsonSerializerDefaults.Web) { WriteIndented = true, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
}
