using System.Buffers;
using System.Text.Json;
using Hadal.Formats;
using Hadal.Training.Supervised;

namespace Hadal.Training.Running;

/// <summary>
/// <c>metrics.jsonl</c>: one JSON object a line, <c>"kind"</c> is <c>step</c>, <c>evaluation</c>, <c>task</c> or <c>sample</c>. Opened for a resumed run it first drops the lines of
/// steps after the resumed one, so that no step appears twice. Writing a step allocates nothing.
/// </summary>
public sealed class MetricsFile : ITrainingObserver, IDisposable
{
    readonly FileStream _file;
    readonly ArrayBufferWriter<byte> _line = new(4096);
    readonly Utf8JsonWriter _json;

    /// <summary>Opens or creates the file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="lastStep">Lines of later steps are dropped; 0 begins anew.</param>
    public MetricsFile(string path, long lastStep)
    {
        byte[] kept = lastStep > 0 && File.Exists(path) ? Keep(File.ReadAllBytes(path), lastStep) : [];
        // Replaced at once: a process killed here, or a full disk, leaves the old measurements.
        AtomicFile.WriteAllBytes(path, kept);
        _file = new FileStream(path, FileMode.Open, FileAccess.Write, FileShare.Read, bufferSize: 1);
        _file.Seek(0, SeekOrigin.End);
        _json = new Utf8JsonWriter(_line);
    }

    /// <inheritdoc/>
    public void Preparing(string what)
    {
    }

    /// <inheritdoc/>
    public void Started(RunSummary run)
    {
    }

    /// <inheritdoc/>
    public void Stepped(in StepProgress step)
    {
        Begin("step"u8, step.Step);
        _json.WriteNumber("steps"u8, step.Steps);
        _json.WriteNumber("tokens"u8, step.Tokens);
        Number("loss"u8, step.Loss);
        Number("mtp_loss"u8, step.MtpLoss);
        Number("learning_rate"u8, step.LearningRate);
        Number("gradient_norm"u8, step.GradientNorm);
        Number("max_violation"u8, step.MaxViolation);
        Number("step_seconds"u8, step.StepSeconds);
        Number("tokens_per_second"u8, step.TokensPerSecond);
        Number("elapsed_seconds"u8, step.ElapsedSeconds);
        End();
    }

    /// <inheritdoc/>
    public void Evaluated(long step, IReadOnlyList<TextScore> scores, bool final)
    {
        foreach (TextScore score in scores)
        {
            Begin("evaluation"u8, step);
            _json.WriteString("corpus"u8, score.Corpus);
            Number("bits_per_byte"u8, score.BitsPerByte);
            _json.WriteNumber("bytes"u8, score.Bytes);
            _json.WriteNumber("documents"u8, score.Documents);
            _json.WriteBoolean("final"u8, final);
            End();
        }
    }

    /// <inheritdoc/>
    public void TasksScored(long step, IReadOnlyList<TaskScore> scores, bool final)
    {
        foreach (TaskScore score in scores)
        {
            Begin("task"u8, step);
            _json.WriteString("task"u8, score.Task);
            _json.WriteBoolean("thinks"u8, score.Thinks);
            _json.WriteNumber("problems"u8, score.Problems);
            _json.WriteNumber("right"u8, score.Right);
            _json.WriteNumber("mean_tokens"u8, score.MeanTokens);
            _json.WriteBoolean("final"u8, final);
            End();
        }
    }

    /// <inheritdoc/>
    public void Sampled(long step, string prompt, string continuation)
    {
        Begin("sample"u8, step);
        _json.WriteString("prompt"u8, prompt);
        _json.WriteString("text"u8, continuation);
        End();
    }

    /// <inheritdoc/>
    public void Saved(long step, string path)
    {
    }

    /// <inheritdoc/>
    public void Warned(string message)
    {
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _json.Dispose();
        _file.Dispose();
    }

    void Begin(ReadOnlySpan<byte> kind, long step)
    {
        _line.ResetWrittenCount();
        _json.Reset(_line);
        _json.WriteStartObject();
        _json.WriteString("kind"u8, kind);
        _json.WriteNumber("step"u8, step);
    }

    void Number(ReadOnlySpan<byte> name, double value)
    {
        if (double.IsFinite(value)) _json.WriteNumber(name, value);
        else _json.WriteNull(name);
    }

    void End()
    {
        _json.WriteEndObject();
        _json.Flush();
        _line.GetSpan(1)[0] = (byte)'\n';
        _line.Advance(1);
        _file.Write(_line.WrittenSpan);
    }

    /// <summary>The complete lines of steps up to <paramref name="lastStep"/>; a torn or foreign line is dropped, and so is the final evaluation, which is made again.</summary>
    internal static byte[] Keep(ReadOnlySpan<byte> content, long lastStep)
    {
        var kept = new ArrayBufferWriter<byte>(content.Length + 1);
        while (!content.IsEmpty)
        {
            int end = content.IndexOf((byte)'\n');
            if (end < 0) break;
            ReadOnlySpan<byte> line = content[..(end + 1)];
            content = content[(end + 1)..];
            if (line.IndexOf("\"final\":true"u8) >= 0) continue;
            if (StepOf(line) is long step && step <= lastStep) kept.Write(line);
        }

        return kept.WrittenSpan.ToArray();
    }

    static long? StepOf(ReadOnlySpan<byte> line)
    {
        try
        {
            var reader = new Utf8JsonReader(line);
            while (reader.Read())
                if (reader.TokenType == JsonTokenType.PropertyName && reader.CurrentDepth == 1 && reader.ValueTextEquals("step"u8) && reader.Read())
                    return reader.TokenType == JsonTokenType.Number && reader.TryGetInt64(out long step) ? step : null;
        }
        catch (JsonException)
        {
            return null;
        }

        return null;
    }
}
