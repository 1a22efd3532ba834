using System.Text.Json;
using Hadal.Server.Accounts;
using Hadal.Server.Conversations;
using Hadal.Server.Database;
using Microsoft.AspNetCore.Antiforgery;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Identity;
using Microsoft.AspNetCore.Routing;

namespace Hadal.Server.Web;

/// <summary>Accounts over HTTP.</summary>
static class AccountEndpoints
{
    public static void Map(RouteGroupBuilder app)
    {
        app.MapGet("/session", async (HttpContext http, Session session) => Results.Ok(await session.DescribeAsync(http)));
        RouteGroupBuilder group = app.MapGroup("/accounts").WithMetadata(new BodyLimit(BodyLimit.Form));
        group.MapPost("/sign-up", async (HttpContext http, AccountService accounts, MailPump pump, Entered entered) =>
            Results.Ok(new { Ticket = await accounts.SignUpAsync(entered.Email!, entered.FullName!, entered.Password!, http.Connection.RemoteIpAddress, http.RequestAborted), MailDelayed = pump.IsFailing }));
        group.MapPost("/verify", async (HttpContext http, AccountService accounts, Session session, Entered entered) =>
            Results.Ok(await session.BeginAsync(http, await accounts.VerifyAsync(entered.Ticket, entered.Code!, http.Connection.RemoteIpAddress, http.RequestAborted))));
        group.MapPost("/resend", async (HttpContext http, AccountService accounts, MailPump pump, Entered entered) =>
        {
            await accounts.ResendAsync(entered.Ticket, http.Connection.RemoteIpAddress, http.RequestAborted);
            return Results.Ok(new { MailDelayed = pump.IsFailing });
        });
        group.MapPost("/sign-in", async (HttpContext http, AccountService accounts, Session session, Entered entered) =>
            Results.Ok(await session.BeginAsync(http, await accounts.SignInAsync(entered.Email!, entered.Password!, http.Connection.RemoteIpAddress, http.RequestAborted))));
        group.MapPost("/sign-out", async (HttpContext http, Session session) => Results.Ok(await session.EndAsync(http)));
        group.MapPost("/reset", async (HttpContext http, AccountService accounts, MailPump pump, Entered entered) =>
            Results.Ok(new { Ticket = await accounts.ResetAsync(entered.Email!, http.Connection.RemoteIpAddress, http.RequestAborted), MailDelayed = pump.IsFailing }));
        group.MapPost("/reset/confirm", async (HttpContext http, AccountService accounts, Session session, Entered entered) =>
            Results.Ok(await session.BeginAsync(http, await accounts.ConfirmResetAsync(entered.Ticket, entered.Code!, entered.Password!, http.Connection.RemoteIpAddress, http.RequestAborted))));
        group.MapPost("/sign-out-everywhere", async (HttpContext http, AccountService accounts, HadalDatabase database, Session session) =>
        {
            await accounts.SignOutEverywhereAsync(await Me.PersonAsync(http, database));
            return Results.Ok(await session.EndAsync(http));
        });
        group.MapPost("/password", async (HttpContext http, AccountService accounts, HadalDatabase database, Session session, Entered entered) =>
        {
            Person me = await Me.PersonAsync(http, database);
            await accounts.ChangePasswordAsync(me, entered.Current!, entered.Password!, http.RequestAborted);
            return Results.Ok(await session.BeginAsync(http, me));
        }).WithMetadata(new RouteCost(40));
        group.MapPost("/name", async (HttpContext http, AccountService accounts, HadalDatabase database, Session session, Entered entered) =>
        {
            await accounts.RenameAsync(await Me.PersonAsync(http, database), entered.FullName!);
            return Results.Ok(await session.DescribeAsync(http));
        });
        group.MapPost("/delete", async (HttpContext http, AccountService accounts, AnswerService answers, HadalDatabase database, Session session, Entered entered) =>
        {
            Person me = await Me.PersonAsync(http, database);
            await accounts.DeleteAsync(me, entered.Password!, http.RequestAborted);
            answers.StopAll(answer => answer.PersonId == me.Id);
            return Results.Ok(await session.EndAsync(http));
        }).WithMetadata(new RouteCost(40));
        group.MapGet("/export", async (HttpContext http, HadalDatabase database, ConversationService conversations) =>
        {
            Person me = await Me.PersonAsync(http, database);
            var all = new { me.Email, me.FullName, me.Created, Conversations = await conversations.ExportAllAsync(me.Id, http.RequestAborted) };
            return Results.File(JsonSerializer.SerializeToUtf8Bytes(all, AppJson.Indented), "application/json", "hadal-account.json");
        }).WithMetadata(new RouteCost(240));
    }

    sealed record Entered(string? Email, string? FullName, string? Password, string? Current, string? Code, Guid Ticket);
}

/// <summary>Who is signed in, and what their page needs to know.</summary>
sealed class Session(HadalDatabase database, IUserClaimsPrincipalFactory<Person> principals, IAntiforgery antiforgery, Registration registration, ChatEngines engines)
{
    /// <summary>Signs a person in.</summary>
    public async Task<object> BeginAsync(HttpContext http, Person person)
    {
        // The token belongs to the new identity, so the request goes on as that one.
        http.User = await principals.CreateAsync(person);
        await http.SignInAsync(IdentityConstants.ApplicationScheme, http.User, new AuthenticationProperties { IsPersistent = true });
        return await DescribeAsync(http);
    }

    /// <summary>Signs out here.</summary>
    public async Task<object> EndAsync(HttpContext http)
    {
        await http.SignOutAsync(IdentityConstants.ApplicationScheme);
        http.User = new System.Security.Claims.ClaimsPrincipal(new System.Security.Claims.ClaimsIdentity());
        return await DescribeAsync(http);
    }

    public async Task<object> DescribeAsync(HttpContext http)
    {
        Person? me = Me.IdOf(http) is null ? null : await Me.PersonAsync(http, database);
        return new
        {
            Token = antiforgery.GetAndStoreTokens(http).RequestToken,
            Person = me is null ? null : new { me.Email, me.FullName, me.IsOperator, me.Created },
            Registration = new { registration.Refusal, registration.UsesOutbox },
            Model = new { Plain = engines.Plain.Model.Name, Thinking = engines.Thinking.Model.Name },
            Limits = new { Text = ConversationLimits.LongestText, Password = AccountLimits.ShortestPassword },
        };
    }
}
