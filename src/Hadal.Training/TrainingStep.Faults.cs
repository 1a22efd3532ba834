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

    /// <summary>Computes a step that has failed elsewhere and says what this one would; null when here everything is finite. Updates nothing.</summary>
    internal string? Explain(StepSettings settings, long firstMicroBatch)
    {
        try
        {
            Run(settings, firstMicroBatch, update: false);
            return null;
        }
        catch (NonFiniteTrainingException exception)
        {
            return exception.Message;
        }
    }

    [DoesNotReturn]
    void ThrowLoss(StepSettings settings, LossWeights weights, long firstMicroBatch, int microBatch, double loss)
    {
        (_, FaultObserver seen) = Repeat(weights, firstMicroBatch, microBatch);
        RecordFault(settings, weights, firstMicroBatch, microBatch, loss, double.NaN);
        throw new NonFiniteTrainingException(
            $"The loss of step {settings.Step} is {loss}, in micro-batch {firstMicroBatch + microBatch}{Where(firstMicroBatch, microBatch, seen, null)}. {Remedy(settings.Step)}");
    }

    [DoesNotReturn]
    void ThrowGradient(StepSettings settings, LossWeights weights, long firstMicroBatch, Tensor gradient, double loss, double norm)
    {
        IOperations ops = _model.Backend.Operations;
        string parameter = _optimizer.FindNonFinite(ops, gradient), where = ", where the finite gradients of the micro-batches add up";
        for (int m = 0; m < settings.MicroBatches; m++)
        {
            (Tensor own, FaultObserver seen) = Repeat(weights, firstMicroBatch, m);
            if (double.IsFinite(_optimizer.GradientNorm(ops, own))) continue;
            parameter = _optimizer.FindNonFinite(ops, own);
            where = $", in micro-batch {firstMicroBatch + m}{Where(firstMicroBatch, m, seen, parameter)}";
            RecordFault(settings, weights, firstMicroBatch, m, loss, norm);
            break;
        }

        throw new NonFiniteTrainingException(
            $"The gradient norm of step {settings.Step} (micro-batches {firstMicroBatch} to {firstMicroBatch + settings.MicroBatches - 1}) is {norm}; not finite is the gradient of {parameter}{where}. {Remedy(settings.Step)}");
    }

    internal static string Remedy(long step) => $"The weights are those of step {step - 1}. Continue from the last checkpoint with a lower learning rate.";

    /// <summary>A micro-batch once more, by itself, watched.</summary>
    /// <returns>Its gradient, and what was seen.</returns>
    (Tensor Gradient, FaultObserver Seen) Repeat(LossWeights weights, long firstMicroBatch, int microBatch)
    {
        var watching = new FaultObserver(_model, _chunk);
        _gradients.Reset();
        Tensor own = _gradients.Next();
        ModelRows.Set(_chunk, RowsOf(firstMicroBatch, microBatch), _loader.RowTokens);
        _chunk.Context.Observer = watching;
        _chunk.ForwardBackward(weights, own);
        _chunk.Context.Observer = null;
        return (own, watching);
    }

    /// <summary>The rows of a micro-batch as they are read: setting them fills their empty places.</summary>
    Span<int> RowsOf(long firstMicroBatch, int microBatch)
    {
        int width = _loader.RowTokens, rows = _run.Batch.Rows;
        Span<int> own = _rows.AsSpan(microBatch * rows * width, rows * width);
        for (int r = 0; r < rows; r++) _loader.Read(((firstMicroBatch + microBatch) * rows) + r, own.Slice(r * width, width));
        return own;
    }

    /// <summary>Repeats the micro-batch at fault with the same bits, and records it.</summary>
    void RecordFault(StepSettings settings, LossWeights weights, long firstMicroBatch, int microBatch, double loss, double norm)
    {
        if (Recorder is not { } recorder) return;
        recorder.Begin(settings.Step, settings.MicroBatches);
        _gradients.Reset();
        Tensor own = _gradients.Next();
        Span<int> rows = RowsOf(firstMicroBatch, microBatch);
        ModelRows.Set(_chunk, rows, _loader.RowTokens);
        recorder.MicroBatch(microBatch, rows);
        _chunk.Context.Observer = recorder;
        _chunk.ForwardBackward(weights, own);
        _chunk.Context.Observer = null;
        recorder.Gradient(own);
        recorder.End(new Recording.StepFacts(settings.Step, loss, double.NaN, norm, IsFault: true));
    }

    /// <summary>Tensor, layer and document of the first fault of a micro-batch.</summary>
    /// <param name="gradient">The parameter whose gradient is not finite; null when the loss is what failed.</param>
    string Where(long firstMicroBatch, int microBatch, FaultObserver seen, string? gradient)
    {
        if (FaultFinder.FindParameter(_model) is { } parameter) return $"; the weights {parameter.Name} are not finite";
        if (seen.First is { } first) return first.Token < 0 ? $"; first in {first}" : $"; first in {first}, {Document(firstMicroBatch, microBatch, first.Token)}";
        int token = _model.Parameters.All.FirstOrDefault(p => string.Equals(p.Name, gradient, StringComparison.Ordinal)) is { } weight ? seen.LargestContribution(weight) : -1;
        return "; every operand and every kept tensor is finite" + (token < 0 ? "" : $"; most of it comes from {Document(firstMicroBatch, microBatch, token)}");
    }

    /// <summary>Which row, and which of the documents packed into it.</summary>
    string Document(long firstMicroBatch, int microBatch, int token)
    {
        int width = _loader.RowTokens, row = token / _chunk.Length, place = token % _chunk.Length;
        string text = $"token {place} of row {((firstMicroBatch + microBatch) * _run.Batch.Rows) + row}";
        if (Tokenizer is null) return text;
        Span<int> ids = RowsOf(firstMicroBatch, microBatch).Slice(row * width, width);
        if (Supervised.SampleRows.IsMarked(ids[0])) Supervised.SampleRows.Unmark(ids);
        int begin = Tokenizer.RequireId(SpecialTokens.BeginOfSentence), start = Math.Max(0, ids[..(place + 1)].LastIndexOf(begin));
        ReadOnlySpan<int> shown = ids.Slice(start, Math.Min(ShownTokens, width - start));
        int end = shown[1..].IndexOfAny(begin, -1) + 1;
        string beginning = Tokenizer.Decode(end < 1 ? shown : shown[..end], skipSpecial: true).ReplaceLineEndings(" ");
        return ids[start] == begin ? $"{text}, in the document that begins \"{beginning}\"" : $"{text}, in the document that began in an earlier row and goes on here with \"{beginning}\"";
    }
}
