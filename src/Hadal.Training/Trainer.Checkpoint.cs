using System.Diagnostics.CodeAnalysis;
using Hadal.Model;
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
    long CheckpointBytes => (Model.Parameters.Length * (4 + 4 + 2 + 2 + (!_engine.HasAverage ? 0 : 4))) + (4 << 20);

    void Save()
    {
        if (_savedStep == _position.Step) return;
        (string Name, Tensor Tensor)[] state = [.. _engine.StateTensors()];
        if (TrainingState.FindNonFinite(state) is { } fault) Refuse(fault.Name, fault.Element, fault.Value);
        string path = _checkpoints.Save(_position.Step, CheckpointBytes, folder =>
        {
            ModelFiles.Export(folder, _configuration, Model, _data.Tokenizer, _run.Checkpoint);
            TrainingState.Write(folder, state, _position with { AverageUpdates = _engine.AverageUpdates }, Identity(_run, _data));
        });
        _savedStep = _position.Step;
        _observer.Saved(_position.Step, path);
    }

    /// <summary>What is not finite is not saved, so the newest checkpoint is always a good one.</summary>
    [DoesNotReturn]
    void Refuse(string name, long element, float value)
    {
        string what = name switch { "master" => "the weight", "first_moment" => "the first moment of AdamW for", "second_moment" => "the second moment of AdamW for", "average" => "the average of the weight", _ => name };
        Parameter? parameter = string.Equals(what, name, StringComparison.Ordinal) ? null : Model.Parameters.All.FirstOrDefault(p => element >= p.Offset && element < p.Offset + p.Length);
        string where = parameter is null ? $"element {element} of {what}" : $"{what} {parameter.Name}, element {element - parameter.Offset},";
        throw new NonFiniteTrainingException(
            $"The checkpoint of step {_position.Step} was not written: {where} is {value}. The gradients were finite, so an update overflowed or memory was spoilt. "
            + (_checkpoints.Any ? "The checkpoint before it is unchanged: go on from there" : "There is none before it: begin anew") + ", with a lower learning rate if it comes back.");
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

        TrainingPosition position = _engine.Restore(folder, Identity(_run, _data));
        _position = position;
        _savedStep = position.Step;
    }

    /// <summary>What makes two runs the same run: everything that decides bits, but not where it writes, how often it measures or how many threads and ranks it has.</summary>
    internal static string Identity(RunConfiguration given, Data.PreparedRun data)
    {
        var plain = new RunConfiguration();
        RunConfiguration run = given with
        {
            Output = "-", Threads = 0, Evaluation = plain.Evaluation, Checkpoint = plain.Checkpoint,
            Data = given.Data with { Sources = [data.Hash] },
            Model = given.Model with
            {
                ConfigFile = given.Model.ConfigFile is null ? null : "config.json", From = given.Model.From is string from ? Path.GetFileName(Path.TrimEndingDirectorySeparator(from)) : null,
            },
            Tokenizer = plain.Tokenizer, // its entries are in the hash
        };
        return run.ToJson(decidingBits: true);
    }
}
