using System.Security.Cryptography;
using System.Text;
using Hadal.Server.Database;

namespace Hadal.Server.Accounts;

/// <summary>What may be entered. Each rule answers with the sentence that the person reads, or null.</summary>
static class AccountRules
{
    // The passwords that lists of leaked ones begin with, of a length that the rule below would let through.
    static readonly HashSet<string> Common = new(StringComparer.OrdinalIgnoreCase)
    {
        "1234567890", "0123456789", "9876543210", "0987654321", "1q2w3e4r5t", "qwertyuiop", "qwerty12345", "qwerty123456", "password12", "password123", "password1234",
        "passw0rd123", "iloveyou123", "abcdefghij", "abcdefghijk", "abc1234567", "letmein123", "welcome123", "welcome1234", "administrator", "changeme123", "123456789a",
        "a123456789", "12345678910", "123123123123", "111111111111", "1111111111", "0000000000", "asdfghjkl1", "asdfghjkl;", "zxcvbnm123", "1qaz2wsx3edc", "monkey12345",
        "football123", "sunshine123", "princess123", "superman123", "trustno1trustno1", "passwordpassword", "correcthorsebatterystaple",
    };

    public static string Normalize(string? email) => StoredText.Clean(email).Trim().ToLowerInvariant();

    public static string? Email(string email)
    {
        if (email.Length == 0) return "Enter your e-mail address.";
        int at = email.LastIndexOf('@');
        bool fine = email.Length <= AccountLimits.LongestEmail && at > 0 && at <= 64 && at < email.Length - 1 && email.IndexOf('@', StringComparison.Ordinal) == at
            && email.All(c => c is > ' ' and not ('<' or '>' or '(' or ')' or '[' or ']' or '\\' or ',' or ';' or ':' or '"') && !char.IsControl(c) && !char.IsWhiteSpace(c))
            && !email.Contains("..", StringComparison.Ordinal) && email[at + 1] is not ('.' or '-') && email[^1] is not ('.' or '-') && email[0] != '.';
        return fine ? null : "This does not look like an e-mail address.";
    }

    public static string? Name(string name)
    {
        if (name.Length == 0) return "Enter your full name.";
        if (name.Length > AccountLimits.LongestName) return $"A name can have up to {AccountLimits.LongestName} characters.";
        return name.Any(char.IsControl) || name.Contains('<', StringComparison.Ordinal) || name.Contains("://", StringComparison.Ordinal) ? "This does not look like a name." : null;
    }

    public static string? Password(string password, string email)
    {
        if (password.Length < AccountLimits.ShortestPassword) return $"Use at least {AccountLimits.ShortestPassword} characters. A few words are good.";
        if (password.Length > AccountLimits.LongestPassword) return $"A password can have up to {AccountLimits.LongestPassword} characters.";
        if (Common.Contains(password)) return "This password is one of the first that others would try. Choose another one.";
        if (password.Distinct().Take(4).Count() < 4) return "This password has too few different characters.";
        string local = email.Split('@')[0];
        return password.Equals(email, StringComparison.OrdinalIgnoreCase) || (local.Length >= 4 && password.Contains(local, StringComparison.OrdinalIgnoreCase))
            ? "A password must not contain your e-mail address." : null;
    }

    /// <summary>What counts for an address without telling which it was.</summary>
    public static string Key(string purpose, string email) => purpose + ":" + Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(email)).AsSpan(0, 16));
}
