using System.Runtime.InteropServices;

namespace Hadal.Training.State;

/// <summary>Where a run stands: with the tensors of its state, all that the next step depends on.</summary>
[StructLayout(LayoutKind.Auto)]
public readonly record struct TrainingPosition
{
    /// <summary>Steps made.</summary>
    public long Step { get; init; }

    /// <summary>Steps of the whole run; 0 while a budget in minutes is still being measured.</summary>
    public long Steps { get; init; }

    /// <summary>Global index of the next micro-batch: the place in the data.</summary>
    public long NextMicroBatch { get; init; }

    /// <summary>Tokens consumed.</summary>
    public long Tokens { get; init; }

    /// <summary>Updates of the weight average.</summary>
    public long AverageUpdates { get; init; }

    /// <summary>Seconds of training so far, over all processes.</summary>
    public double Seconds { get; init; }
}
