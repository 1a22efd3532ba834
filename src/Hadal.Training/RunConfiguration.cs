using Hadal.Model.Conversion;
using Hadal.Numerics;
using Hadal.Parallel.Ranks;
using Hadal.Parallel.Schedules;
using Hadal.Training.Data;
using Hadal.Training.Optimization;

namespace Hadal.Training;

/// <summary>What a run trains on (key <c>data</c>).</summary>
public sealed record DataConfiguration
{
    /// <summary><c>bundled:austen</c>, <c>bundled:kjv</c>, <c>arithmetic:N</c> (N generated documents), or a file or folder (see <see cref="TextFiles"/>).</summary>
    public IReadOnlyList<string> Sources { get; init; } = ["bundled:austen", "bundled:kjv"];

    /// <summary>Where documents end inside files.</summary>
    public DocumentBoundary Boundary { get; init; } = DocumentBoundary.File;

    /// <summary>One of so many documents is held out (see <see cref="HeldOutSplit"/>); 0 for none.</summary>
    public int HeldOutEvery { get; init; } = 32;

    /// <summary>Part of the documents that become fill-in-the-middle; 0.1 in the report [V3 §4.1].</summary>
    public double FillInMiddleRate { get; init; } = 0.1;

    /// <summary>Part of the tokens joining punctuation and line ends that are taken apart; the report does it and does not say how often [V3 §4.1].</summary>
    public double PunctuationSplitRate { get; init; } = 0.05;

    /// <summary>Tokens of a training sequence, T.</summary>
    public int SequenceLength { get; init; } = 256;
}

/// <summary>How long a run is (key <c>budget</c>): exactly one of the three.</summary>
public sealed record BudgetConfiguration
{
    /// <summary>Optimizer steps.</summary>
    public long? Steps { get; init; }

    /// <summary>Tokens, rounded down to whole steps.</summary>
    public long? Tokens { get; init; }

    /// <summary>Minutes of training: the first steps are timed, then the number of steps is fixed and recorded, and from there the run is a function of it.</summary>
    public double? Minutes { get; init; }
}

/// <summary>Rows and micro-batches (key <c>batch</c>).</summary>
public sealed record BatchConfiguration
{
    /// <summary>Sequences of one micro-batch.</summary>
    public int Rows { get; init; } = 8;

    /// <summary>Micro-batches of one step.</summary>
    public int MicroBatches { get; init; } = 1;

    /// <summary>Micro-batches of the first step, when the batch ramps up.</summary>
    public int FirstMicroBatches { get; init; } = 1;

    /// <summary>Fraction of the run over which the batch ramps up; 0 for none.</summary>
    public double RampUntil { get; init; }

    /// <summary>The schedule.</summary>
    public BatchSchedule Schedule => new(FirstMicroBatches, MicroBatches, RampUntil);
}

/// <summary>AdamW (key <c>optimizer</c>), values of the report [V3 §4.2].</summary>
public sealed record OptimizerConfiguration
{
    /// <summary>Decay of the first moment.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Decay of the second moment.</summary>
    public double Beta2 { get; init; } = 0.95;

    /// <summary>Added to the root of the second moment.</summary>
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>Decoupled decay of everything but norms and selection biases.</summary>
    public double WeightDecay { get; init; } = 0.1;

    /// <summary>Largest global norm of the gradient; 0 for no clipping.</summary>
    public double Clip { get; init; } = 1;
}

/// <summary>Moving average of the weights (key <c>ema</c>) [V3 §3.2.3]; the report does not give the decay.</summary>
public sealed record EmaConfiguration
{
    /// <summary>Decay per update; 0 for no average.</summary>
    public double Decay { get; init; } = 0.99;

    /// <summary>Steps between two updates.</summary>
    public int Every { get; init; } = 10;
}

/// <summary>Measuring while training (key <c>evaluation</c>).</summary>
public sealed record EvaluationConfiguration
{
    /// <summary>Evaluations while training, evenly spaced, besides one before the first step and the final one; 0 for the final one alone.</summary>
    public int Times { get; init; } = 10;

    /// <summary>Held-out bytes per text that are scored while training; whole documents until the sum is reached.</summary>
    public int Bytes { get; init; } = 16_000;

    /// <summary>Held-out bytes per text that are scored at the end; 0 for all.</summary>
    public int FinalBytes { get; init; }

    /// <summary>Prompts that are continued at every evaluation.</summary>
    public IReadOnlyList<string> Prompts { get; init; } = [];

    /// <summary>Tokens of a continuation.</summary>
    public int SampleTokens { get; init; } = 48;

    /// <summary>Temperature of continuations; 0 takes the most likely token.</summary>
    public double Temperature { get; init; } = 0.7;
}

/// <summary>Saving (key <c>checkpoint</c>).</summary>
public sealed record CheckpointConfiguration
{
    /// <summary>Steps between two checkpoints; 0 for one at the end and on interruption.</summary>
    public int Every { get; init; } = 500;

    /// <summary>Training states that are kept.</summary>
    public int Keep { get; init; } = 2;

    /// <summary>
    /// What the public files hold: F32, BF16, or Fp8 as the published V3 (<c>weight_scale_inv</c>). The training state beside them has the F32 weights whatever is chosen, so no bit of
    /// a run depends on it.
    /// </summary>
    public WeightFormat Format { get; init; } = WeightFormat.F32;

    /// <summary>Scales of Fp8 files: plain, or powers of two (<c>ue8m0</c>).</summary>
    public ScaleKind Scales { get; init; }
}

/// <summary>The flight recorder (key <c>recording</c>); changes no bit of the result.</summary>
public sealed record RecordingConfiguration
{
    /// <summary>Steps between two records when recording is asked for without a number.</summary>
    public const int UsualEvery = 50;

    /// <summary>Steps between two records; 0 for none.</summary>
    public int Every { get; init; }
}

/// <summary>How ranks share the work (key <c>parallel</c>); changes no bit of the result. Everything 1 is one rank.</summary>
public sealed record ParallelConfiguration
{
    /// <summary>Groups of ranks that hold the same experts, each with micro-batches of its own.</summary>
    public int Data { get; init; } = 1;

    /// <summary>Ranks of the pipeline.</summary>
    public int Pipeline { get; init; } = 1;

    /// <summary>Ranks that share the experts of a layer, each with micro-batches of its own.</summary>
    public int Expert { get; init; } = 1;

    /// <summary>Nodes that those lie on.</summary>
    public int Nodes { get; init; } = 1;

    /// <summary>Schedule of the pipeline.</summary>
    public ScheduleKind Schedule { get; init; } = ScheduleKind.OneForwardOneBackward;

    /// <summary>What carries messages: <c>in-process</c> (threads of one process), <c>mpi</c> (processes, started by mpirun) or <c>nccl</c> (threads with a GPU each).</summary>
    public string Transport { get; init; } = RankTransports.InProcess;

    /// <summary>Every message carries its number, length and checksum, and is compared where it arrives.</summary>
    public bool Checked { get; init; }

    /// <summary>The layout.</summary>
    public RankLayout Layout => new(Data, Pipeline, Expert, Nodes, Schedule);
}

/// <summary>The model (key <c>model</c>): exactly one of a preset and a config.json.</summary>
public sealed record ModelChoice
{
    /// <summary>Name of a preset; see <see cref="ModelPresets"/>.</summary>
    public string? Preset { get; init; } = "nano";

    /// <summary>A public config.json; its vocab_size is replaced by the tokenizer's.</summary>
    public string? ConfigFile { get; init; }

    /// <summary>
    /// Folder of a public checkpoint, FP8 blocks included, whose weights a new run begins from (key <c>from</c>); its config.json is the model's. Null begins with fresh weights.
    /// MTP modules it does not hold are left out.
    /// </summary>
    public string? From { get; init; }

    /// <summary>Standard deviation of the initial weights; 0.006 in the report [V3 §4.2], more for narrow models.</summary>
    public double InitialDeviation { get; init; } = 0.02;
}

/// <summary>The tokenizer (key <c>tokenizer</c>): a file, or a size to train.</summary>
public sealed record TokenizerConfiguration
{
    /// <summary>A tokenizer.json to use.</summary>
    public string? File { get; init; }

    /// <summary>Entries of a tokenizer trained on the training documents, special tokens included.</summary>
    public int Vocabulary { get; init; } = 4096;
}

/// <summary>
/// Everything that decides a training run: <c>run.json</c>. Two runs with equal configurations, data and step counts give the same bits.
/// Defaults are the report's where a small model can use them.
/// </summary>
public sealed partial record RunConfiguration
{
    /// <summary>The model.</summary>
    public ModelChoice Model { get; init; } = new();

    /// <summary>The tokenizer.</summary>
    public TokenizerConfiguration Tokenizer { get; init; } = new();

    /// <summary>The text.</summary>
    public DataConfiguration Data { get; init; } = new();

    /// <summary>Questions with answers to learn instead of text (key <c>supervised</c>): the stage after pre-training; null for text.</summary>
    public SupervisedConfiguration? Supervised { get; init; }

    /// <summary>Batch.</summary>
    public BatchConfiguration Batch { get; init; } = new();

    /// <summary>Length.</summary>
    public BudgetConfiguration Budget { get; init; } = new() { Steps = 1000 };

    /// <summary>AdamW.</summary>
    public OptimizerConfiguration Optimizer { get; init; } = new();

    /// <summary>Learning rate (key <c>learning_rate</c>).</summary>
    public LearningRateSchedule LearningRate { get; init; } = new() { Peak = 2e-3, WarmupSteps = 100 };

    /// <summary>λ of the MTP loss (key <c>mtp_lambda</c>).</summary>
    public StepSchedule MtpLambda { get; init; } = new(0.3, 0.1, 10 / 14.8);

    /// <summary>γ, speed of the expert biases (key <c>bias_speed</c>).</summary>
    public StepSchedule BiasSpeed { get; init; } = new(0.001, 0, 14.3 / 14.8);

    /// <summary>α of the sequence-wise balance loss (key <c>balance_alpha</c>).</summary>
    public double BalanceAlpha { get; init; } = 1e-4;

    /// <summary>
    /// Factor on the loss whose gradient is taken, a power of two, divided out again before the gradient is clipped (key <c>loss_scale</c>): the result is the same but for what would
    /// underflow on the way. Scales of FP8 have a floor (the largest magnitude of a tile counts as at least 1e-4); gradients of a mean over many tokens lie below it in small models.
    /// </summary>
    public double LossScale { get; init; } = 1;

    /// <summary>Moving average.</summary>
    public EmaConfiguration Ema { get; init; } = new();

    /// <summary>Evaluation.</summary>
    public EvaluationConfiguration Evaluation { get; init; } = new();

    /// <summary>Checkpoints.</summary>
    public CheckpointConfiguration Checkpoint { get; init; } = new();

    /// <summary>Flight recorder.</summary>
    public RecordingConfiguration Recording { get; init; } = new();

    /// <summary>Ranks.</summary>
    public ParallelConfiguration Parallel { get; init; } = new();

    /// <summary>Folder that receives the model, its training states and metrics.</summary>
    public string Output { get; init; } = "models/run";

    /// <summary>Seed of initialisation, order of the rows and fill-in-the-middle.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>Threads; 0 for one per processor. Does not change any bit of the result.</summary>
    public int Threads { get; init; }

    /// <summary>Precision: a recipe's name, or a .json file that defines one (key <c>recipe</c>).</summary>
    public string Recipe { get; init; } = "fp32";

    /// <summary>The run, beginning from a public checkpoint: shape and weights are the checkpoint's, and so is the tokenizer unless the run names one.</summary>
    /// <param name="folder">Holds config.json, safetensors and usually tokenizer.json.</param>
    public RunConfiguration BeginningFrom(string folder)
    {
        string full = Path.GetFullPath(folder), tokenizer = Path.Combine(full, "tokenizer.json");
        return this with
        {
            Model = Model with { Preset = null, ConfigFile = Path.Combine(full, "config.json"), From = full },
            Tokenizer = Tokenizer.File is null && System.IO.File.Exists(tokenizer) ? Tokenizer with { File = tokenizer } : Tokenizer,
        };
    }
}
