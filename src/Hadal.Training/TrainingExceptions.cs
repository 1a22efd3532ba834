using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;

namespace Hadal.Training;

/// <summary>Text that cannot be trained on: nothing there, unreadable, or of an unknown kind. The message says what, where and the remedy.</summary>
public sealed class TrainingDataException : Exception
{
    /// <summary>Makes the exception.</summary>
    public TrainingDataException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}

/// <summary>A run configuration that cannot be meant: the message names the key, the value that was given and what is expected.</summary>
public sealed class RunConfigurationException : Exception
{
    /// <summary>Makes the exception.</summary>
    public RunConfigurationException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}

/// <summary>Training state that cannot be used: damaged, of another run, shape or version.</summary>
public sealed class TrainingStateException : Exception
{
    /// <summary>Makes the exception.</summary>
    public TrainingStateException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}

/// <summary>The loss or a gradient is not a number. Thrown before the update, so the weights are those of the last good step.</summary>
public sealed class NonFiniteTrainingException : Exception
{
    /// <summary>Makes the exception.</summary>
    public NonFiniteTrainingException(string message)
        : base(message)
    {
    }
}

[StackTraceHidden]
static class Throw
{
    [DoesNotReturn]
    internal static void Data(string what, string remedy, Exception? inner = null) => throw new TrainingDataException($"{what} {remedy}", inner);

    [DoesNotReturn]
    internal static void Configuration(string key, string given, string expected) =>
        throw new RunConfigurationException($"'{key}' is {given}; expected {expected}.");

    [DoesNotReturn]
    internal static void State(string what, string remedy, Exception? inner = null) => throw new TrainingStateException($"{what} {remedy}", inner);
}
