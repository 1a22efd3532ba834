namespace Hadal.Training.Optimization;

/// <summary>
/// Learning rate over a run [V3 §4.2]: linear warm-up, constant, cosine decay, constant, and a last constant stretch. The report counts tokens of 14.8T:
/// constant to 10T, cosine to a tenth until 14.3T, a tenth until 14.633T, 7.3e-6 to the end. Here the same shape is given as fractions of the steps,
/// so that it fits a run of any length.
/// </summary>
public sealed record LearningRateSchedule
{
    /// <summary>Rate after warm-up. Report: 2.2e-4.</summary>
    public double Peak { get; init; } = 2.2e-4;

    /// <summary>Steps of linear warm-up from 0. Report: 2000. At most half of a run's steps are used.</summary>
    public int WarmupSteps { get; init; } = 2000;

    /// <summary>Fraction of the run where the cosine begins. Report: 10/14.8.</summary>
    public double ConstantUntil { get; init; } = 10 / 14.8;

    /// <summary>Fraction of the run where the cosine ends. Report: 14.3/14.8.</summary>
    public double CosineUntil { get; init; } = 14.3 / 14.8;

    /// <summary>Fraction of the run where the last stretch begins. Report: 14.633/14.8.</summary>
    public double DecayedUntil { get; init; } = 14.633 / 14.8;

    /// <summary>Rate after the cosine, as a factor of the peak. Report: 0.1.</summary>
    public double DecayedFactor { get; init; } = 0.1;

    /// <summary>Rate of the last stretch, as a factor of the peak. Report: 7.3e-6/2.2e-4.</summary>
    public double FinalFactor { get; init; } = 7.3e-6 / 2.2e-4;

    /// <summary>The rate of one step.</summary>
    /// <param name="step">From 1.</param>
    /// <param name="steps">Steps of the whole run.</param>
    public double At(long step, long steps)
    {
        long warmup = WarmupOf(steps);
        if (step < warmup) return Peak * step / warmup;
        double progress = (double)(step - 1) / steps;
        if (progress < ConstantUntil) return Peak;
        if (progress < CosineUntil)
        {
            double part = (progress - ConstantUntil) / (CosineUntil - ConstantUntil);
            return Peak * (DecayedFactor + ((1 - DecayedFactor) * 0.5 * (1 + Math.Cos(Math.PI * part))));
        }

        return Peak * (progress < DecayedUntil ? DecayedFactor : FinalFactor);
    }

    /// <summary>Warm-up steps of a run of <paramref name="steps"/> steps: never more than half of it.</summary>
    public long WarmupOf(long steps) => Math.Min(WarmupSteps, steps / 2);
}

/// <summary>A value that changes once during a run: λ of the MTP loss (0.3 → 0.1 at 10T), speed of the expert bias (0.001 → 0 at 14.3T) [V3 §4.2].</summary>
/// <param name="Early">Value before the change.</param>
/// <param name="Late">Value from the change on.</param>
/// <param name="Until">Fraction of the run at which it changes.</param>
public sealed record StepSchedule(double Early, double Late, double Until)
{
    /// <summary>The value of one step.</summary>
    /// <param name="step">From 1.</param>
    /// <param name="steps">Steps of the whole run.</param>
    public double At(long step, long steps) => (double)(step - 1) / steps < Until ? Early : Late;
}

/// <summary>
/// Micro-batches per step: from <paramref name="First"/> to <paramref name="Full"/> over the first <paramref name="RampUntil"/> of the run, in equal
/// steps of one [V3 §4.2: 3072 → 15360 sequences over the first 469B of 14.8T tokens, "gradually"].
/// </summary>
/// <param name="First">Micro-batches of the first step.</param>
/// <param name="Full">Micro-batches after the ramp.</param>
/// <param name="RampUntil">Fraction of the steps at which the ramp ends; 0 for none.</param>
[System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Auto)]
public readonly record struct BatchSchedule(int First, int Full, double RampUntil)
{
    /// <summary>Micro-batches of one step.</summary>
    /// <param name="step">From 1.</param>
    /// <param name="steps">Steps of the whole run.</param>
    public int At(long step, long steps)
    {
        double progress = (double)(step - 1) / steps;
        if (RampUntil <= 0 || progress >= RampUntil) return Full;
        return First + (int)((Full - First + 1) * (progress / RampUntil));
    }

    /// <summary>Micro-batches of the steps 1 to <paramref name="step"/> together.</summary>
    public long Through(long step, long steps)
    {
        long total = 0;
        for (long s = 1; s <= step; s++)
        {
            if (RampUntil <= 0 || (double)(s - 1) / steps >= RampUntil) return total + ((step - s + 1) * Full);
            total += At(s, steps);
        }

        return total;
    }
}
