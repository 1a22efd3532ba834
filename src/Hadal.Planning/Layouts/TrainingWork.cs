using Hadal.Model;

namespace Hadal.Planning.Layouts;

/// <summary>What is to be trained: the model, its precision, and the batch of one step, however it is spread.</summary>
/// <param name="Name">Name for titles.</param>
/// <param name="Size">The model.</param>
/// <param name="Recipe">Precision.</param>
/// <param name="SequenceLength">Tokens of a sequence.</param>
/// <param name="Rows">Sequences of a micro-batch.</param>
/// <param name="MicroBatches">Micro-batches of a whole step, all ranks together.</param>
public sealed record TrainingWork(string Name, ModelSize Size, Recipe Recipe, int SequenceLength, int Rows, int MicroBatches)
{
    /// <summary>The architecture.</summary>
    public TransformerShape Shape => Size.Shape;

    /// <summary>Tokens of a micro-batch.</summary>
    public int Tokens => checked(Rows * SequenceLength);

    /// <summary>Tokens of a step.</summary>
    public double StepTokens => (double)Tokens * MicroBatches;

    /// <summary>Bytes of an activation's element between ranks: 2 when the recipe rounds activations to BF16, else 4.</summary>
    public int ActivationBytes => Recipe.Activations == Hadal.Tensors.Operations.NumberFormat.BF16 ? 2 : 4;

    /// <summary>The published step of V3: 15,360 sequences of 4,096 tokens, one a micro-batch, FP8 [V3 §4.2].</summary>
    public static TrainingWork PublishedV3 => new("V3 (671B)", ModelSize.Of(KnownShapes.V3671B), Recipe.Fp8, 4096, 1, 15360);
}
