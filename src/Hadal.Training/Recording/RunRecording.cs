namespace Hadal.Training.Recording;

/// <summary>One recorded step.</summary>
/// <param name="Facts">Loss, gradient norm.</param>
/// <param name="Tensors">The tensors, in the order of computation.</param>
/// <param name="Statistics">Of each of them.</param>
public sealed record RecordedStep(StepFacts Facts, IReadOnlyList<RecordedTensor> Tensors, IReadOnlyList<TensorStatistics> Statistics);

/// <summary>The recording of a run, read step by step.</summary>
public sealed class RunRecording : IDisposable
{
    /// <summary>Steps one recording may have; a hostile file is refused before it fills the memory.</summary>
    const int MostSteps = 10_000_000;

    readonly List<FileStream> _files = [];
    readonly SortedDictionary<long, (int File, RecordPlace Place, RecordedTensor[] Tensors)> _steps = [];

    RunRecording()
    {
    }

    /// <summary>Name of the recipe that was recorded last.</summary>
    public string Recipe { get; private set; } = "";

    /// <summary>Steps between two records.</summary>
    public int Every { get; private set; }

    /// <summary>The recorded steps, ascending.</summary>
    public IReadOnlyCollection<long> Steps => _steps.Keys;

    /// <summary>Opens what a run recorded.</summary>
    /// <param name="path">The output folder of a run, or one file of its recording.</param>
    /// <param name="warnings">Receives a line for each damaged file; what comes before the damage is read.</param>
    /// <exception cref="FileNotFoundException">There is no recording.</exception>
    /// <exception cref="InvalidDataException">There are files and none has a step that can be read.</exception>
    public static RunRecording Open(string path, ICollection<string> warnings)
    {
        ArgumentNullException.ThrowIfNull(warnings);
        string[] paths = File.Exists(path) ? [path] : [.. RecordFormat.Files(path).Select(f => f.Path)];
        if (paths.Length == 0)
            throw new FileNotFoundException($"There is no flight recording in '{path}': no file flight-001.rec. Runs are recorded with hadal train --record, or \"recording\": {{ \"every\": {RecordingConfiguration.UsualEvery} }} in their run.json.", path);
        var recording = new RunRecording();
        try
        {
            foreach (string file in paths)
                if (recording.Add(file) is { } damage) warnings.Add($"'{file}': {damage}; what comes before it is read.");
            if (recording._steps.Count == 0) throw new InvalidDataException($"The flight recording of '{path}' holds no step that can be read.{(warnings.Count > 0 ? " " + warnings.Last() : "")}");
            return recording;
        }
        catch
        {
            recording.Dispose();
            throw;
        }
    }

    string? Add(string path)
    {
        var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, 1 << 16);
        int file = _files.Count;
        _files.Add(stream);
        RecordedTensor[]? tensors = null;
        bool known = false;
        return RecordFile.Scan(stream, (place, payload) =>
        {
            switch (place.Kind)
            {
                case RecordFormat.HeaderKind:
                    RecordHeader header = RecordHeader.Parse(payload);
                    (Recipe, Every) = (header.Recipe, header.Every);
                    known = true;
                    break;
                case RecordFormat.TableKind when known:
                    tensors = StepRecord.ParseTable(payload);
                    break;
                case RecordFormat.StepKind when known && tensors is not null:
                    var parser = new RecordParser(payload);
                    long step = StepRecord.ParseFacts(ref parser).Step;
                    if (_steps.Count >= MostSteps) throw new InvalidDataException($"there are more than {MostSteps} steps");
                    _steps[step] = (file, place, tensors);
                    break;
                default:
                    throw new InvalidDataException("it comes before the header or table that it needs");
            }
        }, out _);
    }

    /// <summary>Reads one step.</summary>
    /// <exception cref="InvalidDataException">The record cannot be read.</exception>
    public RecordedStep Read(long step)
    {
        if (!_steps.TryGetValue(step, out (int File, RecordPlace Place, RecordedTensor[] Tensors) at)) throw new ArgumentOutOfRangeException(nameof(step), step, "That step is not recorded.");
        var payload = new byte[at.Place.Length];
        FileStream stream = _files[at.File];
        stream.Position = at.Place.Offset;
        stream.ReadExactly(payload);
        var parser = new RecordParser(payload);
        StepFacts facts = StepRecord.ParseFacts(ref parser);
        return new RecordedStep(facts, at.Tensors, StepRecord.ParseStatistics(ref parser, at.Tensors.Length));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (FileStream file in _files) file.Dispose();
    }
}
