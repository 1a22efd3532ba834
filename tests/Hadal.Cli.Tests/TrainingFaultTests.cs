using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using Hadal.Formats;

namespace Hadal.Cli.Tests;

/// <summary>What happens to a training process from outside: signals, kill -9, a full disk, foreign and damaged state. The measure is always the undisturbed run, bit for bit.</summary>
public sealed class TrainingFaultTests
{
    const string State = "training-state.safetensors";

    // Long enough that a signal sent at the first checkpoint arrives before the end.
    const int Steps = 200, Every = 10;

    static readonly Lazy<Dictionary<string, byte[]>> s_undisturbed = new(() =>
    {
        using Scratch scratch = Prepare(Steps, Every);
        Finish(scratch);
        return Result(scratch);
    });

    // The files of a run of four steps that has ended; each test that damages one writes its own copy.
    static readonly Lazy<Dictionary<string, byte[]>> s_ended = new(() =>
    {
        using Scratch scratch = Prepare(4, 0);
        Finish(scratch);
        return Directory.EnumerateFiles(scratch.Folder, "*", SearchOption.AllDirectories).ToDictionary(path => Path.GetRelativePath(scratch.Folder, path), File.ReadAllBytes, StringComparer.Ordinal);
    });

    static string Run(int steps, int every, string recipe = "fp32", int recordedEvery = 0) => $$"""
        {
          "recipe": "{{recipe}}", "recording": { "every": {{recordedEvery}} },
          "model": { "preset": "tiny", "initial_deviation": 0.05 }, "tokenizer": { "vocabulary": 330 },
          "data": { "sources": ["arithmetic:96"], "held_out_every": 8, "sequence_length": 32 },
          "batch": { "rows": 2, "micro_batches": 2, "first_micro_batches": 1, "ramp_until": 0.5 }, "budget": { "steps": {{steps}} },
          "learning_rate": { "peak": 0.004, "warmup_steps": 5 }, "ema": { "decay": 0.9, "every": 2 },
          "evaluation": { "times": 3, "bytes": 300, "final_bytes": 300 }, "checkpoint": { "every": {{every}}, "keep": 2 }, "output": "model"
        }
        """;

    static Setting Home(Scratch scratch, int? limit = null) => new()
    {
        LargestFileKiB = limit,
        Environment = new Dictionary<string, string>(StringComparer.Ordinal) { ["HADAL_HOME"] = scratch["home"] },
    };

    static Scratch Prepare(int steps, int every, string recipe = "fp32", int recordedEvery = 0)
    {
        var scratch = new Scratch();
        File.WriteAllText(scratch["run.json"], Run(steps, every, recipe, recordedEvery));
        return scratch;
    }

    static Outcome Train(Scratch scratch, int? limit = null) => HadalProcess.Run(Home(scratch, limit), "train", scratch["run.json"]);

    static void Finish(Scratch scratch, TimeSpan? limit = null)
    {
        Outcome outcome = HadalProcess.Run(limit is { } longer ? Home(scratch) with { Limit = longer } : Home(scratch), "train", scratch["run.json"]);
        Assert.True(outcome.Code == 0, outcome.ToString());
    }

    /// <summary>Weights and training state of the last step.</summary>
    static Dictionary<string, byte[]> Result(Scratch scratch)
    {
        string last = Directory.EnumerateDirectories(scratch["model/checkpoints"], "step-*").Order(StringComparer.Ordinal).Last();
        using SafetensorsFile state = SafetensorsFile.Open(Path.Combine(last, State));
        var result = state.Entries.ToDictionary(e => e.Name, state.Read, StringComparer.Ordinal);
        result["weights"] = File.ReadAllBytes(scratch["model/model.safetensors"]);
        result["step"] = [.. Path.GetFileName(last).Select(c => (byte)c)];
        return result;
    }

    static void AssertSame(Dictionary<string, byte[]> expected, Scratch scratch)
    {
        Dictionary<string, byte[]> actual = Result(scratch);
        Assert.Equal(expected.Keys.Order(StringComparer.Ordinal), actual.Keys.Order(StringComparer.Ordinal), StringComparer.Ordinal);
        foreach ((string name, byte[] bytes) in expected) Assert.True(bytes.AsSpan().SequenceEqual(actual[name]), $"{name} differs from the undisturbed run");
    }

    [Theory]
    [InlineData("INT")]
    [InlineData("TERM")]
    public void A_signal_saves_and_leaves_with_130_and_the_same_command_goes_on(string signal)
    {
        using Scratch stopped = Prepare(Steps, Every);
        Outcome outcome = HadalProcess.RunAndSignal(Home(stopped), signal, line => line.StartsWith("saved step 10 ", StringComparison.Ordinal), "train", stopped["run.json"]);
        Assert.True(outcome.Code == 130, outcome.ToString());
        Assert.Contains("goes on from there", outcome.Error, StringComparison.Ordinal);
        Assert.False(File.Exists(stopped["model/model.safetensors"]));
        Finish(stopped);
        AssertSame(s_undisturbed.Value, stopped);
    }

    [Theory]
    [InlineData("fp32")]
    [InlineData("fp8")]
    [Trait("tier", "full")]
    [Implements("architecture §8", "A run that was interrupted or killed ends with the same bits")]
    public void Killed_ten_times_at_random_points_it_ends_with_the_same_bits(string recipe) => Kill(recipe, kills: 10, steps: 600);

    [Theory]
    [InlineData("fp32")]
    [InlineData("fp8")]
    [Trait("tier", "soak")]
    public void Killed_two_hundred_times_at_random_points_it_ends_with_the_same_bits(string recipe) => Kill(recipe, kills: 200, steps: 10_000);

    /// <summary>A run that is killed and started again, recording as it goes, against one that is left alone and records nothing.</summary>
    static void Kill(string recipe, int kills, int steps)
    {
        using Scratch undisturbed = Prepare(steps, 7, recipe), killed = Prepare(steps, 7, recipe, recordedEvery: 5);
        TimeSpan limit = TimeSpan.FromMinutes(steps > 1000 ? 60 : 3);
        Finish(undisturbed, limit);
        int seed = Environment.TickCount;
        ulong draw = (ulong)seed;
        int Next(int limit) => (int)((draw = draw * 6364136223846793005 + 1442695040888963407) >> 33) % limit;
        long seen = 0;
        int reached = 1000, killedTimes = 0;
        for (int kill = 1; kill <= kills; kill++)
        {
            using Process process = Begin(killed);
            var waiting = Stopwatch.StartNew();
            if (kill % 3 == 0)
            {
                // On its way to where the last one came: while it starts, resumes, cuts a torn record.
                Thread.Sleep(Next(reached));
            }
            else
            {
                // A number of steps after those that are there, then a moment of any length: between steps, inside one, while a checkpoint or a record is written.
                long goal = seen + 5 + Next(40);
                while (!process.HasExited && Lines(killed["model/metrics.jsonl"]) < goal && waiting.Elapsed < TimeSpan.FromMinutes(2)) Thread.Sleep(2);
                reached = Math.Max(1, (int)waiting.ElapsedMilliseconds);
                Thread.Sleep(Next(30));
            }

            HadalProcess.Signal(process, "KILL");
            process.WaitForExit();
            if (process.ExitCode is 0) break; // where we had no processor for seconds, the run came to its end first
            Assert.True(process.ExitCode is 137, $"seed {seed}: exit code {process.ExitCode} at kill {kill}");
            killedTimes++;
            seen = Lines(killed["model/metrics.jsonl"]);
        }

        Assert.True(killedTimes >= kills / 2, $"seed {seed}: the run ended after {killedTimes} kills");

        // Once more after the last step: in the last evaluation, the last checkpoint, the writing of the model, or at its end.
        using (Process process = Begin(killed))
        {
            var waiting = Stopwatch.StartNew();
            while (!process.HasExited && Lines(killed["model/metrics.jsonl"], $"\"step\":{steps},") < 1 && waiting.Elapsed < limit) Thread.Sleep(2);
            Thread.Sleep(Next(100));
            if (!process.HasExited) HadalProcess.Signal(process, "KILL");
            process.WaitForExit();
            Assert.True(process.ExitCode is 0 or 137, $"seed {seed}: exit code {process.ExitCode}");
        }

        Finish(killed, limit);
        AssertSame(Result(undisturbed), killed);

        // Nothing of a killed save is left, every step is measured once, and the recording can be read to its end.
        Assert.Empty(Directory.EnumerateDirectories(killed["model/checkpoints"], "*.tmp"));
        Assert.Equal(Measured(undisturbed), Measured(killed));
        Outcome record = HadalProcess.Run("inspect", "record", killed["model"]);
        Assert.True(record.Code == 0, record.ToString());
    }

    /// <summary>Starts a run whose output is thrown away.</summary>
    static Process Begin(Scratch scratch)
    {
        Process process = HadalProcess.Start(Home(scratch), "train", scratch["run.json"]);
        process.StandardInput.Close();
        process.OutputDataReceived += (_, _) => { };
        process.ErrorDataReceived += (_, _) => { };
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return process;
    }

    /// <summary>Weights that decay by a hundred times themselves in every step grow until something is no number.</summary>
    [Fact]
    public void A_run_that_blows_up_stops_with_code_1_says_where_and_leaves_a_good_checkpoint()
    {
        using Scratch scratch = Prepare(Steps, 1);
        JsonObject run = JsonNode.Parse(File.ReadAllText(scratch["run.json"]))!.AsObject();
        run["learning_rate"] = new JsonObject { ["peak"] = 10, ["warmup_steps"] = 0 };
        run["optimizer"] = new JsonObject { ["weight_decay"] = 10 };
        run["evaluation"] = new JsonObject { ["times"] = 0 };
        File.WriteAllText(scratch["run.json"], run.ToJsonString());
        Outcome outcome = Train(scratch);
        Assert.True(outcome.Code == 1, outcome.ToString());
        Assert.Contains("error: The ", outcome.Error, StringComparison.Ordinal);
        Assert.Contains("in micro-batch ", outcome.Error, StringComparison.Ordinal);
        Assert.Contains("in the document that ", outcome.Error, StringComparison.Ordinal);
        Assert.Contains("Continue from the last checkpoint", outcome.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", outcome.Error, StringComparison.Ordinal);
        Assert.False(File.Exists(scratch["model/model.safetensors"]));
        string last = Directory.EnumerateDirectories(scratch["model/checkpoints"], "step-*").Order(StringComparer.Ordinal).Last();
        using SafetensorsFile state = SafetensorsFile.Open(Path.Combine(last, State));
        Assert.DoesNotContain(MemoryMarshal.Cast<byte, float>(state.Read(state.Entries.Single(e => e.Name is "master"))).ToArray(), value => !float.IsFinite(value));
    }

    [Fact]
    public void A_full_disk_stops_with_code_1_and_the_previous_checkpoint_goes_on_to_the_same_bits()
    {
        using Scratch full = Prepare(Steps, Every);
        Outcome first = HadalProcess.RunAndSignal(Home(full), "INT", line => line.StartsWith("saved step 10 ", StringComparison.Ordinal), "train", full["run.json"]);
        Assert.True(first.Code == 130, first.ToString());
        string[] before = Files(full["model/checkpoints"]);
        Outcome outcome = Train(full, limit: 100);
        Assert.True(outcome.Code == 1, outcome.ToString());
        Assert.Contains("error: The checkpoint of step", outcome.Error, StringComparison.Ordinal);
        Assert.Contains("the previous checkpoint is unchanged", outcome.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", outcome.Error, StringComparison.Ordinal);
        Assert.Equal(before, Files(full["model/checkpoints"]));
        Finish(full);
        AssertSame(s_undisturbed.Value, full);
    }

    [Fact]
    public void Threads_and_instruction_set_of_the_environment_change_no_bit()
    {
        using Scratch usual = Prepare(6, 0);
        Finish(usual);
        Dictionary<string, byte[]> expected = Result(usual);
        foreach ((string threads, string set) in ((string, string)[])[("1", "scalar"), ("5", "scalar"), ("2", "128"), ("3", "")])
        {
            using Scratch other = Prepare(6, 0);
            var setting = new Setting
            {
                Environment = new Dictionary<string, string>(StringComparer.Ordinal) { ["HADAL_HOME"] = other["home"], ["HADAL_THREADS"] = threads, ["HADAL_ISA"] = set },
            };
            Outcome outcome = HadalProcess.Run(setting, "train", other["run.json"]);
            Assert.True(outcome.Code == 0, outcome.ToString());
            if (set.Length > 0) Assert.Contains($"backend: {set}", outcome.Error, StringComparison.Ordinal);
            AssertSame(expected, other);
        }
    }

    [Theory]
    [InlineData("version", "of version 'hadal-training-state-9'")]
    [InlineData("shape", "this model needs master")]
    [InlineData("absent", "holds no tensor 'second_moment'")]
    [InlineData("type", "this model needs first_moment")]
    [InlineData("manifest", "has version 7")]
    [InlineData("flipped", "checksum")]
    public void State_that_cannot_be_continued_is_refused_and_stays(string change, string word)
    {
        using var scratch = new Scratch();
        foreach ((string file, byte[] bytes) in s_ended.Value)
        {
            Directory.CreateDirectory(Path.GetDirectoryName(scratch[file])!);
            File.WriteAllBytes(scratch[file], bytes);
        }

        string folder = Directory.EnumerateDirectories(scratch["model/checkpoints"], "step-*").Single(), path = Path.Combine(folder, State), manifest = Path.Combine(folder, "manifest.json");
        if (change is "manifest")
        {
            File.WriteAllText(manifest, File.ReadAllText(manifest).Replace("\"version\": 1", "\"version\": 7", StringComparison.Ordinal));
        }
        else if (change is "flipped")
        {
            byte[] bytes = File.ReadAllBytes(path);
            bytes[^50] ^= 8;
            File.WriteAllBytes(path, bytes);
        }
        else
        {
            CheckpointEdit.Change(path, edit =>
            {
                switch (change)
                {
                    case "version": edit.Header["__metadata__"]!["schema"] = "hadal-training-state-9"; break;
                    case "shape":
                        int length = edit["master"]["shape"]![0]!.GetValue<int>();
                        edit.Remove("master");
                        edit.Add("master", "F32", [length - 1], new byte[4 * (length - 1)]);
                        break;
                    case "absent": edit.Remove("second_moment"); break;
                    default: edit["first_moment"]["dtype"] = "F16"; break;
                }
            });
            Declare(manifest, path);
        }

        string[] before = Files(scratch["model"]);
        Outcome outcome = Train(scratch);
        Assert.True(outcome.Code == 1, outcome.ToString());
        Assert.Contains("error: ", outcome.Error, StringComparison.Ordinal);
        Assert.Contains(word, outcome.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", outcome.Error, StringComparison.Ordinal);
        Assert.Equal(before, Files(scratch["model"]));
    }

    [Fact]
    public void A_damaged_newest_checkpoint_is_said_and_the_one_before_goes_on_to_the_same_bits()
    {
        using Scratch scratch = Prepare(20, 8);
        Finish(scratch);
        Dictionary<string, byte[]> expected = Result(scratch);
        string newest = Directory.EnumerateDirectories(scratch["model/checkpoints"], "step-*").Order(StringComparer.Ordinal).Last();
        using (FileStream file = File.OpenWrite(Path.Combine(newest, State))) file.SetLength(file.Length / 2);
        Outcome outcome = Train(scratch);
        Assert.True(outcome.Code == 0, outcome.ToString());
        Assert.Contains("is damaged", outcome.Error, StringComparison.Ordinal);
        Assert.Contains("continues after step 16", outcome.Error, StringComparison.Ordinal);
        AssertSame(expected, scratch);
    }

    [Fact]
    public void Texts_and_runs_that_cannot_be_are_refused()
    {
        using Scratch scratch = Prepare(4, 0);
        string good = File.ReadAllText(scratch["run.json"]);
        File.WriteAllText(scratch["empty.txt"], "\n \n");
        Directory.CreateDirectory(scratch["nothing"]);
        (string Key, JsonNode Value, string Word)[] cases =
        [
            ("data.sources", new JsonArray("empty.txt"), "empty.txt' holds no text"), ("data.sources", new JsonArray("nothing"), "holds no readable file"),
            ("data.sources", new JsonArray("absent.txt"), "absent.txt' does not exist"), ("data.sources", new JsonArray(), "data.sources"),
            ("data.sequence_length", 0, "data.sequence_length"), ("data.sequence_length", 100_000, "max_position_embeddings"), ("batch.rows", 0, "batch.rows"),
            ("budget.steps", -1, "budget.steps"), ("optimizer.beta1", 2, "optimizer.beta1"), ("model.preset", "huge", "model.preset"), ("recipe", "fp3", "fp3"),
            ("tokenizer.vocabulary", 10, "tokenizer.vocabulary"), ("data", 5, "'data' is 5"),
        ];
        foreach ((string key, JsonNode value, string word) in cases)
        {
            JsonObject root = JsonNode.Parse(good)!.AsObject();
            string[] path = key.Split('.');
            if (path.Length > 1) root[path[0]] ??= new JsonObject();
            JsonObject parent = path.Length == 1 ? root : root[path[0]]!.AsObject();
            parent[path[^1]] = value;
            File.WriteAllText(scratch["run.json"], root.ToJsonString());
            Outcome outcome = HadalProcess.Inside("train", scratch["run.json"]);
            Assert.True(outcome.Code == 1, $"{key} = {value.ToJsonString()}: {outcome}");
            Assert.Contains(word, outcome.Error, StringComparison.Ordinal);
            Assert.DoesNotContain("   at ", outcome.Error, StringComparison.Ordinal);
            Assert.DoesNotContain("fault in hadal itself", outcome.Error, StringComparison.Ordinal);
            Assert.False(File.Exists(scratch["model/model.safetensors"]));
        }

        JsonObject odd = JsonNode.Parse(good)!.AsObject();
        odd["colour"] = 3;
        odd["batch"]!["size"] = 9;
        File.WriteAllText(scratch["run.json"], odd.ToJsonString());
        Outcome warned = Train(scratch);
        Assert.True(warned.Code == 0, warned.ToString());
        Assert.Contains("'colour' is not known", warned.Error, StringComparison.Ordinal);
        Assert.Contains("'batch.size' is not known", warned.Error, StringComparison.Ordinal);
    }

    /// <summary>Lines of a file that hold a text.</summary>
    static int Lines(string path, string text = "")
    {
        if (!File.Exists(path)) return 0;
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        using var reader = new StreamReader(file);
        int lines = 0;
        while (reader.ReadLine() is { } line)
            if (line.Contains(text, StringComparison.Ordinal)) lines++;
        return lines;
    }

    /// <summary>Step and loss of every measured step.</summary>
    static string[] Measured(Scratch scratch) =>
        [.. File.ReadLines(scratch["model/metrics.jsonl"]).Select(line => JsonNode.Parse(line)!).Where(line => line["kind"]!.GetValue<string>() is "step").Select(line => $"{line["step"]} {line["loss"]}")];

    /// <summary>Every file below a folder with its length and checksum.</summary>
    static string[] Files(string folder) =>
        [.. Directory.EnumerateFiles(folder, "*", SearchOption.AllDirectories).Where(path => !path.EndsWith("metrics.jsonl", StringComparison.Ordinal)).Order(StringComparer.Ordinal)
            .Select(path => $"{Path.GetRelativePath(folder, path)} {Checksum64.Compute(File.ReadAllBytes(path)):x16}")];

    /// <summary>Makes the manifest of a checkpoint fit a changed file, so that the change itself is what is found.</summary>
    static void Declare(string manifest, string path)
    {
        JsonObject root = JsonNode.Parse(File.ReadAllText(manifest))!.AsObject();
        JsonObject entry = root["files"]![Path.GetFileName(path)]!.AsObject();
        byte[] bytes = File.ReadAllBytes(path);
        entry["bytes"] = bytes.Length;
        entry["checksum"] = Checksum64.Compute(bytes).ToString("x16", CultureInfo.InvariantCulture);
        File.WriteAllText(manifest, root.ToJsonString());
    }
}
