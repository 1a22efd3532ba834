using Hadal.Formats;
using Hadal.Model;
using Hadal.Tensors;
using Hadal.Text;
using Hadal.Training.Data;
using Hadal.Training.Running;
using Hadal.Training.State;

namespace Hadal.Training;

/// <summary>Bits per byte of a model on held-out or given text: <c>hadal eval</c>.</summary>
public static class ModelEvaluation
{
    /// <summary>The texts to score: each source's documents after BOS.</summary>
    /// <param name="sources">Bundled and generated ones, or paths.</param>
    /// <param name="tokenizer">The model's.</param>
    /// <param name="heldOutEvery">Only the held-out one of so many documents (<see cref="HeldOutSplit"/>); 0 for all documents.</param>
    /// <param name="boundary">Where documents end inside files.</param>
    /// <param name="seed">Of generated text.</param>
    /// <exception cref="TrainingDataException">No text, or text that cannot be read.</exception>
    public static IReadOnlyList<HeldOutText> Texts(IEnumerable<string> sources, Tokenizer tokenizer, int heldOutEvery, DocumentBoundary boundary, ulong seed)
    {
        var texts = new List<HeldOutText>();
        foreach (string source in sources)
        {
            Corpus corpus = CorpusSources.Load(source, boundary, seed);
            if (heldOutEvery > 0) corpus = new HeldOutSplit(heldOutEvery, PreparedRun.SplitSeed).Divide(corpus).HeldOut;
            if (corpus.Documents.Count == 0) Throw.Data($"'{source}' holds out no document.", "Name a file or folder of text to score.");
            texts.Add(PreparedRun.Tokenise(corpus, tokenizer));
        }

        return texts;
    }

    /// <summary>Scores texts with windows of <paramref name="length"/> tokens; see <see cref="Evaluator"/> for the rule.</summary>
    public static IReadOnlyList<TextScore> Score(Transformer model, IReadOnlyList<HeldOutText> texts, int length, CancellationToken cancel)
    {
        using var evaluator = new Evaluator(model, length, windows: 8);
        return [.. texts.Select(text => evaluator.Score(text, cancel))];
    }

    /// <summary>Replaces the weights by the moving average that training kept beside them [V3 §3.2.3].</summary>
    /// <param name="folder">Output folder of a run.</param>
    /// <param name="model">Its model, MTP modules included.</param>
    /// <exception cref="TrainingStateException">There is no usable checkpoint with an average of this shape.</exception>
    public static void UseAverage(string folder, Transformer model)
    {
        var store = new CheckpointStore(Path.Combine(folder, "checkpoints"), 1);
        string? checkpoint = store.FindUsable(_ => { });
        if (checkpoint is null) Throw.State($"'{store.Folder}' holds no usable checkpoint.", "The average is kept in training states: evaluate the folder that training wrote.");
        string path = Path.Combine(checkpoint, TrainingState.FileName);
        using SafetensorsFile file = SafetensorsFile.Open(path);
        Tensor values = model.Parameters.Values;
        TensorEntry? entry = file.Find("average");
        if (entry is null || entry.Type != ElementType.F32 || entry.ElementCount != values.Length)
            Throw.State($"'{path}' holds {(entry is null ? "no average" : entry)}; this model has {values.Length} weights.", "Train with ema.decay above 0.");
        file.Read(entry, 0, System.Runtime.InteropServices.MemoryMarshal.AsBytes(values.AsSpan<float>()));
        model.Refresh();
    }
}
