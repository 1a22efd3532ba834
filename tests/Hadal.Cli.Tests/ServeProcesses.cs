using System.Collections.Concurrent;
using System.Diagnostics;
using Hadal.Formats;
using Hadal.Inference.Serving;
using Hadal.Model;
using Hadal.Tensors.Cpu;
using Hadal.Text;
using Hadal.Training;

namespace Hadal.Cli.Tests;

/// <summary>A model of random weights in the public layout, for serving.</summary>
static class ServedFolder
{
    public const int Positions = 2048;

    /// <summary>Writes it; with an MTP module, so that tokens are drafted.</summary>
    public static void Write(string folder, ulong seed = 5)
    {
        Tokenizer tokenizer = TokenizerTrainer.Train(["the sea, the deep sea, and the deepest of all the seas"], new TokenizerTrainingOptions { VocabularySize = 300, MinimumFrequency = 1, Threads = 1 });
        var configuration = new ModelConfiguration
        {
            VocabularySize = tokenizer.VocabularySize, HiddenSize = 128, Layers = 4, FirstDenseLayers = 1, IntermediateSize = 192, Heads = 4, QueryLoraRank = 40, KeyValueLoraRank = 32, NopeHeadDim = 16,
            RopeHeadDim = 8, ValueHeadDim = 24, RoutedExperts = 16, ExpertsPerToken = 4, ExpertGroups = 4, TopGroups = 2, SharedExperts = 1, MoeIntermediateSize = 48, MaxPositionEmbeddings = Positions,
            RoutedScalingFactor = 2.5, BosTokenId = 0, EosTokenIds = [1], TorchType = "float32", MtpLayers = 1,
        };
        configuration.Validate();
        using var backend = new CpuBackend(CpuOptions.FromEnvironment() with { Threads = 1 });
        using var model = new Transformer(backend, ModelLoader.Shape(configuration), Recipe.Fp32);
        Initialization.Normal(model, seed, deviation: 0.12);
        ModelFiles.Export(folder, configuration, model, tokenizer);
    }

    /// <summary>What one engine that knows nothing of workers makes of the requests.</summary>
    public static async Task<int[][]> PlainAsync(string folder, IReadOnlyList<GenerationRequest> requests)
    {
        await using PlainEngine plain = EngineFactory.OpenPlain(folder, "plain", new EngineOptions { QueueLength = requests.Count });
        return await Task.WhenAll(requests.Select(request => TokensAsync(plain, request)));
    }

    public static async Task<int[]> TokensAsync(IInferenceEngine engine, GenerationRequest request, Action<int>? seen = null)
    {
        var tokens = new List<int>();
        FinishReason? reason = null;
        await foreach (GenerationEvent happened in engine.GenerateAsync(request))
        {
            if (happened is TokensGenerated generated)
            {
                tokens.AddRange(generated.Tokens);
                seen?.Invoke(tokens.Count);
            }

            if (happened is RequestFinished finished) reason = finished.Reason;
        }

        Assert.True(reason is FinishReason.Length or FinishReason.Stop, $"{reason} after {tokens.Count} tokens");
        return [.. tokens];
    }
}

/// <summary><c>hadal serve</c> as a process; killed when it is disposed.</summary>
sealed class ServeProcess : IDisposable
{
    static readonly TimeSpan StartLimit = TimeSpan.FromSeconds(120);
    readonly ConcurrentQueue<string> _errors = new(), _outputs = new();

    ServeProcess(Process process, string line)
    {
        Process = process;
        FirstLine = line;
    }

    public Process Process { get; }

    /// <summary>The first line of standard output: a worker's address, or a key.</summary>
    public string FirstLine { get; private set; }

    public IEnumerable<string> Errors => _errors;

    /// <summary>All lines of standard output up to now.</summary>
    public IEnumerable<string> Outputs => _outputs;

    /// <summary>Starts it and waits until standard error says that it is ready.</summary>
    public static async Task<ServeProcess> StartAsync(Scratch scratch, IReadOnlyDictionary<string, string> environment, params string[] arguments)
    {
        Process process = HadalProcess.Start(new Setting { Environment = environment, Folder = scratch.Folder }, ["serve", .. arguments]);
        var serve = new ServeProcess(process, "");
        var ready = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        process.ErrorDataReceived += (_, line) =>
        {
            if (line.Data is null)
            {
                ready.TrySetException(new InvalidOperationException($"hadal serve {string.Join(' ', arguments)} ended.\n{string.Join('\n', serve._errors)}"));
                return;
            }

            serve._errors.Enqueue(line.Data);
            if (line.Data.StartsWith("Ready", StringComparison.Ordinal)) ready.TrySetResult();
        };
        var first = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        process.OutputDataReceived += (_, line) =>
        {
            if (line.Data is not null) serve._outputs.Enqueue(line.Data);
            first.TrySetResult(line.Data ?? "");
        };
        process.BeginErrorReadLine();
        process.BeginOutputReadLine();
        try
        {
            await ready.Task.WaitAsync(StartLimit);
            if (arguments.Contains("prefill", StringComparer.Ordinal) || arguments.Contains("decode", StringComparer.Ordinal)) serve.FirstLine = await first.Task.WaitAsync(StartLimit);
            return serve;
        }
        catch
        {
            serve.Dispose();
            throw;
        }
    }

    /// <summary>The address that a server says it listens on.</summary>
    public Uri Address => new(Errors.First(line => line.StartsWith("Serving", StringComparison.Ordinal)).Split(' ').First(word => word.StartsWith("http://", StringComparison.Ordinal)));

    /// <summary>SIGKILL, and gone.</summary>
    public void Kill()
    {
        Process.Kill();
        Process.WaitForExit();
    }

    /// <summary>SIGTERM, and its exit code.</summary>
    public async Task<int> EndAsync()
    {
        HadalProcess.Signal(Process, "TERM");
        using var limit = new CancellationTokenSource(StartLimit);
        await Process.WaitForExitAsync(limit.Token);
        return Process.ExitCode;
    }

    public void Dispose()
    {
        if (!Process.HasExited) Process.Kill(entireProcessTree: true);
        Process.WaitForExit(10_000);
        Process.Dispose();
    }
}
