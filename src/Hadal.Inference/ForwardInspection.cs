using System.Runtime.InteropServices;
using Hadal.Formats;
using Hadal.Model;
using Hadal.Tensors;

namespace Hadal.Inference;

/// <summary>One forward, and backward if asked, over given tokens, everything written to a file: how a model is compared from outside.</summary>
public static class ForwardInspection
{
    /// <summary>
    /// Writes F32 <c>logits</c> [B, T, vocabulary], <c>loss</c> [1] (mean next-token cross-entropy over B·(T−1) positions, nothing else in it) and,
    /// with <paramref name="backward"/>, <c>grad.NAME</c> for every public tensor of the checkpoint that can be learnt: the gradient of exactly that loss.
    /// </summary>
    /// <param name="directory">Model directory.</param>
    /// <param name="tokensFile">Safetensors file with I32 <c>input_ids</c> [B, T].</param>
    /// <param name="outputFile">Safetensors file to write, atomically.</param>
    /// <param name="warnings">Receives what the load remarked, and what is odd about the result.</param>
    /// <param name="cancel">Looked at between loading, computing and writing; nothing is written then.</param>
    /// <returns>The loss; not a number where T = 1, since nothing follows the only token.</returns>
    /// <exception cref="CheckpointFormatException">Model or tokens are not as they must be.</exception>
    /// <exception cref="ArgumentException">The output is one of the inputs.</exception>
    public static double Run(
        string directory, string tokensFile, string outputFile, bool backward, Recipe recipe, IBackend backend, ICollection<string>? warnings = null, CancellationToken cancel = default)
    {
        RefuseInputs(directory, tokensFile, outputFile);
        (int[] ids, int sequences, int length) = ReadTokens(tokensFile);
        using LoadedModel loaded = ModelLoader.Load(directory, backend, recipe, withMtp: false, positions: length);
        foreach (string warning in loaded.Warnings) warnings?.Add(warning);
        cancel.ThrowIfCancellationRequested();
        Transformer model = loaded.Model;
        using var chunk = new SequenceChunk(model, sequences, length, training: backward);
        foreach ((int index, int id) in ids.Index())
            if ((uint)id >= (uint)model.Shape.Vocabulary) throw Unknown(id, index, length, tokensFile, $"an id from 0 to {model.Shape.Vocabulary - 1}, the vocabulary of {directory}");
        chunk.SetTokens(ids, length);
        Tensor gradients = default;
        double targets = (double)sequences * (length - 1);
        if (backward)
        {
            gradients = model.Parameters.CreateBuffer(model.DType);
            chunk.ForwardBackward(new LossWeights(targets == 0 ? 0 : 1 / targets, 0, 0, 0), gradients);
        }
        else
        {
            chunk.Forward();
        }

        using var output = new TensorArena(backend);
        Tensor logits = output.Allocate(model.DType, checked(sequences * length), model.Shape.Vocabulary);
        chunk.Logits(logits);
        backend.Synchronize();
        cancel.ThrowIfCancellationRequested();
        double loss = 0;
        foreach (float one in chunk.Losses[0].AsSpan<float>()) loss += one;
        loss /= targets;
        if (targets == 0) warnings?.Add("Every sequence is one token long: nothing follows it, so the loss is not a number.");
        else if (!double.IsFinite(loss)) warnings?.Add($"The loss is {loss}: {FirstNonFinite(model) ?? "every weight is finite, so a product overflowed"}.");

        using Checkpoint checkpoint = Checkpoint.Open(directory);
        Write(outputFile, logits.Reshape(sequences, length, model.Shape.Vocabulary), loss, model, gradients, checkpoint);
        return loss;
    }

    /// <summary>The output replaces what is at its path: never the model it is computed from, nor the tokens.</summary>
    static void RefuseInputs(string directory, string tokensFile, string outputFile)
    {
        string output = Path.GetFullPath(outputFile);
        IEnumerable<string> inputs = Directory.Exists(directory) ? Directory.EnumerateFiles(directory) : [directory];
        foreach (string input in inputs.Append(tokensFile))
            if (string.Equals(Path.GetFullPath(input), output, StringComparison.Ordinal))
                throw new ArgumentException($"The output '{outputFile}' is one of the inputs and would be replaced. Choose another file for the result.");
    }

    static string? FirstNonFinite(Transformer model)
    {
        foreach (PublicTensor tensor in CheckpointWeights.Public(model))
        {
            Tensor values = tensor.View(model.Parameters.Values);
            for (int row = 0; row < values.Rows; row++)
                foreach (float value in values.Row<float>(row))
                    if (!float.IsFinite(value)) return $"the weights of '{tensor.Name}' hold {value}; the file is damaged or training failed";
        }

        return null;
    }

    static (int[] Ids, int Sequences, int Length) ReadTokens(string path)
    {
        using Checkpoint file = Checkpoint.Open(path);
        if (file.Find("input_ids") is null)
            throw new CheckpointFormatException("there is no such tensor; tokens are I32 [B, T] under this name.", path, "Name the file with the tokens, or write them under this name.", "input_ids");
        TensorEntry entry = file.Get("input_ids");
        if (entry.Shape.Length != 2 || entry.Type is not (ElementType.I32 or ElementType.I64) || entry.Shape[0] < 1 || entry.Shape[1] < 1 || entry.ElementCount > int.MaxValue / 8)
            throw new CheckpointFormatException($"{entry} is not usable as tokens", path, "Expected input_ids I32 [B, T] with at least one sequence of one token.", entry.Name);
        ReadOnlySpan<byte> bytes = file.View(entry);
        int[] ids = entry.Type == ElementType.I32
            ? MemoryMarshal.Cast<byte, int>(bytes).ToArray()
            : Narrow(MemoryMarshal.Cast<byte, long>(bytes), (int)entry.Shape[1], path);
        return (ids, (int)entry.Shape[0], (int)entry.Shape[1]);
    }

    static int[] Narrow(ReadOnlySpan<long> wide, int length, string path)
    {
        var ids = new int[wide.Length];
        for (int i = 0; i < wide.Length; i++)
            ids[i] = wide[i] is >= 0 and <= int.MaxValue ? (int)wide[i] : throw Unknown(wide[i], i, length, path, "an id of the vocabulary");
        return ids;
    }

    static CheckpointFormatException Unknown(long id, int index, int length, string path, string expected) =>
        new($"row {index / length}, position {index % length} holds the id {id}; expected {expected}.", path, "Encode the text with the tokenizer of this model.", "input_ids");

    static void Write(string path, Tensor logits, double loss, Transformer model, Tensor gradients, Checkpoint checkpoint)
    {
        var declarations = new List<TensorDeclaration>
        {
            new("logits", ElementType.F32, [logits[0], logits[1], logits[2]]), new("loss", ElementType.F32, [1]),
        };
        var known = new Dictionary<string, PublicTensor>(StringComparer.Ordinal);
        if (!gradients.IsEmpty)
        {
            foreach (PublicTensor tensor in CheckpointWeights.Public(model)) known.Add(tensor.Name, tensor);
            foreach (TensorEntry entry in checkpoint.Entries.Where(IsLearnt)) declarations.Add(new TensorDeclaration("grad." + entry.Name, ElementType.F32, entry.Shape));
        }

        using var writer = new SafetensorsWriter(path, declarations);
        WriteRows(writer, "logits", logits);
        writer.Write("loss", MemoryMarshal.AsBytes<float>([(float)loss]));
        if (!gradients.IsEmpty)
        {
            foreach (TensorEntry entry in checkpoint.Entries.Where(IsLearnt))
            {
                // A tensor the main model does not read (an MTP module's) has no part in this loss: its gradient is zero.
                if (known.TryGetValue(entry.Name, out PublicTensor tensor)) WriteRows(writer, "grad." + entry.Name, tensor.View(gradients));
                else writer.Write("grad." + entry.Name, new byte[checked(entry.ElementCount * sizeof(float))]);
            }
        }

        writer.Commit();
    }

    static void WriteRows(SafetensorsWriter writer, string name, Tensor tensor)
    {
        for (int row = 0; row < tensor.Rows; row++) writer.Append(name, MemoryMarshal.AsBytes(tensor.Row<float>(row)));
    }

    /// <summary>Selection biases are moved by load, scales belong to their weight.</summary>
    static bool IsLearnt(TensorEntry entry) =>
        !entry.Name.EndsWith(".e_score_correction_bias", StringComparison.Ordinal)
        && !entry.Name.EndsWith("_scale_inv", StringComparison.Ordinal)
        && !entry.Name.EndsWith("rotary_emb.inv_freq", StringComparison.Ordinal)
        && entry.Type is ElementType.F32 or ElementType.BF16 or ElementType.F16 or ElementType.F64 or ElementType.F8E4M3;
}
