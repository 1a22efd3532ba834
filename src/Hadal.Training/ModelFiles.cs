using Hadal.Formats;
using Hadal.Model;
using Hadal.Model.Conversion;
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
            configuration = FromFile(run, file) with { VocabularySize = vocabulary, Quantization = null, TorchType = "float32" };
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
        run.Model.ConfigFile is string file ? FromFile(run, file).MtpLayers : ModelPresets.Find(run.Model.Preset!, 1024).MtpLayers;

    /// <summary>A model with fresh weights, drawn from the run's seed, or with those of the checkpoint it begins from.</summary>
    /// <exception cref="RunConfigurationException">The checkpoint is damaged or does not fit.</exception>
    public static Transformer Create(RunConfiguration run, Tokenizer tokenizer, IBackend backend)
    {
        var model = new Transformer(backend, ModelLoader.Shape(Configuration(run, tokenizer)), Recipe.Find(run.Recipe));
        Initialization.Normal(model, run.Seed, run.Model.InitialDeviation);
        if (run.Model.From is string from) Fill(model, from);
        return model;
    }

    /// <summary>
    /// Writes the public model into a folder: config.json, tokenizer.json and model.safetensors as <paramref name="format"/> says, MTP modules included. Every file is
    /// replaced at once or not at all.
    /// </summary>
    /// <param name="folder">Made if absent.</param>
    /// <param name="configuration">The model's config.json; element type and quantisation become those of <paramref name="format"/>.</param>
    /// <param name="model">The weights.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <param name="format">Element types; null for F32.</param>
    public static void Export(string folder, ModelConfiguration configuration, Transformer model, Tokenizer tokenizer, CheckpointConfiguration? format = null)
    {
        format ??= new CheckpointConfiguration();
        ModelWriter.Write(folder, model, configuration, format.Format, format.Scales);
        tokenizer.Save(Path.Combine(folder, "tokenizer.json"));
    }

    /// <summary>Fills a model with the weights of a public checkpoint in any format that is read: what a run begins from.</summary>
    static void Fill(Transformer model, string folder)
    {
        try
        {
            using Checkpoint checkpoint = Checkpoint.Open(folder);
            CheckpointWeights.RequireEnough(checkpoint, model.Shape);
            checkpoint.Verify();
            CheckpointWeights.Load(model, checkpoint);
        }
        catch (Exception exception) when (exception is IOException or CheckpointFormatException or UnauthorizedAccessException)
        {
            throw new RunConfigurationException($"'model.from' cannot be used: {exception.Message}", exception);
        }
    }

    /// <summary>MTP modules of a checkpoint's configuration whose weights it holds.</summary>
    static int HeldMtpLayers(ModelConfiguration configuration, string folder)
    {
        try
        {
            using Checkpoint checkpoint = Checkpoint.Open(folder);
            return CheckpointWeights.MtpDepth(checkpoint, ModelLoader.Shape(configuration));
        }
        catch (Exception exception) when (exception is IOException or CheckpointFormatException or UnauthorizedAccessException)
        {
            throw new RunConfigurationException($"'model.from' cannot be used: {exception.Message}", exception);
        }
    }

    static ModelConfiguration FromFile(RunConfiguration run, string file)
    {
        try
        {
            ModelConfiguration configuration = ModelConfiguration.Load(file);
            return run.Model.From is string from ? configuration with { MtpLayers = HeldMtpLayers(configuration, from) } : configuration;
        }
        catch (Exception exception) when (exception is IOException or ConfigurationException or UnauthorizedAccessException)
        {
            throw new RunConfigurationException($"'{(run.Model.From is null ? "model.config" : "model.from")}' cannot be used: {exception.Message}", exception);
        }
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
}
