using System.Text;
using Hadal.Inference.Serving;
using Hadal.Server.Hosting;
using Hadal.Server.Keys;
using Hadal.Server.Metrics;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Api;

/// <summary>
/// Runs a request on an engine and sends its answer, as events or whole. While nothing can be said yet a sign of life is sent from time to time: a comment in a stream,
/// a line feed before a whole answer (JSON may begin with white space). A client that leaves gives the request up.
/// </summary>
sealed partial class GenerationRunner(ServerOptions options, ApiKeyService keys, KeyLimiter limiter, ServerMetrics metrics, ILogger<GenerationRunner> log)
{
    static readonly byte[] DataBegin = "data: "u8.ToArray(), DataEnd = "\n\n"u8.ToArray(), Done = "data: [DONE]\n\n"u8.ToArray(), LineFeed = "\n"u8.ToArray();

    /// <summary>Answers.</summary>
    /// <exception cref="ApiException">The request was refused before anything was sent.</exception>
    public async Task RunAsync(HttpContext context, AnswerWriter writer, GenerationRequest request)
    {
        ApiCaller caller = context.Features.GetRequiredFeature<ApiCaller>();
        using KeyLimiter.Reservation aside = limiter.Reserve(caller, Math.Min(request.Prompt.Length + (long)request.MaxNewTokens, writer.Entry.Model.MaxPositions));
        bool streams = writer.Sampling.Stream;
        int generated = 0;
        bool began = false;
        using var giveUp = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted);
        using GenerationMeasurement measurement = metrics.Begin(writer.Entry.Name, request.Prompt.Length);
        IAsyncEnumerator<GenerationEvent> events = writer.Entry.Engine.GenerateAsync(request with { Owner = caller.Owner }, giveUp.Token).GetAsyncEnumerator(giveUp.Token);
        Task<bool>? waiting = null;
        try
        {
            DateTimeOffset asked = options.Time.GetUtcNow();
            Task? pause = null;
            int place = 0;
            while (true)
            {
                ValueTask<bool> next = events.MoveNextAsync();
                if (!next.IsCompleted)
                {
                    waiting = next.AsTask();
                    while (!waiting.IsCompleted)
                    {
                        pause ??= Task.Delay(options.Limits.KeepAlive, options.Time, giveUp.Token);
                        if (await Task.WhenAny(waiting, pause) == waiting) break;
                        pause = null;
                        if (!began && options.Time.GetUtcNow() - asked > options.Limits.QueueTime)
                        {
                            throw new ApiException(ApiError.Unavailable(
                                $"The request waited {options.Limits.QueueTime.TotalMinutes:0} minutes in line and was given up; expected to be served sooner. Try again later.", TimeSpan.FromMinutes(1)));
                        }

                        await SignOfLifeAsync(context, streams, place);
                    }

                    next = new ValueTask<bool>(waiting);
                }

                if (!await next) break;
                switch (events.Current)
                {
                    case RequestQueued queued:
                        place = queued.PlaceInLine;
                        break;
                    case RequestStarted started:
                        began = true;
                        place = 0;
                        measurement.Started(started.CachedTokens);
                        if (!context.Response.HasStarted) BeginResponse(context, streams);
                        foreach (ReadOnlyMemory<byte> chunk in writer.Begin()) await SendAsync(context, streams, chunk);
                        break;
                    case TokensGenerated tokens:
                        generated += tokens.Tokens.Count;
                        measurement.Generated(tokens.Tokens.Count);
                        foreach (ReadOnlyMemory<byte> chunk in writer.Append(tokens)) await SendAsync(context, streams, chunk);
                        break;
                    case RequestFinished finished:
                        generated = finished.Usage.GeneratedTokens;
                        foreach (ReadOnlyMemory<byte> chunk in writer.End(finished)) await SendAsync(context, streams, chunk);
                        if (streams) await context.Response.Body.WriteAsync(Done, context.RequestAborted);
                        measurement.Finished(finished.Reason.ToString());
                        break;
                }
            }
        }
        catch (Exception exception) when (context.Response.HasStarted && !context.RequestAborted.IsCancellationRequested)
        {
            // The status was sent already: a stream tells of the error in an event, a whole answer becomes one.
            ApiError error = ApiErrorMiddleware.Describe(exception);
            if (error.Status >= 500) Failed(log, exception);
            await SendAsync(context, streams, error.ToJson());
        }
        finally
        {
            await giveUp.CancelAsync();

            // Events cannot be let go of while one is awaited: whoever writes them would not learn of it.
            if (waiting is not null) await ((Task)waiting).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await events.DisposeAsync();
            if (began)
            {
                aside.End(request.Prompt.Length + (long)generated);
                try
                {
                    await keys.RecordAsync(caller, request.Prompt.Length + (long)generated, CancellationToken.None);
                }
                catch (Exception exception)
                {
                    NotCounted(log, exception); // the answer was sent; a database that is away must not take it back
                }
            }
        }
    }

    static void BeginResponse(HttpContext context, bool streams)
    {
        HttpResponse response = context.Response;
        response.ContentType = streams ? "text/event-stream; charset=utf-8" : "application/json; charset=utf-8";
        response.Headers.CacheControl = "no-cache";
        if (streams) response.Headers["X-Accel-Buffering"] = "no"; // a proxy must not collect the events
    }

    static async Task SendAsync(HttpContext context, bool streams, ReadOnlyMemory<byte> json)
    {
        if (!context.Response.HasStarted) BeginResponse(context, streams);
        System.IO.Pipelines.PipeWriter body = context.Response.BodyWriter;
        if (streams) Put(body, DataBegin);
        Put(body, json.Span);
        if (streams) Put(body, DataEnd);
        await body.FlushAsync(context.RequestAborted);

        static void Put(System.IO.Pipelines.PipeWriter body, ReadOnlySpan<byte> bytes)
        {
            bytes.CopyTo(body.GetSpan(bytes.Length));
            body.Advance(bytes.Length);
        }
    }

    static async Task SignOfLifeAsync(HttpContext context, bool streams, int place)
    {
        if (!context.Response.HasStarted) BeginResponse(context, streams);
        byte[] sign = streams ? Encoding.UTF8.GetBytes(place > 0 ? $": keep-alive, place {place} in line\n\n" : ": keep-alive\n\n") : LineFeed;
        await context.Response.Body.WriteAsync(sign, context.RequestAborted);
        await context.Response.Body.FlushAsync(context.RequestAborted);
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "The tokens of an answer could not be counted in the database")]
    private static partial void NotCounted(ILogger log, Exception exception);

    [LoggerMessage(Level = LogLevel.Error, Message = "An answer ended with an error")]
    private static partial void Failed(ILogger log, Exception exception);
}
