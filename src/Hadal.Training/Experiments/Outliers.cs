using Hadal.Model;
using Hadal.Tensors;

namespace Hadal.Training.Experiments;

/// <summary>Which activations are made large, and when.</summary>
/// <param name="Channel">Channel of the residual stream.</param>
/// <param name="Exponent">It becomes 2^exponent times as large.</param>
/// <param name="Period">In every so many steps; 0 for always.</param>
public sealed record OutlierSchedule(int Channel, int Exponent, int Period)
{
    /// <summary>Whether step <paramref name="step"/> (from 1) has outliers; step 0 stands for evaluation.</summary>
    public bool IsActive(long step) => Exponent != 0 && (Period == 0 || (step > 0 && step % Period == 0));
}

/// <summary>
/// Outliers that change nothing but the size of numbers: a channel of a norm's output grows by a power of two and every weight that reads it shrinks by the same, so without rounding
/// to FP8 the model computes the same bits. The entries concerned are not trained, or their step size would grow too.
/// </summary>
sealed class OutlierInjection
{
    readonly Transformer _model;
    readonly OutlierSchedule _schedule;
    readonly List<(int Start, int Stride, int Count, bool Grows)> _entries = [];
    bool _active;

    public OutlierInjection(Transformer model, OutlierSchedule schedule)
    {
        _model = model;
        _schedule = schedule;
        foreach (Parameter parameter in model.Parameters.All)
        {
            int offset = checked((int)parameter.Offset) + schedule.Channel, columns = parameter.Shape[^1];
            if (IsNorm(parameter.Name)) _entries.Add((offset, 1, 1, true));
            else if (Reads(parameter.Name)) _entries.Add((offset, columns, parameter.Length / columns, false));
        }
    }

    /// <summary>Brings the weights into the form that a step (0: evaluation) needs.</summary>
    public void Prepare(long step)
    {
        if (_schedule.IsActive(step) == _active) return;
        _active = !_active;
        Span<float> values = _model.Parameters.Values.AsSpan<float>();
        foreach ((int start, int stride, int count, bool grows) in _entries)
        {
            float factor = MathF.ScaleB(1, grows == _active ? _schedule.Exponent : -_schedule.Exponent);
            for (int i = 0; i < count; i++) values[start + (i * stride)] *= factor;
        }

        _model.Refresh();
    }

    /// <summary>Takes the entries out of a flat gradient.</summary>
    public void Freeze(Tensor gradient)
    {
        Span<float> values = gradient.AsSpan<float>();
        foreach ((int start, int stride, int count, _) in _entries)
            for (int i = 0; i < count; i++) values[start + (i * stride)] = 0;
    }

    static bool IsNorm(string name) => name.EndsWith(".input_layernorm.weight", StringComparison.Ordinal) || name.EndsWith(".post_attention_layernorm.weight", StringComparison.Ordinal);

    static bool Reads(string name) => name.EndsWith(".q_a_proj.weight", StringComparison.Ordinal) || name.EndsWith(".q_proj.weight", StringComparison.Ordinal)
        || name.EndsWith(".kv_a_proj_with_mqa.weight", StringComparison.Ordinal) || name.EndsWith(".gate_up_proj.weight", StringComparison.Ordinal) || name.EndsWith(".mlp.gate.weight", StringComparison.Ordinal);
}
