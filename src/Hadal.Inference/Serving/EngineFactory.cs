using System.Buffers.Binary;
using System.Security.Cryptography;
using Hadal.Formats;
using Hadal.Model;
using Hadal.Tensors;
using Hadal.Tensors.Cpu;
using Hadal.Text;

namespace Hadal.Inference.Serving;

/// <summary>Opens models for serving.</summary>
public static class EngineFactory
{
    /// <summary>Loads a model from the public layout and starts the batching engine, which owns it.</summary>
    /// <param name="directory">config.json, safetensors and tokenizer.json.</param>
    /// <param name="name">Public name, such as <c>deepseek-chat</c>.</param>
    /// <param name="options">How the engine uses the machine; null for defaults.</param>
    /// <param name="backend">Where it runs, owned by the engine; null for the CPU with the threads of the environment.</param>
    /// <param name="warn">Told what the loader remarks.</param>
    /// <exception cref="FileNotFoundException">There is no tokenizer.json.</exception>
    /// <exception cref="ConfigurationException">config.json says something impossible.</exception>
    /// <exception cref="CheckpointFormatException">The weights do not fit.</exception>
    public static InferenceEngine Open(string directory, string name, EngineOptions? options = null, IBackend? backend = null, Action<string>? warn = null)
    {
        options = (options ?? new EngineOptions()).Validate();
        return Open(directory, name, backend, warn, options.Speculate, (model, weights, owned) => new InferenceEngine(model, weights, options, owned));
    }

    /// <summary>As <see cref="Open(string, string, EngineOptions?, IBackend?, Action{string}?)"/>, with the slow twin.</summary>
    public static PlainEngine OpenPlain(string directory, string name, EngineOptions? options = null, IBackend? backend = null, Action<string>? warn = null) =>
        Open(directory, name, backend, warn, withMtp: false, (model, weights, owned) => new PlainEngine(model, weights, options, owned));

    /// <summary>As <see cref="Open(string, string, EngineOptions?, IBackend?, Action{string}?)"/>, with prefill and decode as separate workers of this process.</summary>
    /// <param name="directory">config.json, safetensors and tokenizer.json.</param>
    /// <param name="name">Public name, such as <c>deepseek-chat</c>.</param>
    /// <param name="options">How the workers use the machine; null for defaults.</param>
    /// <param name="goals">What the router before them keeps to; null for nothing.</param>
    /// <param name="backend">Where it runs, owned by the router; null for the CPU with the threads of the environment.</param>
    /// <param name="warn">Told what the loader remarks.</param>
    public static Workers.Router OpenSeparate(string directory, string name, EngineOptions? options = null, Workers.RouterOptions? goals = null, IBackend? backend = null, Action<string>? warn = null)
    {
        options = (options ?? new EngineOptions()).Validate();
        return Open(directory, name, backend, warn, options.Speculate, (model, weights, owned) => Workers.SeparateWorkers.Start(model, weights, options, goals, owned));
    }

    /// <summary>Describes a model that is in memory.</summary>
    /// <param name="name">Public name.</param>
    /// <param name="transformer">The weights, in host memory.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <param name="endTokens">Ids that end an answer; those outside the vocabulary are left out.</param>
    public static ServedModel Describe(string name, Transformer transformer, Tokenizer tokenizer, IReadOnlyList<int> endTokens) => new(
        name, Fingerprint(transformer), tokenizer, transformer.Shape.MaxPositions, [.. endTokens.Where(id => (uint)id < (uint)transformer.Shape.Vocabulary).Distinct()]);

    /// <summary>
    /// 32 hexadecimal digits of the SHA-256 of the shape, the recipe, the element type and the checksum of all weights: what the content of a cache page depends on
    /// besides its tokens.
    /// </summary>
    public static string Fingerprint(Transformer transformer)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(System.Text.Encoding.UTF8.GetBytes($"hadal-model-1\n{transformer.Shape}\n{transformer.Recipe}\n{transformer.DType}\n"));
        Span<byte> sum = stackalloc byte[8];
        foreach (Parameter parameter in transformer.Parameters.All)
        {
            var checksum = new Checksum64();
            for (int row = 0; row < parameter.Value.Rows; row++) checksum.Append(Bytes(parameter.Value, row));
            BinaryPrimitives.WriteUInt64LittleEndian(sum, checksum.Value);
            hash.AppendData(sum);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset().AsSpan(0, 16));
    }

    static ReadOnlySpan<byte> Bytes(Tensor tensor, int row) =>
        tensor.DType == DType.F64 ? System.Runtime.InteropServices.MemoryMarshal.AsBytes(tensor.Row<double>(row)) : System.Runtime.InteropServices.MemoryMarshal.AsBytes(tensor.Row<float>(row));

    static T Open<T>(string directory, string name, IBackend? backend, Action<string>? warn, bool withMtp, Func<ServedModel, Transformer, IReadOnlyList<IDisposable>, T> make)
    {
        IBackend device = backend ?? new CpuBackend(CpuOptions.FromEnvironment());
        LoadedModel? loaded = null;
        try
        {
            string file = Path.Combine(directory, "tokenizer.json");
            if (!File.Exists(file))
                throw new FileNotFoundException($"{directory} holds no tokenizer.json; expected it beside config.json. Copy it from where the model came from.", file);
            Tokenizer tokenizer = Tokenizer.Load(file);
            loaded = ModelLoader.Load(directory, device, Recipe.Fp32, withMtp);
            foreach (string warning in loaded.Warnings) warn?.Invoke(warning);
            return make(Describe(name, loaded.Model, tokenizer, loaded.Configuration.EosTokenIds), loaded.Model, [loaded, device]);
        }
        catch
        {
            loaded?.Dispose();
            device.Dispose();
            throw;
        }
    }
}
