namespace Hadal.Training.Recording;

/// <summary>What a step came to, beside its tensors.</summary>
/// <param name="Step">From 1.</param>
/// <param name="Loss">Mean next-token cross-entropy, nats.</param>
/// <param name="MtpLoss">Of the MTP modules; NaN without.</param>
/// <param name="GradientNorm">Before clipping.</param>
/// <param name="IsFault">True when the step ended in a loss or gradient that is not finite; then one micro-batch is recorded, the one at fault.</param>
public readonly record struct StepFacts(long Step, double Loss, double MtpLoss, double GradientNorm, bool IsFault);

/// <summary>Facts of a run, at the beginning of a file.</summary>
/// <param name="Version">Of the format.</param>
/// <param name="Recipe">Name of the recipe.</param>
/// <param name="Every">Steps between two records.</param>
sealed record RecordHeader(int Version, string Recipe, int Every)
{
    internal static void Build(RecordBuilder record, RecordHeader header)
    {
        record.Begin(RecordFormat.HeaderKind);
        record.Integer(header.Version);
        record.Text(header.Recipe);
        record.Integer(header.Every);
    }

    internal static RecordHeader Parse(ReadOnlySpan<byte> payload)
    {
        var parser = new RecordParser(payload);
        int version = (int)parser.Integer(int.MaxValue);
        if (version != RecordFormat.Version) throw new InvalidDataException($"it is of version {version}; this program reads version {RecordFormat.Version}");
        return new RecordHeader(version, parser.Text(), (int)parser.Integer(int.MaxValue));
    }
}

/// <summary>Tables and steps as records.</summary>
static class StepRecord
{
    internal static void BuildTable(RecordBuilder record, IReadOnlyList<RecordedTensor> tensors, int count)
    {
        record.Begin(RecordFormat.TableKind);
        record.Integer(count);
        for (int t = 0; t < count; t++)
        {
            record.Integer((long)tensors[t].Kind);
            record.Integer(tensors[t].Layer + 1);
            record.Text(tensors[t].Name);
            record.Text(tensors[t].Format);
        }
    }

    internal static RecordedTensor[] ParseTable(ReadOnlySpan<byte> payload)
    {
        var parser = new RecordParser(payload);
        var tensors = new RecordedTensor[Math.Min(parser.Integer(RecordFormat.MostTensors), parser.Left / 4)];
        for (int t = 0; t < tensors.Length; t++)
            tensors[t] = new RecordedTensor((TensorKind)parser.Integer((long)TensorKind.WeightGradient), (int)parser.Integer(1 << 20) - 1, parser.Text(), parser.Text());
        if (!parser.AtEnd) throw new InvalidDataException("the table of tensors is longer than it says");
        return tensors;
    }

    internal static void Build(RecordBuilder record, StepFacts facts, IReadOnlyList<TensorStatistics> statistics, int count)
    {
        record.Begin(RecordFormat.StepKind);
        record.Integer(facts.Step);
        record.Double(facts.Loss);
        record.Double(facts.MtpLoss);
        record.Double(facts.GradientNorm);
        record.Integer(facts.IsFault ? 1 : 0);
        record.Integer(count);
        for (int t = 0; t < count; t++) Build(record, statistics[t]);
    }

    static void Build(RecordBuilder record, TensorStatistics s)
    {
        record.Integer(s.Elements);
        record.Integer(s.Zeros);
        record.Integer(s.Underflows);
        record.Integer(s.Saturations);
        record.Integer(s.NonFinite);
        record.Single(s.Largest);
        record.Double(s.Squares);
        record.Integer(s.Sampled);
        if (s.Sampled > 0)
        {
            record.Double(s.ErrorSquares);
            record.Double(s.SampledSquares);
        }

        int used = 0;
        foreach (long bucket in s.Scales)
            if (bucket != 0) used++;
        record.Integer(used);
        for (int b = 0; b < s.Scales.Length; b++)
        {
            if (s.Scales[b] == 0) continue;
            record.Integer(b);
            record.Integer(s.Scales[b]);
        }

        record.Integer(s.Elements > 0 ? 1 : 0);
        if (s.Elements > 0)
            foreach (double lane in s.Sketch) record.Single((float)lane);
        record.Integer(s.Hashes.Length);
        foreach (ulong hash in s.Hashes) record.Wide(hash);
    }

    internal static StepFacts ParseFacts(ref RecordParser parser) => new(parser.Integer(long.MaxValue), parser.Double(), parser.Double(), parser.Double(), parser.Integer(1) == 1);

    internal static TensorStatistics[] ParseStatistics(ref RecordParser parser, int tensors)
    {
        int count = (int)parser.Integer(RecordFormat.MostTensors);
        if (count > tensors) throw new InvalidDataException($"a step speaks of {count} tensors where the table has {tensors}");
        var all = new TensorStatistics[count];
        for (int t = 0; t < count; t++) all[t] = ParseOne(ref parser);
        if (!parser.AtEnd) throw new InvalidDataException("a step is longer than its tensors");
        return all;
    }

    static TensorStatistics ParseOne(ref RecordParser parser)
    {
        var s = new TensorStatistics
        {
            Elements = parser.Integer(long.MaxValue), Zeros = parser.Integer(long.MaxValue), Underflows = parser.Integer(long.MaxValue), Saturations = parser.Integer(long.MaxValue),
            NonFinite = parser.Integer(long.MaxValue), Largest = parser.Single(), Squares = parser.Double(), Sampled = parser.Integer(long.MaxValue),
        };
        if (s.Sampled > 0)
        {
            s.ErrorSquares = parser.Double();
            s.SampledSquares = parser.Double();
        }

        for (long used = parser.Integer(TensorStatistics.ScaleBuckets); used > 0; used--)
        {
            int bucket = (int)parser.Integer(TensorStatistics.ScaleBuckets - 1);
            s.Scales[bucket] = parser.Integer(long.MaxValue);
        }

        if (parser.Integer(1) == 1)
            for (int lane = 0; lane < TensorStatistics.SketchLanes; lane++) s.Sketch[lane] = parser.Single();
        var hashes = new ulong[Math.Min(parser.Integer(RecordFormat.MostMicroBatches), parser.Left / 8)];
        for (int m = 0; m < hashes.Length; m++) hashes[m] = parser.Wide();
        s.Hashes = hashes;
        return s;
    }
}
