using System.Diagnostics;
using Hadal.Inference.Serving;
using Hadal.Server.Accounts;
using Hadal.Server.Conversations;
using Hadal.Server.Database;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.EntityFrameworkCore;

namespace Hadal.Server.Web;

/// <summary>What the operator's page shows: sums and loads, never what people write.</summary>
static class OperatorEndpoints
{
    public static void Map(RouteGroupBuilder app) => app.MapGet("/operator", ShowAsync).WithMetadata(new RouteCost(4));

    static async Task<IResult> ShowAsync(HttpContext http, HadalDatabase database, ChatEngines engines, AnswerService answers, MailPump pump)
    {
        Person me = await Me.PersonAsync(http, database);
        if (!me.IsOperator) throw AppException.NotFound("page");
        var process = Process.GetCurrentProcess();
        IInferenceEngine[] all = engines.Plain == engines.Thinking ? [engines.Plain] : [engines.Plain, engines.Thinking];
        return Results.Ok(new
        {
            Started = new DateTimeOffset(process.StartTime),
            Memory = Environment.WorkingSet,
            People = await database.Users.CountAsync(http.RequestAborted),
            Conversations = await database.Conversations.CountAsync(http.RequestAborted),
            Messages = await database.Messages.CountAsync(http.RequestAborted),
            Answers = answers.Running,
            MailWaiting = await database.OutgoingMails.CountAsync(http.RequestAborted),
            MailFailing = pump.IsFailing,
            Engines = all.Select(engine => new { engine.Model.Name, engine.Model.Fingerprint, engine.Model.MaxPositions, engine.Statistics }),
        });
    }
}
