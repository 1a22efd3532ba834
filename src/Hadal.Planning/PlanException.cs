namespace Hadal.Planning;

/// <summary>A plan cannot be made of what was given; the message says what it was, what was expected and where.</summary>
public sealed class PlanException : Exception
{
    /// <summary>With its message.</summary>
    public PlanException(string message)
        : base(message)
    {
    }

    /// <summary>With its message and cause.</summary>
    public PlanException(string message, Exception inner)
        : base(message, inner)
    {
    }

    /// <summary>Without a message.</summary>
    public PlanException()
    {
    }
}
