using System.Diagnostics.CodeAnalysis;
using Hadal.Model;
using Hadal.Tensors;
using Hadal.Text;

namespace Hadal.Training;

/// <content>What a step says when its loss or gradient is not a number. Nothing has been updated then, so every micro-batch can be repeated with the same bits.</content>
public sealed partial class TrainingStep
{
    const int ShownTokens = 24;

    /// <summary>With the tokenizer, messages show the beginning of the document at fault.</summary>
    public Tokenizer? Tokenizer { get; init; }

    [DoesNotReturn]
    void ThrowLoss(StepSettings settings, LossWeights weights, long firstMicroBatch, int microBatch, double loss)
    {
        RecordFault(settings, weights, microBatch, loss, double.NaN);
        throw new NonFiniteTrainingException(
            $"The loss of step {settings.Step} is {loss}, in micro-batch {firstMicroBatch + microBatch}{Where(firstMicroBatch, microBatch)}. {Remedy(settings.Step)}");
    }

    /// <summary>Repeats the micro-batch at fault with the same bits, and records it.</summary>
    void RecordFault(StepSettings settings, LossWeights weights, int microBatch, double loss, double norm)
    {
        _chunk.Context.Observer = null;
        if (Recorder is not { } recorder) return;
        int width = _loader.RowTokens, rows = _run.Batch.Rows;
        recorder.Begin(settings.Step, settings.MicroBatches);
        _gradients.Reset();
        Tensor own = _gradients.Next();
        ModelRows.Set(_chunk, _rows.AsSpan(microBatch * rows * width, rows * width), width);
        recorder.MicroBatch(microBatch, _rows.AsSpan(microBatch * rows * width, rows * width));
        _chunk.Context.Observer = recorder;
        _chunk.ForwardBackward(weights, own);
        _chunk.Context.Observer = null;
        recorder.Gradient(own);
        recorder.End(new Recording.StepFacts(settings.Step, loss, double.NaN, norm, IsFault: true));
    }

    [DoesNotReturn]
    void ThrowGradient(StepSettings settings, LossWeights weights, long firstMicroBatch, Tensor gradient, double norm)
    {
        IOperations ops = _model.Backend.Operations;
        string parameter = _optimizer.FindNonFinite(ops, gradient), where = "";
        int width = _loader.RowTokens, rows = _run.Batch.Rows;
        _gradients.Reset();
        for (int m = 0; m < settings.MicroBatches; m++)
        {
            Tensor own = _gradients.Next();
            ModelRows.Set(_chunk, _rows.AsSpan(m * rows * width, rows * width), width);
            _chunk.ForwardBackward(weights, own);
            if (double.IsFinite(_optimizer.GradientNorm(ops, own))) continue;
            parameter = _optimizer.FindNonFinite(ops, own);
            RecordFault(settings, weights, m, _loss.AsSpan<double>()[0], norm);
            where = $", in micro-batch {firstMicroBatch + m}{Where(firstMicroBatch, m)}";
            break;
        }

        throw new NonFiniteTrainingException(
            $"The gradient norm of step {settings.Step} (micro-batches {firstMicroBatch} to {firstMicroBatch + settings.MicroBatches - 1}) is {norm}, first in {parameter}{where}. {Remedy(settings.Step)}");
    }

    static string Remedy(long step) => $"The weights are those of step {step - 1}. Continue from the last checkpoint with a lower learning rate.";

    /// <summary>Tensor, layer and document of the first fault in the records of the micro-batch that ran last.</summary>
    string Where(long firstMicroBatch, int microBatch)
    {
        if (FaultFinder.FindParameter(_model) is { } parameter) return $"; the weights {parameter.Name} are not finite";
        if (FaultFinder.Find(_chunk, _model) is not { } fault) return "; every tensor kept from the forward is finite";
        return fault.Token < 0 ? $"; first in {fault}" : $"; first in {fault}, {Document(firstMicroBatch, microBatch, fault.Token)}";
    }

    /// <summary>Which row, and which of the documents packed into it.</summary>
    string Document(long firstMicroBatch, int microBatch, int token)
    {
        int width = _loader.RowTokens, row = token / _chunk.Length, place = token % _chunk.Length;
        string text = $"token {place} of row {((firstMicroBatch + microBatch) * _run.Batch.Rows) + row}";
        if (Tokenizer is null) return text;
        ReadOnlySpan<int> ids = _rows.AsSpan(((microBatch * _run.Batch.Rows) + row) * width, width);
        int begin = Tokenizer.RequireId(SpecialTokens.BeginOfSentence), start = Math.Max(0, ids[..(place + 1)].LastIndexOf(begin));
        int length = Math.Min(ShownTokens, width - start);
        ReadOnlySpan<int> shown = ids.Slice(start, length);
        int end = shown.IndexOf(-1);
        string beginning = Tokenizer.Decode(end < 0 ? shown : shown[..end], skipSpecial: true).ReplaceLineEndings(" ");
        return $"{text}, in the document that begins \"{beginning}\"";
    }
}
