using Hadal.Tensors;
using Hadal.Training.State;

namespace Hadal.Training;

public sealed partial class Trainer
{
    readonly CheckpointStore _checkpoints;
    long _savedStep = -1;

    /// <summary>Checkpoints of the run, for messages and tests.</summary>
    internal CheckpointStore Checkpoints => _checkpoints;

    /// <summary>Bytes of a checkpoint: the public model and the training state, plus room for the small files.</summary>
    long CheckpointBytes => (Model.Parameters.Length * (4 + 4 + 2 + 2 + (_average is null ? 0 : 4))) + (4 << 20);

    void Save()
    {
        if (_savedStep == _position.Step) return;
        string path = _checkpoints.Save(_position.Step, CheckpointBytes, folder =>
        {
            ModelFiles.Export(folder, _configuration, Model, _data.Tokenizer);
            TrainingState.Write(folder, StateTensors(), _position with { AverageUpdates = _average?.Updates ?? 0 }, Identity());
        });
        _savedStep = _position.Step;
        _observer.Saved(_position.Step, path);
    }

    void Restore()
    {
        string? folder = _checkpoints.FindUsable(_observer.Warned);
        if (folder is null)
        {
            if (_checkpoints.Any)
                Throw.State($"Every checkpoint in '{_checkpoints.Folder}' is damaged.", "Restore one from a backup, or choose another output folder to begin anew.");
            Directory.CreateDirectory(_run.Output);
            _checkpoints.RequireRoom(CheckpointBytes);
            _data.Tokenizer.Save(Path.Combine(_run.Output, "tokenizer.json"));
            Hadal.Formats.AtomicFile.WriteAllText(Path.Combine(_run.Output, "run.json"), _run.ToJson());
            return;
        }

        TrainingPosition position = TrainingState.Read(folder, StateTensors(), Identity());
        _average?.Restore(_average.Average().AsSpan<float>(), position.AverageUpdates);
        Model.Refresh();
        _position = position;
        _savedStep = position.Step;
    }

    /// <summary>What makes two runs the same run: everything that decides bits, but not where it writes, how often it measures or how many threads it has.</summary>
    string Identity()
    {
        var plain = new RunConfiguration();
        RunConfiguration run = _run with
        {
            Output = "-", Threads = 0, Evaluation = plain.Evaluation, Checkpoint = plain.Checkpoint,
            Data = _run.Data with { Sources = [_data.Hash] },
            Model = _run.Model with { ConfigFile = _run.Model.ConfigFile is null ? null : "config.json" },
            Tokenizer = plain.Tokenizer,
        };
        return run.ToJson(decidingBits: true);
    }

    /// <summary>The tensors that decide the next step, flat: masters (with the selection biases), moments, the weight average, and what delayed scales are taken from.</summary>
    IEnumerable<(string Name, Tensor Tensor)> StateTensors()
    {
        yield return ("master", Model.Parameters.Values);
        yield return ("first_moment", _optimizer.FirstMoment);
        yield return ("second_moment", _optimizer.SecondMoment);
        if (_average is not null) yield return ("average", _average.Average());
        if (Model.Parameters.ScalingHistory is { } history) yield return ("scaling_history", history.State);
    }
}
