using System.Text;
using Hadal.Inference;
using Hadal.Model;
using Hadal.Parallel.Serving;
using Hadal.Planning.Serving;
using Hadal.Tensors.Cpu;
using Hadal.Tensors.Operations;

namespace Hadal.Planning.Tests.Serving;

/// <summary>Routing of a real model, recorded without changing a bit, written, read and played back.</summary>
public sealed class RoutingRecordTests
{
    static TransformerShape Shape { get; } = new()
    {
        Vocabulary = 61, Hidden = 32, Layers = 3, DenseLayers = 1, DenseIntermediate = 40, ExpertIntermediate = 8, Heads = 2, QueryLoraRank = 12, KeyValueLoraRank = 16, QkNopeHeadDim = 8,
        QkRopeHeadDim = 4, ValueHeadDim = 8, SharedExperts = 1, Gate = new GateParameters(16, 4, 4, 2, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, RoutedScale: 2.5),
        GateBias = true, MtpDepth = 0, NormEpsilon = 1e-6, RotaryTheta = 10000, MaxPositions = 128,
    };

    static (RoutingRecord Record, float[] Logits, float[] Plain) Read()
    {
        using var backend = new CpuBackend(new CpuOptions(1, InstructionSets.Best));
        using var model = new Transformer(backend, Shape, Recipe.Fp32);
        Initialization.Normal(model, 3, 0.3);
        int[] text = [.. Enumerable.Range(0, 100).Select(i => (i * i) % 61)];
        var recorder = new RoutingRecorder(model, 24);
        using var session = new GenerationSession(model, 128, recorder);
        session.Append(text.AsSpan(0, 40));
        recorder.EndWindow("first");
        session.Append(text.AsSpan(40));
        recorder.EndWindow("second");
        recorder.EndWindow("nothing was read");
        using var plain = new GenerationSession(model, 128);
        plain.Append(text.AsSpan(0, 40));
        plain.Append(text.AsSpan(40));
        return (recorder.ToRecord("toy"), session.Logits.ToArray(), plain.Logits.ToArray());
    }

    [Fact]
    public void Recording_counts_every_choice_and_changes_no_bit()
    {
        (RoutingRecord record, float[] logits, float[] plain) = Read();
        Assert.Equal(plain, logits);
        Assert.Equal([1, 2], record.Layers);
        Assert.Equal(["first", "second"], record.Windows.Select(w => w.Label), StringComparer.Ordinal);
        Assert.Equal([40, 60], record.Windows.Select(w => w.Tokens));
        foreach (RoutingWindow window in record.Windows)
        {
            Assert.All(window.Counts, c => Assert.Equal(4 * window.Tokens, c.Sum()));
            Assert.All(window.Choices, c => Assert.Equal(24 * 4, c.Length));
            for (int layer = 0; layer < 2; layer++)
                for (int expert = 0; expert < 16; expert++)
                    Assert.True(window.Choices[layer].Count(e => e == expert) <= window.Counts[layer][expert]);
        }
    }

    [Fact]
    public void A_file_is_read_as_it_was_written_and_played_back()
    {
        (RoutingRecord record, _, _) = Read();
        using var stream = new MemoryStream();
        record.Write(stream);
        RoutingRecord read = RoutingRecord.Parse(stream.ToArray(), "memory");
        Assert.Equal(record.Model, read.Model);
        Assert.Equal((16, 4, 4, 2), (read.Experts, read.TopK, read.Groups, read.TopGroups));
        for (int w = 0; w < 2; w++)
        {
            Assert.Equal(record.Windows[w].Counts, read.Windows[w].Counts);
            Assert.Equal(record.Windows[w].Choices, read.Windows[w].Choices);
        }

        var playback = new RecordedRouting(read, TimeSpan.FromMinutes(1));
        int[] choices = new int[8 * 4];
        playback.Choose(TimeSpan.FromSeconds(70), 1, 2, choices); // second window, third eight tokens
        Assert.Equal(read.Windows[1].Choices[1].AsSpan(64, 32).ToArray().Select(e => (int)e), choices);
        playback.Choose(TimeSpan.FromSeconds(130), 2, 0, choices); // begins again, as do the layers
        Assert.Equal(read.Windows[0].Choices[0].AsSpan(0, 32).ToArray().Select(e => (int)e), choices);
    }

    [Fact]
    public void Recorded_routing_drives_a_unit()
    {
        (RoutingRecord record, _, _) = Read();
        var unit = new ExpertUnit(16, 4, 2, 2, 5);
        UnitOutcome outcome = UnitSimulation.Run(new()
        {
            Unit = unit, Path = UnitPath.ThroughNodes, Work = new(64, 64 * 20, 0, 0), Layers = 2, TokensPerGpu = 6, Duration = TimeSpan.FromMinutes(20), Tick = TimeSpan.FromMinutes(1),
            Policy = new PlacementPolicy { Interval = TimeSpan.FromMinutes(5), LeastCountsPerExpert = 10 },
        }, new RecordedRouting(record, TimeSpan.FromMinutes(10)), new ServingCosts(new ServingModel(Shape), ServingHardware.H800, 5));
        Assert.True(outcome.Looks.Count >= 3);
        Assert.True(outcome.Mean.Kept < outcome.Mean.Plain);
    }

    [Theory]
    [InlineData("{}", "does not say")]
    [InlineData("[", "is no routing file")]
    [InlineData("{\"format\":\"hadal-routing\",\"version\":2}", "version 2")]
    [InlineData("{\"format\":\"hadal-routing\",\"version\":1,\"model\":\"m\",\"experts\":1000000,\"top_k\":1,\"groups\":1,\"top_groups\":1,\"layers\":[0],\"windows\":[]}", "'experts' is 1000000")]
    [InlineData("{\"format\":\"hadal-routing\",\"version\":1,\"model\":\"m\",\"experts\":4,\"top_k\":1,\"groups\":3,\"top_groups\":1,\"layers\":[0],\"windows\":[]}", "groups of one size")]
    [InlineData("{\"format\":\"hadal-routing\",\"version\":1,\"model\":\"m\",\"experts\":2,\"top_k\":1,\"groups\":1,\"top_groups\":1,\"layers\":[0],\"windows\":[]}", "no window")]
    [InlineData("{\"format\":\"hadal-routing\",\"version\":1,\"model\":\"m\",\"experts\":2,\"top_k\":1,\"groups\":1,\"top_groups\":1,\"layers\":[0],\"windows\":[{\"label\":\"\",\"tokens\":1,\"counts\":[[1,-1]]}]}", "from 0 up")]
    [InlineData("{\"format\":\"hadal-routing\",\"version\":1,\"model\":\"m\",\"experts\":2,\"top_k\":1,\"groups\":1,\"top_groups\":1,\"layers\":[0],\"windows\":[{\"label\":\"\",\"tokens\":1,\"counts\":[[1,0]],\"choices\":[\"BQA=\"]}]}", "chose expert 5")]
    [InlineData("{\"format\":\"hadal-routing\",\"version\":1,\"model\":\"m\",\"experts\":2,\"top_k\":1,\"groups\":1,\"top_groups\":1,\"layers\":[0],\"windows\":[{\"label\":\"\",\"tokens\":1,\"counts\":[[1,0]],\"choices\":[\"AA\"]}]}", "is no routing file")]
    public void A_file_that_is_none_is_refused_with_the_reason(string json, string reason) =>
        Assert.Contains(reason, Assert.Throws<InvalidDataException>(() => RoutingRecord.Parse(Encoding.UTF8.GetBytes(json), "f.json")).Message, StringComparison.Ordinal);

    /// <summary>Any damage is refused or read as numbers inside their bounds, never anything else.</summary>
    [Fact]
    public void Damaged_files_never_break_the_reader()
    {
        (RoutingRecord record, _, _) = Read();
        using var stream = new MemoryStream();
        record.Write(stream);
        byte[] good = stream.ToArray();
        for (int i = 0; i < good.Length; i += 7)
        {
            byte[] bad = [.. good];
            bad[i] ^= (byte)(1 << (i % 7));
            try
            {
                RoutingRecord read = RoutingRecord.Parse(bad, "damaged");
                Assert.All(read.Windows.SelectMany(w => w.Choices).SelectMany(c => c), e => Assert.InRange(e, 0, read.Experts - 1));
            }
            catch (InvalidDataException)
            {
                // Refused with its reason.
            }
        }
    }

    [Fact]
    public void Counts_alone_cannot_be_played_back() =>
        Assert.Contains("--sample", Assert.Throws<ArgumentException>(() => new RecordedRouting(new("m", 2, 1, 1, 1, [0], [new("w", 1, [[1, 0]], [])]), TimeSpan.FromMinutes(1))).Message, StringComparison.Ordinal);
}
