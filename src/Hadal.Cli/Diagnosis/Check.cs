namespace Hadal.Cli.Diagnosis;

/// <summary>How a check of <c>hadal doctor</c> ended.</summary>
enum CheckState
{
    /// <summary>A fact, neither good nor bad.</summary>
    Note,

    /// <summary>It holds.</summary>
    Good,

    /// <summary>It works, but slower or with less than it could.</summary>
    Warning,

    /// <summary>It does not work.</summary>
    Bad,
}

/// <summary>One line of <c>hadal doctor</c>.</summary>
/// <param name="Name">What was looked at; stable, a program may look for it.</param>
/// <param name="State">How it ended.</param>
/// <param name="Detail">What was found and, when it is not good, what to do.</param>
sealed record Check(string Name, CheckState State, string Detail);
