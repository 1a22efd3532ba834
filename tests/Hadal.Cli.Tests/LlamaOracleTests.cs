using System.Diagnostics;
using System.Text.Json;
using Hadal.Formats;
using Hadal.Inference;
using Hadal.Model;
using Hadal.Model.Conversion;
using Hadal.Tensors.Cpu;
using Hadal.Text;
using Hadal.Training;

namespace Hadal.Cli.Tests;

/// <summary>llama.cpp (tests/oracles/llama) loads the GGUF files of <c>hadal convert</c> and continues token ids as Hadal does.</summary>
public sealed class LlamaOracleTests
{
    const int Prompts = 6, NewTokens = 24;

    /// <summary>Two float32 programs add in different orders: where they part, our logits of both tokens must be this close, relative to the largest logit.</summary>
    const double Noise = 2e-4;

    public static TheoryData<string> Variants() => ["lora-groups-shared2", "plain-query-one-group", "yarn", "dense-tied", "softmax"];

    static ModelConfiguration Configuration(string variant, int vocabulary)
    {
        var configuration = new ModelConfiguration
        {
            VocabularySize = vocabulary + 7, HiddenSize = 64, Layers = 3, FirstDenseLayers = 1, IntermediateSize = 96, Heads = 4, QueryLoraRank = 40, KeyValueLoraRank = 32, NopeHeadDim = 16,
            RopeHeadDim = 8, ValueHeadDim = 24, RoutedExperts = 16, ExpertsPerToken = 4, ExpertGroups = 4, TopGroups = 2, SharedExperts = 2, MoeIntermediateSize = 32, MaxPositionEmbeddings = 256,
            RoutedScalingFactor = 2.5, BosTokenId = 0, EosTokenIds = [1], TorchType = "float32",
        };
        return variant switch
        {
            "lora-groups-shared2" => configuration,
            "plain-query-one-group" => configuration with { QueryLoraRank = 0, ExpertGroups = 1, TopGroups = 1, SharedExperts = 1, NopeHeadDim = 24, ValueHeadDim = 16, Heads = 3 },
            "yarn" => configuration with { RopeScaling = new YarnScaling(4, 64, 32, 1, 1, 1) },
            "dense-tied" => configuration with { RoutedExperts = 0, SharedExperts = 0, ExpertsPerToken = 0, ExpertGroups = 1, TopGroups = 1, MoeIntermediateSize = 0, FirstDenseLayers = 3, TieWordEmbeddings = true },
            "softmax" => configuration with { ModelType = "deepseek_v2", Scoring = ScoringFunction.Softmax, TopKMethod = TopKMethod.Greedy, NormalizeTopK = false, RoutedScalingFactor = 1, ExpertGroups = 1, TopGroups = 1 },
            _ => throw new ArgumentOutOfRangeException(nameof(variant), variant, "Unknown variant."),
        };
    }

    [Theory]
    [Trait("tier", "full")]
    [MemberData(nameof(Variants))]
    public void Random_models_are_continued_with_the_same_tokens(string variant)
    {
        using var scratch = new Scratch();
        Tokenizer tokenizer = TokenizerTrainer.Train(["the sea, the deep sea, and the deepest of all the seas"], new TokenizerTrainingOptions { VocabularySize = 300, MinimumFrequency = 1, Threads = 1 });
        ModelConfiguration configuration = Configuration(variant, tokenizer.VocabularySize);
        configuration.Validate();
        using (var backend = new CpuBackend(CpuOptions.FromEnvironment() with { Threads = 1 }))
        using (var model = new Transformer(backend, ModelLoader.Shape(configuration), Recipe.Fp32))
        {
            Initialization.Normal(model, seed: 5, deviation: 0.15);
            foreach (Parameter parameter in model.Parameters.All.Where(p => p.Kind == ParameterKind.SelectionBias))
                for (int e = 0; e < parameter.Value.Columns; e++) parameter.Value.AsSpan<float>()[e] = 0.02f * (e % 5);
            ModelFiles.Export(scratch["model"], configuration, model, tokenizer);
        }

        Compare(scratch, scratch["model"], configuration.VocabularySize - 7);
    }

    [Fact]
    [Trait("tier", "full")]
    public void A_nano_that_was_trained_is_continued_with_the_same_tokens()
    {
        using var scratch = new Scratch();
        Outcome trained = HadalProcess.Run("quickstart", "--steps", "12", "--no-chat", "--output", scratch["model"]);
        Assert.True(trained.Code == 0, trained.ToString());
        Outcome converted = Compare(scratch, scratch["model"], 4096);
        Assert.Contains("multi-token prediction is left out", converted.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void What_llama_cpp_cannot_run_is_refused_by_name()
    {
        using var scratch = new Scratch();
        Directory.CreateDirectory(scratch["model"]);
        Tokenizer tokenizer = TokenizerTrainer.Train(["a"], new TokenizerTrainingOptions { VocabularySize = 280, MinimumFrequency = 1, Threads = 1 });
        tokenizer.Save(scratch["model/tokenizer.json"]);
        (Configuration("lora-groups-shared2", 300) with { SharedExperts = 0 }).Save(scratch["model/config.json"]);
        ConfigurationException exception = Assert.Throws<ConfigurationException>(() => GgufConverter.Convert(scratch["model"], scratch["out.gguf"], WeightFormat.F32));
        Assert.Contains("n_shared_experts", exception.Message, StringComparison.Ordinal);
        Assert.False(File.Exists(scratch["out.gguf"]));
        Outcome fp8 = HadalProcess.Run("convert", scratch["model"], scratch["out.gguf"], "--dtype", "fp8");
        Assert.Equal(2, fp8.Code);
    }

    static Outcome Compare(Scratch scratch, string folder, int vocabulary)
    {
        Outcome converted = HadalProcess.Run("convert", folder, scratch["model.gguf"], "--dtype", "f32");
        Assert.True(converted.Code == 0, converted.ToString());
        int[][] prompts = new int[Prompts][];
        var random = new Random(11);
        for (int p = 0; p < Prompts; p++) prompts[p] = [0, .. Enumerable.Range(0, 2 + (p * 9)).Select(_ => random.Next(3, vocabulary - 20))];
        int[][] theirs = Ask(scratch, prompts);
        using var backend = new CpuBackend(CpuOptions.FromEnvironment());
        using LoadedModel loaded = ModelLoader.Load(folder, backend, Recipe.Fp32, withMtp: false);
        int equal = 0;
        for (int p = 0; p < Prompts; p++) equal += Agreeing(loaded.Model, prompts[p], theirs[p]);
        // Where two tokens are equally likely the texts part for good; that is rare.
        Assert.True(equal >= Prompts * NewTokens * 0.8, $"Only {equal} of {Prompts * NewTokens} tokens were compared before the texts parted within float noise.");
        return converted;
    }

    /// <summary>Tokens until the texts part; where they do, both tokens must be equally likely within float noise.</summary>
    static int Agreeing(Transformer model, int[] prompt, int[] theirs)
    {
        Assert.Equal(NewTokens, theirs.Length);
        using var session = new GenerationSession(model, prompt.Length + NewTokens);
        session.Append(prompt);
        for (int i = 0; i < NewTokens; i++)
        {
            ReadOnlySpan<float> logits = session.Logits;
            int ours = 0;
            float largest = 0;
            for (int v = 0; v < logits.Length; v++)
            {
                if (logits[v] > logits[ours]) ours = v;
                largest = Math.Max(largest, Math.Abs(logits[v]));
            }

            if (ours != theirs[i])
            {
                double margin = logits[ours] - logits[theirs[i]];
                Assert.True(margin <= Noise * largest, $"New token {i} after {prompt.Length}: ours {ours}, llama.cpp's {theirs[i]}, and our logits differ by {margin:R} of {largest:R}.");
                return i;
            }

            session.Append([ours]);
        }

        return NewTokens;
    }

    static int[][] Ask(Scratch scratch, int[][] prompts)
    {
        string modules = Path.Combine(HadalProcess.Root, "artifacts", "oracles", "llama", "node_modules");
        Assert.True(Directory.Exists(modules), $"{modules} is missing. Run ./test.sh, or tests/oracles/llama/install.sh, which installs llama.cpp.");
        File.WriteAllText(scratch["request.json"], $$"""{"modules":{{Json(modules)}},"model":{{Json(scratch["model.gguf"])}},"prompts":[{{string.Join(',', prompts.Select(p => $"[{string.Join(',', p)}]"))}}],"count":{{NewTokens}}}""");
        var start = new ProcessStartInfo("node", [Path.Combine(HadalProcess.Root, "tests", "oracles", "llama", "greedy.js"), scratch["request.json"]]) { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start)!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"node greedy.js ended with {process.ExitCode}: {errors.GetAwaiter().GetResult()}");
        return [.. JsonDocument.Parse(output).RootElement.EnumerateArray().Select(row => row.EnumerateArray().Select(id => id.GetInt32()).ToArray())];
    }

    static string Json(string text) => JsonSerializer.Serialize(text);
}
