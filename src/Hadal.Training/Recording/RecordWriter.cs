using Hadal.Formats;

namespace Hadal.Training.Recording;

/// <summary>
/// Appends to the recording of a run. Nothing that happens to the file stops the run: after damage, or a disk that refuses, recording goes on in a new file, and when that
/// cannot be made either it ends; both with a warning.
/// </summary>
public sealed class RecordWriter : IDisposable
{
    const int MostFiles = 999;
    readonly string _folder, _recipe;
    readonly int _every;
    readonly Action<string> _warn;
    readonly Checksum64 _hash = new();
    readonly RecordBuilder _record = new();
    FileStream? _file;
    IReadOnlyList<RecordedTensor>? _written;
    int _number, _writtenCount, _refusals;
    bool _stopped;

    /// <summary>Opens the recording of a run: continues the newest file, or begins anew at step 0.</summary>
    /// <param name="folder">Output folder of the run.</param>
    /// <param name="lastStep">Step that is being resumed; 0 removes what an earlier run left.</param>
    /// <param name="recipe">Name of the recipe.</param>
    /// <param name="every">Steps between two records.</param>
    /// <param name="warn">Told in one sentence when the file cannot be used.</param>
    public RecordWriter(string folder, long lastStep, string recipe, int every, Action<string> warn)
    {
        _folder = folder;
        _recipe = recipe;
        _every = every;
        _warn = warn;
        try
        {
            IReadOnlyList<(int Number, string Path)> files = RecordFormat.Files(folder);
            if (lastStep == 0)
                foreach ((_, string old) in files) File.Delete(old);
            else if (files.Count > 0) Continue(files[^1].Number, files[^1].Path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            _warn($"The flight recording in '{folder}' cannot be continued: {exception.Message} Recording goes on in a new file.");
            _number = RecordFormat.Files(folder) is { Count: > 0 } left ? left[^1].Number : 0;
        }
    }

    /// <summary>The file that is written; null before the first record and after recording has stopped.</summary>
    public string? Path => _file?.Name;

    /// <summary>True when a disk refused twice and nothing is written any more.</summary>
    public bool HasStopped => _stopped;

    void Continue(int number, string path)
    {
        _number = number;
        var file = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.Read, bufferSize: 1);
        int headers = 0;
        string? damage = RecordFile.Scan(file, (place, payload) =>
        {
            if (place.Kind != RecordFormat.HeaderKind) return;
            RecordHeader.Parse(payload);
            headers++;
        }, out long end);
        if (damage is null && headers > 0)
        {
            file.SetLength(end); // a record that a killed process left unfinished
            file.Position = end;
            _file = file;
            return;
        }

        file.Dispose();
        _warn($"The flight recording '{path}' is damaged: {damage ?? "it has no header"}. It is left as it is; recording goes on in a new file.");
    }

    internal void Write(IReadOnlyList<RecordedTensor> tensors, int count, StepFacts facts, IReadOnlyList<TensorStatistics> statistics)
    {
        if (_stopped) return;
        while (!_stopped)
        {
            try
            {
                if (_file is null) Create();
                if (!ReferenceEquals(_written, tensors) || _writtenCount != count)
                {
                    StepRecord.BuildTable(_record, tensors, count);
                    Append();
                    (_written, _writtenCount) = (tensors, count);
                }

                StepRecord.Build(_record, facts, statistics, count);
                Append();
                _refusals = 0;
                return;
            }
            catch (Exception exception) when (IsRefusal(exception))
            {
                Refused(exception);
            }
        }
    }

    void Create()
    {
        if (_number >= MostFiles) throw new IOException($"there are {MostFiles} files of it already.");
        _written = null;
        _file = new FileStream(System.IO.Path.Combine(_folder, RecordFormat.FileName(++_number)), FileMode.Create, FileAccess.ReadWrite, FileShare.Read, bufferSize: 1);
        _file.Write(RecordFormat.Magic);
        RecordHeader.Build(_record, new RecordHeader(RecordFormat.Version, _recipe, _every));
        Append();
    }

    void Append()
    {
        _record.End(_hash);
        long before = _file!.Position;
        try
        {
            _file.Write(_record.Bytes);
        }
        catch (Exception exception) when (IsRefusal(exception))
        {
            TryCut(before);
            throw;
        }
    }

    void TryCut(long length)
    {
        try
        {
            _file!.SetLength(length);
        }
        catch (Exception exception) when (IsRefusal(exception))
        {
            // The reader stops at the unfinished record.
        }
    }

    /// <summary>A file that grows beyond what the system allows comes as an argument out of range.</summary>
    static bool IsRefusal(Exception exception) => exception is IOException or UnauthorizedAccessException or ArgumentOutOfRangeException { ParamName: "value" };

    void Refused(Exception exception)
    {
        string path = _file?.Name ?? _folder;
        Close();
        _stopped = ++_refusals > 1;
        _warn($"The flight recording '{path}' cannot be written: {exception.Message} {(_stopped ? "Recording has stopped; training goes on." : "Recording goes on in a new file.")}");
    }

    void Close()
    {
        try
        {
            _file?.Dispose();
        }
        catch (IOException)
        {
            // Nothing is buffered; what was refused was told.
        }

        _file = null;
    }

    /// <inheritdoc/>
    public void Dispose() => Close();
}
