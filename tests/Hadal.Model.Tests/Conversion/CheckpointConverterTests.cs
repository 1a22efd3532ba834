using Hadal.Formats;
using Hadal.Model.Conversion;

namespace Hadal.Model.Tests.Conversion;

public sealed class CheckpointConverterTests
{
    static string Base()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
            if (File.Exists(Path.Combine(folder.FullName, "Hadal.slnx"))) return Path.Combine(folder.FullName, "tests", "fixtures", "hf-deepseek-v3", "base");
        throw new InvalidOperationException("Hadal.slnx was not found.");
    }

    sealed class Stop(int after, CancellationTokenSource source) : IProgress<ConversionProgress>
    {
        int _reports;

        public List<ConversionProgress> Seen { get; } = [];

        public void Report(ConversionProgress value)
        {
            Seen.Add(value);
            if (++_reports == after) source.Cancel();
        }
    }

    [Fact]
    public void Stopped_anywhere_the_old_model_stays_and_nothing_else()
    {
        string folder = Directory.CreateTempSubdirectory("hadal-convert-").FullName, model = Path.Combine(folder, "model");
        try
        {
            using var never = new CancellationTokenSource();
            var all = new Stop(int.MaxValue, never);
            CheckpointConverter.Convert(Base(), model, new ConversionOptions { Format = WeightFormat.BF16 }, all, never.Token);
            byte[] old = File.ReadAllBytes(Path.Combine(model, "model.safetensors"));
            Assert.Equal(all.Seen[^1].Total, all.Seen[^1].Bytes);
            Assert.True(all.Seen.Count > 20);
            foreach (int after in (int[])[1, 2, all.Seen.Count / 2, all.Seen.Count - 1])
            {
                using var source = new CancellationTokenSource();
                Assert.ThrowsAny<OperationCanceledException>(() =>
                    CheckpointConverter.Convert(Base(), model, new ConversionOptions { Format = WeightFormat.F32, Overwrite = true }, new Stop(after, source), source.Token));
                Assert.Equal(old, File.ReadAllBytes(Path.Combine(model, "model.safetensors")));
                Assert.Equal([model], Directory.EnumerateFileSystemEntries(folder), StringComparer.Ordinal);
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void What_killed_conversions_left_is_replaced()
    {
        string folder = Directory.CreateTempSubdirectory("hadal-convert-").FullName, model = Path.Combine(folder, "model");
        try
        {
            Directory.CreateDirectory(model + ".partial");
            File.WriteAllText(Path.Combine(model + ".partial", "model-00009-of-00010.safetensors.partial"), "half");
            CheckpointConverter.Convert(Base(), model, new ConversionOptions());
            Assert.Equal([model], Directory.EnumerateFileSystemEntries(folder), StringComparer.Ordinal);
            Assert.Equal(["config.json", "model.safetensors"], Directory.EnumerateFiles(model).Select(Path.GetFileName).Order(StringComparer.Ordinal), StringComparer.Ordinal);
            using Checkpoint written = Checkpoint.Open(model);
            written.Verify();
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
