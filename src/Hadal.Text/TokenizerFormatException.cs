namespace Hadal.Text;

/// <summary>
/// A <c>tokenizer.json</c> that cannot be used: damaged, inconsistent, or describing a pipeline that this library does not implement.
/// The message says where in the file, what was found and what to do about it.
/// </summary>
public sealed class TokenizerFormatException : Exception
{
    /// <summary>Makes an exception without details; the other constructors say more.</summary>
    public TokenizerFormatException() : base("The tokenizer file cannot be used.") { }

    /// <summary>Makes an exception with a complete message.</summary>
    public TokenizerFormatException(string message) : base(message) { }

    /// <summary>Makes an exception with a complete message and its cause.</summary>
    public TokenizerFormatException(string message, Exception innerException) : base(message, innerException) { }

    /// <summary>Makes an exception from its three parts.</summary>
    /// <param name="where">The place in the file, as a path of JSON keys (<c>model.merges[17]</c>).</param>
    /// <param name="what">What was found there and what was expected.</param>
    /// <param name="remedy">What the reader of the message can do.</param>
    internal TokenizerFormatException(string where, string what, string remedy) : base($"{where}: {what} {remedy}") { }
}
