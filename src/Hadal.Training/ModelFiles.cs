using System.Runtime.InteropServices;
using Hadal.Formats;
using Hadal.Model;
using Hadal.Tensors;
using Hadal.Text;

namespace Hadal.Training;

/// <summary>Between a run and the public files of its model.</summary>
public static class ModelFiles
{
    /// <summary>The config.json of a run: its preset or file, with the vocabulary of its tokenizer.</summary>
    /// <exception cref="RunConfigurationException">There is no such preset, or the file cannot be used.</exception>
    public static ModelConfiguration Configuration(RunConfiguration run, Tokenizer tokenizer) => Configuration(run, tokenizer.VocabularySize);

    /// <summary>As <see cref="Configuration(RunConfiguration, Tokenizer)"/>, for a vocabulary of a known size.</summary>
    /// <inheritdoc cref="Configuration(RunConfiguration, Tokenizer)" path="/exception"/>
    public static ModelConfiguration Configuration(RunConfiguration run, int vocabulary)
    {
        ModelConfiguration configuration;
        if (run.Model.ConfigFile is string file)
        {
            try
            {
                configuration = ModelConfiguration.Load(file) with { VocabularySize = vocabulary, Quantization = null, TorchType = "float32" };
            }
            catch (Exception exception) when (exception is IOException or ConfigurationException)
            {
                throw new RunConfigurationException($"'model.config' cannot be used: {exception.Message}", exception);
            }
        }
        else
        {
            configuration = ModelPresets.Find(run.Model.Preset!, vocabulary) with { InitializerRange = run.Model.InitialDeviation };
        }

        configuration.Validate();
        if (configuration.MaxPositionEmbeddings < run.Data.SequenceLength)
            Throw.Configuration("data.sequence_length", $"{run.Data.SequenceLength}", $"at most the model's max_position_embeddings, {configuration.MaxPositionEmbeddings}");
        return configuration;
    }

    /// <summary>MTP modules of a run's model; known before there is a tokenizer.</summary>
    public static int MtpDepth(RunConfiguration run) =>
        run.Model.ConfigFile is string file ? ModelConfiguration.Load(file).MtpLayers : ModelPresets.Find(run.Model.Preset!, 1024).MtpLayers;

    /// <summary>A model with fresh weights, drawn from the run's seed.</summary>
    public static Transformer Create(RunConfiguration run, Tokenizer tokenizer, IBackend backend)
    {
        var model = new Transformer(backend, ModelLoader.Shape(Configuration(run, tokenizer)), Recipe.Find(run.Recipe));
        Initialization.Normal(model, run.Seed, run.Model.InitialDeviation);
        return model;
    }

    /// <summary>
    /// Writes the public model into a folder: config.json, tokenizer.json and model.safetensors with F32 weights, MTP modules included. Every file is
    /// replaced at once or not at all.
    /// </summary>
    public static void Export(string folder, ModelConfiguration configuration, Transformer model, Tokenizer tokenizer)
    {
        Directory.CreateDirectory(folder);
        PublicTensor[] tensors = [.. CheckpointWeights.Public(model)];
        using (var writer = new CheckpointWriter(folder, tensors.Select(t => new TensorDeclaration(t.Name, ElementType.F32, ShapeOf(t.View(model.Parameters.Values))))))
        {
            foreach (PublicTensor tensor in tensors)
            {
                Tensor values = tensor.View(model.Parameters.Values);
                for (int row = 0; row < values.Rows; row++) writer.Append(tensor.Name, MemoryMarshal.AsBytes(values.Row<float>(row)));
            }

            writer.Commit();
        }

        configuration.Save(Path.Combine(folder, "config.json"));
        tokenizer.Save(Path.Combine(folder, "tokenizer.json"));
    }

    /// <summary>
    /// Elements that work on one token of the main model: of the routed experts those a token uses, of the embedding one row; MTP not counted.
    /// </summary>
    public static long ActiveParameters(Transformer model)
    {
        TransformerShape shape = model.Shape;
        long active = 0;
        foreach (Parameter parameter in model.Parameters.All)
        {
            if (LayerOf(parameter.Name) >= shape.Layers) continue;
            if (parameter.Shape.Count == 3) active += (long)parameter.Length / shape.Gate.Experts * shape.Gate.TopK;
            else active += parameter.Name.Equals("model.embed_tokens.weight", StringComparison.Ordinal) && !shape.TiedEmbeddings ? shape.Hidden : parameter.Length;
        }

        return active;
    }

    /// <summary>The block a parameter belongs to, MTP blocks after the main ones; −1 for embedding, final norm and head.</summary>
    internal static int LayerOf(string name)
    {
        const string Prefix = "model.layers.";
        if (!name.StartsWith(Prefix, StringComparison.Ordinal)) return -1;
        int dot = name.IndexOf('.', Prefix.Length);
        return int.Parse(name.AsSpan(Prefix.Length, dot - Prefix.Length), System.Globalization.CultureInfo.InvariantCulture);
    }

    static long[] ShapeOf(Tensor tensor) => tensor.Rank == 1 ? [tensor[0]] : [tensor[0], tensor[1]];
}
