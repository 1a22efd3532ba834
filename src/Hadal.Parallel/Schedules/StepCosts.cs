namespace Hadal.Parallel.Schedules;

/// <summary>What the steps of one stage cost, in any one unit of time; the same for all stages.</summary>
/// <param name="Forward">F.</param>
/// <param name="BackwardInput">b.</param>
/// <param name="BackwardWeights">W.</param>
/// <param name="Communication">From the end of the step that sends to the arrival at the peer. It takes no time of either rank.</param>
/// <param name="FullBackward">B; b + W when null.</param>
/// <param name="Overlapped">F&amp;B; F + B when null: interleaving hides communication inside the layers, it does not make arithmetic faster.</param>
public sealed record StepCosts(
    double Forward = 1, double BackwardInput = 1, double BackwardWeights = 1, double Communication = 0, double? FullBackward = null, double? Overlapped = null)
{
    /// <summary>F = b = W = 1, B = 2, F&amp;B = 3, communication free: the unit costs of the published formulas.</summary>
    public static StepCosts Unit { get; } = new();

    /// <summary>B.</summary>
    public double Backward => FullBackward ?? BackwardInput + BackwardWeights;

    /// <summary>F&amp;B.</summary>
    public double ForwardBackward => Overlapped ?? Forward + Backward;

    /// <summary>
    /// True where the published bubble bounds the simulated one: W ≤ F ≤ b, B = b + W, a pair no slower than its parts and at most 15 % faster, messages
    /// free. Outside of this region ranks may wait for each other longer (docs/log.md).
    /// </summary>
    public bool FormulaBounds
    {
        get
        {
            double parts = Forward + BackwardInput + BackwardWeights, tolerance = 1e-9 * parts;
            return BackwardWeights <= Forward && Forward <= BackwardInput && Communication == 0 && Math.Abs(Backward - BackwardInput - BackwardWeights) <= tolerance
                && ForwardBackward >= 0.85 * parts - tolerance && ForwardBackward <= parts + tolerance;
        }
    }

    /// <summary>The time of a step on its rank; 0 for sends and receives.</summary>
    public double Of(StepKind kind) => kind switch
    {
        StepKind.Forward => Forward,
        StepKind.Backward => Backward,
        StepKind.BackwardInput => BackwardInput,
        StepKind.BackwardWeights => BackwardWeights,
        StepKind.ForwardBackward => ForwardBackward,
        _ => 0,
    };

    /// <summary>Refuses costs that are not finite or negative, and steps of no time where a bubble would mean nothing.</summary>
    /// <exception cref="ArgumentException">A cost is out of range.</exception>
    public void Validate()
    {
        Positive(Forward, "a forward (F)");
        Positive(BackwardInput, "a backward for the input (b)");
        Positive(BackwardWeights, "a backward for the weights (W)");
        Positive(Backward, "a full backward (B)");
        Positive(ForwardBackward, "an overlapped pair (F&B)");
        if (!(Communication >= 0 && double.IsFinite(Communication)))
            throw new ArgumentException($"A message was given the cost {Communication}; expected 0 or a positive number.");

        static void Positive(double cost, string what)
        {
            if (!(cost > 0 && double.IsFinite(cost))) throw new ArgumentException($"The cost {cost} was given for {what}; expected a positive number.");
        }
    }
}
