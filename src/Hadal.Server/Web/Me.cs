using System.Security.Claims;
using Hadal.Server.Accounts;
using Hadal.Server.Database;
using Microsoft.AspNetCore.Http;
using Microsoft.EntityFrameworkCore;

namespace Hadal.Server.Web;

/// <summary>Who asks.</summary>
static class Me
{
    /// <summary>Null for a stranger.</summary>
    public static Guid? IdOf(HttpContext http) =>
        http.User.Identity is { IsAuthenticated: true } && Guid.TryParse(http.User.FindFirstValue(ClaimTypes.NameIdentifier), out Guid id) ? id : null;

    /// <exception cref="AppException">Status 401: nobody is signed in.</exception>
    public static Guid Require(HttpContext http) => IdOf(http) ?? throw new AppException(StatusCode.Unauthorized, "Your session has ended. Sign in again.");

    /// <exception cref="AppException">Status 401.</exception>
    public static async Task<Person> PersonAsync(HttpContext http, HadalDatabase database)
    {
        Guid id = Require(http);
        return await database.Users.SingleOrDefaultAsync(person => person.Id == id, http.RequestAborted) ?? throw new AppException(StatusCode.Unauthorized, "Your session has ended. Sign in again.");
    }
}
