using System.Globalization;
using System.Text;
using System.Text.Json;
using Hadal.Model;
using Hadal.Planning.Layouts;

namespace Hadal.Planning.Costs;

/// <summary>Seconds of one block.</summary>
/// <param name="Forward">F.</param>
/// <param name="BackwardInput">b.</param>
/// <param name="BackwardWeights">W.</param>
/// <param name="Pair">F&amp;B of two micro-batches in one block, where it was measured.</param>
public sealed record BlockTimes(double Forward, double BackwardInput, double BackwardWeights, double? Pair = null)
{
    /// <summary>The pair over its parts; null when it was not measured.</summary>
    public double? PairShare => Pair / (Forward + BackwardInput + BackwardWeights);
}

/// <summary>Times of single layers, measured by <c>hadal bench layer</c>: experts are local, so exchanging rows is not in them.</summary>
public sealed record LayerCosts : CostDescription
{
    /// <summary>Where it was measured.</summary>
    public required string Machine { get; init; }

    /// <summary>What was measured, as <see cref="ShapeOf"/> writes it: the times are of no other shape.</summary>
    public required string Model { get; init; }

    /// <summary>Precision.</summary>
    public required string Recipe { get; init; }

    /// <summary>Sequences of the micro-batch.</summary>
    public required int Rows { get; init; }

    /// <summary>Tokens of a sequence.</summary>
    public required int SequenceLength { get; init; }

    /// <summary>A block without experts; null when the model has none.</summary>
    public BlockTimes? Dense { get; init; }

    /// <summary>A block with experts; null when the model has none.</summary>
    public BlockTimes? Sparse { get; init; }

    /// <summary>Seconds of looking up embeddings.</summary>
    public required double EmbeddingForward { get; init; }

    /// <summary>Seconds of the embedding's gradient.</summary>
    public required double EmbeddingBackward { get; init; }

    /// <summary>Seconds of final norm, head, losses and the head's gradients, which follow at once.</summary>
    public required double Head { get; init; }

    /// <summary>Seconds of one MTP module forward, its losses and the head's gradients among them.</summary>
    public double MtpForward { get; init; }

    /// <summary>Seconds of one MTP module backward, weight gradients among them.</summary>
    public double MtpBackward { get; init; }

    /// <summary>Seconds of the optimizer for one parameter.</summary>
    public required double OptimizerPerParameter { get; init; }

    /// <inheritdoc/>
    public override string Kind => "layers";

    /// <inheritdoc/>
    public override bool IncludesExchange => false;

    /// <summary>The sizes that decide how long a layer takes.</summary>
    public static string ShapeOf(TransformerShape shape)
    {
        ArgumentNullException.ThrowIfNull(shape);
        return string.Create(CultureInfo.InvariantCulture,
            $"hidden {shape.Hidden}, heads {shape.Heads}, query {shape.QueryLoraRank}, latent {shape.KeyValueLoraRank}, nope {shape.QkNopeHeadDim}, rope {shape.QkRopeHeadDim}, value {shape.ValueHeadDim}, dense {shape.DenseIntermediate}, expert {shape.ExpertIntermediate}, experts {shape.Gate.Experts}, top {shape.Gate.TopK}, shared {shape.SharedExperts}, vocabulary {shape.Vocabulary}");
    }

    /// <inheritdoc/>
    public override StageTimes Of(StageContents stage, int stages, TrainingWork work, ClusterDescription cluster)
    {
        ArgumentNullException.ThrowIfNull(stage);
        ArgumentNullException.ThrowIfNull(work);
        if (!string.Equals(ShapeOf(work.Shape), Model, StringComparison.Ordinal))
            throw new PlanException($"The times were measured on {Model}, and the model is {ShapeOf(work.Shape)}; expected the same shape: run hadal bench layer for it.");
        if (!string.Equals(work.Recipe.Name, Recipe, StringComparison.Ordinal))
            throw new PlanException($"The times were measured with the recipe {Recipe}, and the run has {work.Recipe.Name}; expected the same: run hadal bench layer --recipe {work.Recipe.Name}.");
        if (work.SequenceLength != SequenceLength)
            throw new PlanException($"The times were measured with sequences of {SequenceLength} tokens, and the run has {work.SequenceLength}; expected the same: run hadal bench layer --sequence-length {work.SequenceLength}.");
        if ((stage.Dense > 0 && Dense is null) || (stage.Sparse > 0 && Sparse is null)) throw new PlanException("The times lack a kind of block that the model has; run hadal bench layer for it.");
        double f = 0, b = 0, w = 0;
        double? saved = 0;
        Add(Dense, stage.Dense);
        Add(Sparse, stage.Sparse);
        if (stage.IsFirst) (f, b) = (f + EmbeddingForward, b + EmbeddingBackward);
        if (stage.IsLast) (f, b) = (f + Head + (work.Shape.MtpDepth * MtpForward), b + (work.Shape.MtpDepth * MtpBackward));
        double factor = (double)work.Rows / Rows;

        // A stage without layers, an end of a short model, still takes a moment: the clock knows no empty steps.
        const double moment = 1e-9;
        var parts = new StageTimes(Math.Max(f * factor, moment), Math.Max(b * factor, moment), Math.Max(w * factor, moment));
        return parts with { Pair = saved is { } less ? Math.Max(parts.Forward + parts.Backward - (less * factor), moment) : null };

        void Add(BlockTimes? times, int count)
        {
            if (times is null || count == 0) return;
            saved -= count * (times.Pair - times.Forward - times.BackwardInput - times.BackwardWeights);
            f += count * times.Forward;
            b += count * times.BackwardInput;
            w += count * times.BackwardWeights;
        }
    }

    /// <inheritdoc/>
    public override double Optimizer(double owned, ClusterDescription cluster) => owned * OptimizerPerParameter;

    /// <inheritdoc/>
    public override IEnumerable<string> Assumptions(TrainingWork work, ClusterDescription cluster)
    {
        ArgumentNullException.ThrowIfNull(work);
        yield return $"Times of layers were measured on {Machine}, recipe {Recipe}, {Rows} × {SequenceLength} tokens, experts local; every GPU of the cluster is taken to be that machine.";
        yield return Dense?.Pair is null && Sparse?.Pair is null
            ? "Pairs were not measured: F&B is taken to be as long as F and B one after the other."
            : $"Pairs were measured: {string.Join(", ", new[] { (Name: "a block without experts", Times: Dense), (Name: "one with experts", Times: Sparse) }.Where(kind => kind.Times?.PairShare is not null).Select(kind => string.Create(CultureInfo.InvariantCulture, $"F&B of {kind.Name} takes {kind.Times!.PairShare:0.00} of its F and B")))}.";
        if (work.Rows != Rows) yield return $"Times of {Rows} sequences are taken to grow evenly to {work.Rows}.";
    }

    internal static LayerCosts Read(PlanFile file)
    {
        BlockTimes? Block(string key) => file.Section(key, s => new BlockTimes(s.Number("forward", 1e-12, 1e6), s.Number("backward_input", 1e-12, 1e6), s.Number("backward_weights", 1e-12, 1e6), s.Number("pair", 0, 1e6, 0) is > 0 and var pair ? pair : null));
        return new()
        {
            Machine = file.Text("machine") ?? "an unnamed machine", Model = file.Text("model") ?? throw file.Wrong("model", "missing", "the shape that was measured"),
            Recipe = file.Text("recipe") ?? throw file.Wrong("recipe", "missing", "the recipe that was measured"), Rows = (int)file.Integer("rows", 1, 1 << 20),
            SequenceLength = (int)file.Integer("sequence_length", 1, 1 << 20), Dense = Block("dense"), Sparse = Block("sparse"), EmbeddingForward = file.Number("embedding_forward", 0, 1e6),
            EmbeddingBackward = file.Number("embedding_backward", 0, 1e6), Head = file.Number("head", 0, 1e6), MtpForward = file.Number("mtp_forward", 0, 1e6, 0),
            MtpBackward = file.Number("mtp_backward", 0, 1e6, 0), OptimizerPerParameter = file.Number("optimizer_per_parameter", 0, 1e3),
        };
    }

    /// <summary>The file that <see cref="CostDescription.Parse"/> reads.</summary>
    public string ToJson()
    {
        using var memory = new MemoryStream();
        using (var json = new Utf8JsonWriter(memory, new JsonWriterOptions { Indented = true, NewLine = "\n" }))
        {
            json.WriteStartObject();
            Write(json);
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(memory.ToArray());
    }

    /// <summary>Writes the properties of the object.</summary>
    public void Write(Utf8JsonWriter json)
    {
        ArgumentNullException.ThrowIfNull(json);
        json.WriteString("kind", Kind);
        json.WriteString("machine", Machine);
        json.WriteString("model", Model);
        json.WriteString("recipe", Recipe);
        json.WriteNumber("rows", Rows);
        json.WriteNumber("sequence_length", SequenceLength);
        Block("dense", Dense);
        Block("sparse", Sparse);
        json.WriteNumber("embedding_forward", EmbeddingForward);
        json.WriteNumber("embedding_backward", EmbeddingBackward);
        json.WriteNumber("head", Head);
        json.WriteNumber("mtp_forward", MtpForward);
        json.WriteNumber("mtp_backward", MtpBackward);
        json.WriteNumber("optimizer_per_parameter", OptimizerPerParameter);

        void Block(string key, BlockTimes? times)
        {
            if (times is null) return;
            json.WriteStartObject(key);
            json.WriteNumber("forward", times.Forward);
            json.WriteNumber("backward_input", times.BackwardInput);
            json.WriteNumber("backward_weights", times.BackwardWeights);
            if (times.Pair is { } pair) json.WriteNumber("pair", pair);
            json.WriteEndObject();
        }
    }
}
