using Hadal.Training.State;

namespace Hadal.Training.Tests.State;

public sealed class CheckpointStoreTests
{
    static Action<string> Content(string text) => folder =>
    {
        File.WriteAllText(Path.Combine(folder, "a.bin"), text);
        File.WriteAllText(Path.Combine(folder, "b.bin"), new string('x', 3_000_000));
    };

    [Fact]
    public void The_newest_are_kept_and_found()
    {
        using var folder = new TemporaryFolder();
        var store = new CheckpointStore(folder.Path, keep: 2);
        Assert.Null(store.FindUsable(Assert.Fail));
        for (int step = 1; step <= 3; step++) store.Save(step * 5, 10, Content($"step {step}"));
        Assert.Equal(["step-00000010", "step-00000015"], Directory.EnumerateDirectories(folder.Path).Select(Path.GetFileName).Order(StringComparer.Ordinal), StringComparer.Ordinal);
        string found = store.FindUsable(Assert.Fail)!;
        Assert.Equal("step 3", File.ReadAllText(Path.Combine(found, "a.bin")));
        Assert.Equal("step-00000015\n", File.ReadAllText(folder.File("latest")));
    }

    [Theory]
    [InlineData("truncated", "bytes instead of")]
    [InlineData("flipped", "the checksum of b.bin does not match")]
    [InlineData("missing", "b.bin is missing")]
    [InlineData("no manifest", "manifest.json is missing")]
    [InlineData("torn manifest", "manifest.json cannot be read")]
    public void A_damaged_newest_is_reported_and_the_one_before_is_used(string damage, string expected)
    {
        using var folder = new TemporaryFolder();
        var store = new CheckpointStore(folder.Path, keep: 3);
        string old = store.Save(1, 10, Content("old")), newest = store.Save(2, 10, Content("new"));
        string file = Path.Combine(newest, "b.bin"), manifest = Path.Combine(newest, "manifest.json");
        byte[] bytes = File.ReadAllBytes(file);
        switch (damage)
        {
            case "truncated": File.WriteAllBytes(file, bytes[..^1]); break;
            case "flipped": bytes[2_500_000] ^= 1; File.WriteAllBytes(file, bytes); break;
            case "missing": File.Delete(file); break;
            case "no manifest": File.Delete(manifest); break;
            default: File.WriteAllText(manifest, File.ReadAllText(manifest)[..20]); break;
        }

        var reports = new List<string>();
        Assert.Equal(old, store.FindUsable(reports.Add));
        Assert.Contains(expected, Assert.Single(reports), StringComparison.Ordinal);
    }

    [Fact]
    public void A_disk_that_fills_up_leaves_the_previous_checkpoint()
    {
        using var folder = new TemporaryFolder();
        var store = new CheckpointStore(folder.Path, keep: 1);
        string old = store.Save(1, 10, Content("old"));
        var exception = Assert.Throws<TrainingStateException>(() => store.Save(2, 10, temporary =>
        {
            File.WriteAllText(Path.Combine(temporary, "a.bin"), "half");
            throw new IOException("No space left on device");
        }));
        Assert.Contains("No space left on device", exception.Message, StringComparison.Ordinal);
        Assert.Contains("the previous checkpoint is unchanged", exception.Message, StringComparison.Ordinal);
        Assert.Equal(old, store.FindUsable(Assert.Fail));
        Assert.Single(Directory.EnumerateDirectories(folder.Path));
    }

    [Fact]
    public void Free_space_is_checked_before_writing()
    {
        using var folder = new TemporaryFolder();
        var store = new CheckpointStore(folder.Path, keep: 1) { FreeBytes = _ => 50 << 20 };
        var exception = Assert.Throws<TrainingStateException>(() => store.Save(2, 100 << 20, _ => Assert.Fail("nothing may be written")));
        Assert.Contains("100 MiB", exception.Message, StringComparison.Ordinal);
        Assert.Contains("50 MiB free", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_a_killed_process_left_is_not_used_and_goes_with_the_next_save()
    {
        using var folder = new TemporaryFolder();
        Directory.CreateDirectory(folder.File("step-00000009.tmp"));
        var store = new CheckpointStore(folder.Path, keep: 1);
        Assert.Null(store.FindUsable(Assert.Fail));
        store.Save(3, 10, Content("whole"));
        Assert.False(Directory.Exists(folder.File("step-00000009.tmp")));
    }

    [Fact]
    public void A_run_whose_checkpoints_will_not_fit_is_refused_before_it_begins()
    {
        using var folder = new TemporaryFolder();
        var store = new CheckpointStore(folder.File("checkpoints"), keep: 2) { FreeBytes = _ => 79 << 20 };
        var exception = Assert.Throws<TrainingStateException>(() => store.RequireRoom(20 << 20));
        Assert.Contains("need about 80 MiB", exception.Message, StringComparison.Ordinal);
        Assert.Contains("79 MiB free", exception.Message, StringComparison.Ordinal);
        store.FreeBytes = _ => 80 << 20;
        store.RequireRoom(20 << 20);
    }
}
