using System.Text;
using System.Text.Json;
using Hadal.Model.Conversion;
using Hadal.Numerics;
using Hadal.Parallel.Ranks;
using Hadal.Parallel.Schedules;
using Hadal.Training.Data;
using Hadal.Training.Optimization;

namespace Hadal.Training;

public sealed partial record RunConfiguration
{
    /// <summary>Reads a run.json. Paths in it are relative to its folder.</summary>
    /// <param name="warnings">Receives one line per key that is not known.</param>
    /// <exception cref="RunConfigurationException">Not JSON, or a value that cannot be meant.</exception>
    public static RunConfiguration Load(string path, ICollection<string> warnings)
    {
        string text;
        try
        {
            text = File.ReadAllText(path, Encoding.UTF8);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new RunConfigurationException($"'{path}' cannot be read: {exception.Message}", exception);
        }

        return Parse(text, path, warnings).RelativeTo(Path.GetDirectoryName(Path.GetFullPath(path))!);
    }

    /// <summary>Reads the text of a run.json.</summary>
    /// <param name="json">An object; comments and trailing commas are allowed.</param>
    /// <param name="name">Name for messages.</param>
    /// <param name="warnings">Receives one line per key that is not known.</param>
    public static RunConfiguration Parse(string json, string name, ICollection<string> warnings)
    {
        JsonDocument document;
        try
        {
            document = JsonDocument.Parse(json, new JsonDocumentOptions { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true });
        }
        catch (JsonException exception)
        {
            throw new RunConfigurationException($"'{name}' is not JSON: {Hadal.Formats.JsonFault.Describe(exception)}.", exception);
        }

        using (document)
        {
            if (document.RootElement.ValueKind != JsonValueKind.Object) throw new RunConfigurationException($"'{name}' holds no object; expected {{ \"model\": …, \"data\": … }}.");
            try
            {
                var root = new ConfigurationReader(document.RootElement, "", warnings);
                RunConfiguration run = Read(root);
                root.WarnAboutTheRest();
                run.Validate();
                return run;
            }
            catch (RunConfigurationException exception)
            {
                throw new RunConfigurationException($"{name}: {exception.Message}", exception);
            }
        }
    }

    static RunConfiguration Read(ConfigurationReader root)
    {
        var d = new RunConfiguration();
        return new RunConfiguration
        {
            Model = root.Section("model", d.Model, s =>
            {
                string? from = s.Text("from", null), config = s.Text("config", null);
                if (from is not null) config = Path.Combine(from, "config.json");
                return new ModelChoice
                {
                    From = from,
                    ConfigFile = config,
                    Preset = s.Text("preset", config is null ? d.Model.Preset : null),
                    InitialDeviation = s.Number("initial_deviation", d.Model.InitialDeviation, 1e-6, 1),
                };
            }),
            Tokenizer = root.Section("tokenizer", d.Tokenizer, s => new TokenizerConfiguration
            {
                File = s.Text("file", null),
                Vocabulary = (int)s.Integer("vocabulary", d.Tokenizer.Vocabulary, 300, 1_000_000),
            }),
            Data = root.Section("data", d.Data, s => new DataConfiguration
            {
                Sources = s.Texts("sources", d.Data.Sources),
                Boundary = s.Choice("documents", d.Data.Boundary, ("file", DocumentBoundary.File), ("blank-line", DocumentBoundary.BlankLine)),
                HeldOutEvery = (int)s.Integer("held_out_every", d.Data.HeldOutEvery, 0, 1_000_000),
                FillInMiddleRate = s.Number("fim_rate", d.Data.FillInMiddleRate, 0, 1),
                PunctuationSplitRate = s.Number("punctuation_split_rate", d.Data.PunctuationSplitRate, 0, 1),
                SequenceLength = (int)s.Integer("sequence_length", d.Data.SequenceLength, 8, 1 << 20),
            }),
            Supervised = root.Section<SupervisedConfiguration?>("supervised", null, s =>
            {
                var plain = new SupervisedConfiguration();
                return new SupervisedConfiguration
                {
                    Tasks = s.Texts("tasks", plain.Tasks),
                    Samples = (int)s.Integer("samples", plain.Samples, 1, 10_000_000),
                    ThinkingShare = s.Number("thinking_share", plain.ThinkingShare, 0, 1),
                    SecondTurnShare = s.Number("second_turn_share", plain.SecondTurnShare, 0, 1),
                    Problems = (int)s.Integer("problems", plain.Problems, 1, 100_000),
                };
            }),
            Batch = root.Section("batch", d.Batch, s =>
            {
                int full = (int)s.Integer("micro_batches", d.Batch.MicroBatches, 1, 1 << 20);
                return new BatchConfiguration
                {
                    Rows = (int)s.Integer("rows", d.Batch.Rows, 1, 1 << 20),
                    MicroBatches = full,
                    FirstMicroBatches = (int)s.Integer("first_micro_batches", full, 1, full),
                    RampUntil = s.Number("ramp_until", d.Batch.RampUntil, 0, 1),
                };
            }),
            Budget = root.Section("budget", d.Budget, s => new BudgetConfiguration
            {
                Steps = s.OptionalInteger("steps", 1, 1L << 40),
                Tokens = s.OptionalInteger("tokens", 1, 1L << 60),
                Minutes = s.OptionalNumber("minutes", 0.01, 1e6),
            }),
            Optimizer = root.Section("optimizer", d.Optimizer, s => new OptimizerConfiguration
            {
                Beta1 = s.Number("beta1", d.Optimizer.Beta1, 0, 0.999999),
                Beta2 = s.Number("beta2", d.Optimizer.Beta2, 0, 0.999999),
                Epsilon = s.Number("epsilon", d.Optimizer.Epsilon, 1e-30, 1),
                WeightDecay = s.Number("weight_decay", d.Optimizer.WeightDecay, 0, 10),
                Clip = s.Number("clip", d.Optimizer.Clip, 0, 1e9),
            }),
            LearningRate = root.Section("learning_rate", d.LearningRate, s => new LearningRateSchedule
            {
                Peak = s.Number("peak", d.LearningRate.Peak, 0, 10),
                WarmupSteps = (int)s.Integer("warmup_steps", d.LearningRate.WarmupSteps, 0, int.MaxValue),
                ConstantUntil = s.Number("constant_until", d.LearningRate.ConstantUntil, 0, 1),
                CosineUntil = s.Number("cosine_until", d.LearningRate.CosineUntil, 0, 1),
                DecayedUntil = s.Number("decayed_until", d.LearningRate.DecayedUntil, 0, 1),
                DecayedFactor = s.Number("decayed_factor", d.LearningRate.DecayedFactor, 0, 1),
                FinalFactor = s.Number("final_factor", d.LearningRate.FinalFactor, 0, 1),
            }),
            MtpLambda = root.Section("mtp_lambda", d.MtpLambda, s => ReadStep(s, d.MtpLambda, 10)),
            BiasSpeed = root.Section("bias_speed", d.BiasSpeed, s => ReadStep(s, d.BiasSpeed, 1)),
            BalanceAlpha = root.Number("balance_alpha", d.BalanceAlpha, 0, 10),
            LossScale = root.Number("loss_scale", d.LossScale, 1, 1 << 24),
            Ema = root.Section("ema", d.Ema, s => new EmaConfiguration
            {
                Decay = s.Number("decay", d.Ema.Decay, 0, 0.9999999),
                Every = (int)s.Integer("every", d.Ema.Every, 1, int.MaxValue),
            }),
            Evaluation = root.Section("evaluation", d.Evaluation, s => new EvaluationConfiguration
            {
                Times = (int)s.Integer("times", d.Evaluation.Times, 0, 1_000_000),
                Bytes = (int)s.Integer("bytes", d.Evaluation.Bytes, 1, int.MaxValue),
                FinalBytes = (int)s.Integer("final_bytes", d.Evaluation.FinalBytes, 0, int.MaxValue),
                Prompts = s.Texts("prompts", d.Evaluation.Prompts),
                SampleTokens = (int)s.Integer("sample_tokens", d.Evaluation.SampleTokens, 1, 1 << 20),
                Temperature = s.Number("temperature", d.Evaluation.Temperature, 0, 100),
            }),
            Checkpoint = root.Section("checkpoint", d.Checkpoint, s => new CheckpointConfiguration
            {
                Every = (int)s.Integer("every", d.Checkpoint.Every, 0, int.MaxValue),
                Keep = (int)s.Integer("keep", d.Checkpoint.Keep, 1, int.MaxValue),
                Format = s.Choice("format", d.Checkpoint.Format, ("f32", WeightFormat.F32), ("bf16", WeightFormat.BF16), ("fp8", WeightFormat.Fp8)),
                Scales = s.Choice("scale_format", d.Checkpoint.Scales, ("float", ScaleKind.Plain), ("ue8m0", ScaleKind.PowerOfTwo)),
            }),
            Recording = root.Section("recording", d.Recording, s => new RecordingConfiguration { Every = (int)s.Integer("every", d.Recording.Every, 0, int.MaxValue) }),
            Parallel = root.Section("parallel", d.Parallel, s => new ParallelConfiguration
            {
                Data = (int)s.Integer("data", d.Parallel.Data, 1, InProcessRanks.Most),
                Pipeline = (int)s.Integer("pipeline", d.Parallel.Pipeline, 1, InProcessRanks.Most),
                Expert = (int)s.Integer("expert", d.Parallel.Expert, 1, InProcessRanks.Most),
                Nodes = (int)s.Integer("nodes", d.Parallel.Nodes, 1, InProcessRanks.Most),
                Schedule = s.Choice("schedule", d.Parallel.Schedule, [.. Enum.GetValues<ScheduleKind>().Select(kind => (PipelineSchedule.Name(kind), kind))]),
                Checked = s.Flag("checked", d.Parallel.Checked),
                Transport = s.Choice("transport", d.Parallel.Transport, [.. RankTransports.Names.Select(name => (name, name))]),
            }),
            Output = root.Text("output", d.Output)!,
            Seed = (ulong)root.Integer("seed", (long)d.Seed, 0, long.MaxValue),
            Threads = (int)root.Integer("threads", d.Threads, 0, 4096),
            Recipe = root.Text("recipe", d.Recipe)!,
        };
    }

    static StepSchedule ReadStep(ConfigurationReader s, StepSchedule d, double largest) =>
        new(s.Number("early", d.Early, 0, largest), s.Number("late", d.Late, 0, largest), s.Number("until", d.Until, 0, 1));

    /// <summary>Checks what concerns several keys together.</summary>
    /// <exception cref="RunConfigurationException">Names the keys.</exception>
    public void Validate()
    {
        int budgets = (Budget.Steps is null ? 0 : 1) + (Budget.Tokens is null ? 0 : 1) + (Budget.Minutes is null ? 0 : 1);
        if (budgets != 1) Throw.Configuration("budget", $"{budgets} of steps, tokens and minutes", "exactly one of them");
        if ((Model.Preset is null) == (Model.ConfigFile is null)) Throw.Configuration("model", Model.Preset is null ? "neither a preset nor a config" : "both a preset and a config", "exactly one of them");
        Supervised?.Validate();
        if (Supervised is not null && Parallel.Layout.Ranks > 1) Throw.Configuration("parallel", $"{Parallel.Layout}", "one rank: a supervised run (key 'supervised') does not spread over several");
        if (Supervised is null && Data.Sources.Count == 0) Throw.Configuration("data.sources", "empty", "at least one of bundled:austen, bundled:kjv, arithmetic:N, a file or a folder");
        if (Batch.FirstMicroBatches > Batch.MicroBatches) Throw.Configuration("batch.first_micro_batches", $"{Batch.FirstMicroBatches}", $"at most micro_batches = {Batch.MicroBatches}");
        if (LearningRate.ConstantUntil > LearningRate.CosineUntil || LearningRate.CosineUntil > LearningRate.DecayedUntil)
            Throw.Configuration("learning_rate", $"constant_until {LearningRate.ConstantUntil}, cosine_until {LearningRate.CosineUntil}, decayed_until {LearningRate.DecayedUntil}", "ascending values");
        if (Checkpoint.Format is not (WeightFormat.F32 or WeightFormat.BF16 or WeightFormat.Fp8)) Throw.Configuration("checkpoint.format", $"{Checkpoint.Format}", "one of f32, bf16, fp8");
        if (Checkpoint.Scales == ScaleKind.PowerOfTwo && Checkpoint.Format != WeightFormat.Fp8)
            Throw.Configuration("checkpoint.scale_format", "ue8m0", "float, or checkpoint.format fp8: only fp8 files have scales");
        if (Model.From is not null && Model.ConfigFile is null) Throw.Configuration("model.from", $"'{Model.From}' with a preset", "no preset: the model is the checkpoint's");
        if (!double.IsPow2(LossScale)) Throw.Configuration("loss_scale", FormattableString.Invariant($"{LossScale}"), "a power of two: then scaling rounds nothing");
        if (Parallel.Layout.Refusal(experts: null) is { } reason) Throw.Configuration("parallel", Parallel.Layout.ToString(), $"another layout: {reason}");
        if (Parallel.Layout.Ranks > 1 && Recording.Every > 0) Throw.Configuration("recording.every", $"{Recording.Every} with {Parallel.Layout.Ranks} ranks", "0: the flight recorder sees one rank only");
        if (string.IsNullOrWhiteSpace(Output)) Throw.Configuration("output", "empty", "a folder");
        try
        {
            Hadal.Model.Recipe.Find(Recipe);
        }
        catch (Exception exception) when (exception is ArgumentException or IOException or UnauthorizedAccessException)
        {
            throw new RunConfigurationException($"'recipe' is '{Recipe}', which cannot be used: {exception.Message}", exception);
        }
    }

    RunConfiguration RelativeTo(string folder) => Model.From is string from ? Absolute(folder).BeginningFrom(Path.GetFullPath(from, folder)) : Absolute(folder);

    RunConfiguration Absolute(string folder) => this with
    {
        Recipe = Recipe.EndsWith(".json", StringComparison.OrdinalIgnoreCase) ? Path.GetFullPath(Path.Combine(folder, Recipe)) : Recipe,
        Output = Path.GetFullPath(Output, folder),
        Model = Model with { ConfigFile = Model.ConfigFile is string config ? Path.GetFullPath(config, folder) : null },
        Tokenizer = Tokenizer with { File = Tokenizer.File is string file ? Path.GetFullPath(file, folder) : null },
        Data = Data with { Sources = [.. Data.Sources.Select(s => CorpusSources.IsGenerated(s) ? s : Path.GetFullPath(s, folder))] },
    };

    /// <summary>The run as JSON, every key written out; what <see cref="Parse"/> reads.</summary>
    public string ToJson() => ToJson(decidingBits: false);

    /// <param name="decidingBits">Leaves out what came to the file later and decides no bit, so that states of earlier runs stay theirs.</param>
    internal string ToJson(bool decidingBits)
    {
        using var memory = new MemoryStream();
        using (var json = new Utf8JsonWriter(memory, new JsonWriterOptions { Indented = true })) Write(json, decidingBits);
        return Encoding.UTF8.GetString(memory.ToArray());
    }

    void Write(Utf8JsonWriter json, bool decidingBits)
    {
        json.WriteStartObject();
        Section(json, "model", () =>
        {
            if (Model.Preset is not null) json.WriteString("preset", Model.Preset);
            if (Model.ConfigFile is not null) json.WriteString("config", Model.ConfigFile);
            if (Model.From is not null) json.WriteString("from", Model.From);
            json.WriteNumber("initial_deviation", Model.InitialDeviation);
        });
        Section(json, "tokenizer", () =>
        {
            if (Tokenizer.File is not null) json.WriteString("file", Tokenizer.File);
            json.WriteNumber("vocabulary", Tokenizer.Vocabulary);
        });
        Section(json, "data", () =>
        {
            Texts(json, "sources", Data.Sources);
            json.WriteString("documents", Data.Boundary == DocumentBoundary.File ? "file" : "blank-line");
            json.WriteNumber("held_out_every", Data.HeldOutEvery);
            json.WriteNumber("fim_rate", Data.FillInMiddleRate);
            json.WriteNumber("punctuation_split_rate", Data.PunctuationSplitRate);
            json.WriteNumber("sequence_length", Data.SequenceLength);
        });
        if (Supervised is not null) Section(json, "supervised", () =>
        {
            Texts(json, "tasks", Supervised.Tasks);
            json.WriteNumber("samples", Supervised.Samples);
            json.WriteNumber("thinking_share", Supervised.ThinkingShare);
            json.WriteNumber("second_turn_share", Supervised.SecondTurnShare);
            if (!decidingBits) json.WriteNumber("problems", Supervised.Problems);
        });
        Section(json, "batch", () =>
        {
            json.WriteNumber("rows", Batch.Rows);
            json.WriteNumber("micro_batches", Batch.MicroBatches);
            json.WriteNumber("first_micro_batches", Batch.FirstMicroBatches);
            json.WriteNumber("ramp_until", Batch.RampUntil);
        });
        Section(json, "budget", () =>
        {
            if (Budget.Steps is long steps) json.WriteNumber("steps", steps);
            if (Budget.Tokens is long tokens) json.WriteNumber("tokens", tokens);
            if (Budget.Minutes is double minutes) json.WriteNumber("minutes", minutes);
        });
        Section(json, "optimizer", () =>
        {
            json.WriteNumber("beta1", Optimizer.Beta1);
            json.WriteNumber("beta2", Optimizer.Beta2);
            json.WriteNumber("epsilon", Optimizer.Epsilon);
            json.WriteNumber("weight_decay", Optimizer.WeightDecay);
            json.WriteNumber("clip", Optimizer.Clip);
        });
        Section(json, "learning_rate", () =>
        {
            json.WriteNumber("peak", LearningRate.Peak);
            json.WriteNumber("warmup_steps", LearningRate.WarmupSteps);
            json.WriteNumber("constant_until", LearningRate.ConstantUntil);
            json.WriteNumber("cosine_until", LearningRate.CosineUntil);
            json.WriteNumber("decayed_until", LearningRate.DecayedUntil);
            json.WriteNumber("decayed_factor", LearningRate.DecayedFactor);
            json.WriteNumber("final_factor", LearningRate.FinalFactor);
        });
        Section(json, "mtp_lambda", () => Step(json, MtpLambda));
        Section(json, "bias_speed", () => Step(json, BiasSpeed));
        json.WriteNumber("balance_alpha", BalanceAlpha);
        if (!decidingBits || LossScale != 1) json.WriteNumber("loss_scale", LossScale);
        Section(json, "ema", () =>
        {
            json.WriteNumber("decay", Ema.Decay);
            json.WriteNumber("every", Ema.Every);
        });
        Section(json, "evaluation", () =>
        {
            json.WriteNumber("times", Evaluation.Times);
            json.WriteNumber("bytes", Evaluation.Bytes);
            json.WriteNumber("final_bytes", Evaluation.FinalBytes);
            Texts(json, "prompts", Evaluation.Prompts);
            json.WriteNumber("sample_tokens", Evaluation.SampleTokens);
            json.WriteNumber("temperature", Evaluation.Temperature);
        });
        Section(json, "checkpoint", () =>
        {
            json.WriteNumber("every", Checkpoint.Every);
            json.WriteNumber("keep", Checkpoint.Keep);
            if (decidingBits) return;
            json.WriteString("format", Checkpoint.Format switch { WeightFormat.BF16 => "bf16", WeightFormat.Fp8 => "fp8", _ => "f32" });
            json.WriteString("scale_format", Checkpoint.Scales == ScaleKind.PowerOfTwo ? "ue8m0" : "float");
        });
        if (!decidingBits)
        {
            Section(json, "recording", () => json.WriteNumber("every", Recording.Every));
            Section(json, "parallel", () =>
            {
                json.WriteNumber("data", Parallel.Data);
                json.WriteNumber("pipeline", Parallel.Pipeline);
                json.WriteNumber("expert", Parallel.Expert);
                json.WriteNumber("nodes", Parallel.Nodes);
                json.WriteString("schedule", PipelineSchedule.Name(Parallel.Schedule));
                json.WriteString("transport", Parallel.Transport);
                json.WriteBoolean("checked", Parallel.Checked);
            });
        }

        json.WriteString("output", Output);
        json.WriteNumber("seed", Seed);
        json.WriteNumber("threads", Threads);
        json.WriteString("recipe", Recipe);
        json.WriteEndObject();
    }

    static void Section(Utf8JsonWriter json, string key, Action body)
    {
        json.WriteStartObject(key);
        body();
        json.WriteEndObject();
    }

    static void Step(Utf8JsonWriter json, StepSchedule schedule)
    {
        json.WriteNumber("early", schedule.Early);
        json.WriteNumber("late", schedule.Late);
        json.WriteNumber("until", schedule.Until);
    }

    static void Texts(Utf8JsonWriter json, string key, IReadOnlyList<string> values)
    {
        json.WriteStartArray(key);
        foreach (string value in values) json.WriteStringValue(value);
        json.WriteEndArray();
    }
}
