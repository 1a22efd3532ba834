using Hadal.Tensors;
using Hadal.Tensors.Cpu;
using Hadal.Tensors.Reference;
using Hadal.Training.Data;

namespace Hadal.Training.Tests;

/// <summary>Runs that take seconds: generated text, the tiny preset, short rows.</summary>
static class TinyRuns
{
    internal static RunConfiguration Configuration(TemporaryFolder folder, long steps) => new()
    {
        Model = new ModelChoice { Preset = "tiny", InitialDeviation = 0.05 },
        Tokenizer = new TokenizerConfiguration { Vocabulary = 320 },
        Data = new DataConfiguration { Sources = ["arithmetic:64"], HeldOutEvery = 16, SequenceLength = 24 },
        Batch = new BatchConfiguration { Rows = 2, MicroBatches = 3, FirstMicroBatches = 3 },
        Budget = new BudgetConfiguration { Steps = steps },
        LearningRate = new Hadal.Training.Optimization.LearningRateSchedule { Peak = 4e-3, WarmupSteps = 4 },
        Ema = new EmaConfiguration { Decay = 0.9, Every = 2 },
        Evaluation = new EvaluationConfiguration { Times = 0, FinalBytes = 400 },
        Checkpoint = new CheckpointConfiguration { Every = 0 },
        Output = folder.Path,
    };

    internal static PreparedRun Prepare(RunConfiguration run) => PreparedRun.Prepare(run, ModelFiles.MtpDepth(run), new Recorder(), cache: null);

    /// <summary>Both backends by name.</summary>
    public static TheoryData<string> Backends() => ["reference", "cpu"];

    /// <summary>One of them; threads beyond the machine's are allowed.</summary>
    internal static IBackend Backend(string name = "reference", int threads = 2) =>
        name is "cpu" ? new CpuBackend(new CpuOptions(threads, InstructionSets.Best)) : new ReferenceBackend();
}
