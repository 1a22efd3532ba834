using Hadal.Model;
using Hadal.Numerics;
using Hadal.Parallel.Pipeline;
using Hadal.Tensors;

namespace Hadal.Training.Measurement;

/// <summary>A step on random tokens, for its time. Gradients of all micro-batches lie side by side and are cleared before the clock runs: pipelines add them up, and what that costs is not the schedule's.</summary>
sealed class RandomPipelineStep : IPipelineStep
{
    readonly int[] _rows;
    readonly int _rowTokens;
    readonly Tensor[] _gradients;

    public RandomPipelineStep(Transformer model, int microBatches, int rows, int length)
    {
        Width = length + 1 + model.Mtp.Count;
        _rowTokens = rows * Width;
        _rows = new int[microBatches * _rowTokens];
        var random = new CounterRandom(seed: 1, RandomPurpose.TestData);
        for (int i = 0; i < _rows.Length; i++) _rows[i] = random.Below((ulong)i, model.Shape.Vocabulary);
        _gradients = new Tensor[microBatches];
        for (int i = 0; i < microBatches; i++) _gradients[i] = model.Parameters.CreateBuffer(DType.F32);
    }

    /// <summary>Weights of the losses of such a step.</summary>
    public static LossWeights Weights(int microBatches, int rows, int length) => new(1 / ((double)rows * length * microBatches), 0.3, 1e-4, 1.0 / (rows * microBatches));

    public int Width { get; }

    public void Clear()
    {
        foreach (Tensor gradient in _gradients) gradient.AsSpan<float>().Clear();
    }

    public ReadOnlySpan<int> Rows(int microBatch) => _rows.AsSpan(microBatch * _rowTokens, _rowTokens);

    public Tensor OpenGradients(int microBatch) => _gradients[microBatch];

    public void CloseGradients(int microBatch)
    {
        // They stay where they are.
    }

    public void Losses(int microBatch, int depth, Tensor losses)
    {
        // Only times are of interest.
    }
}
