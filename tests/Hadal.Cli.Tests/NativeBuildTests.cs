using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using Hadal.Formats;

namespace Hadal.Cli.Tests;

/// <summary>
/// The native ahead-of-time build of the device verbs: it publishes without a warning, is one small file, and says what the portable build says. Published once into a
/// folder of its own (<c>artifacts/native</c>), so that the build beside it stays as it is.
/// </summary>
[Trait("tier", "full")]
public sealed class NativeBuildTests
{
    const long LargestBinary = 16 << 20;

    static readonly Lazy<(string Path, string Log)> Build = new(Publish);

    static string Native => Build.Value.Path;

    static (string Path, string Log) Publish()
    {
        string folder = Path.Combine(HadalProcess.Root, "artifacts", "native"), output = Path.Combine(folder, "publish");
        var start = new ProcessStartInfo("dotnet",
        [
            "publish", Path.Combine("src", "Hadal.Cli"), "-c", "Release", "-r", RuntimeInformation.RuntimeIdentifier, "-p:PublishAot=true", "-p:IlcInstructionSet=x86-64-v4",
            "--artifacts-path", folder, "-o", output, "-v", "minimal", "-nologo", "-m:1", "-nodeReuse:false",
            "-p:RunAnalyzers=false", // the sources were analysed when the portable build was made; what is left to say is the native compiler's
        ])
        {
            WorkingDirectory = HadalProcess.Root, UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true,
        };
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        var log = new StringBuilder(process.StandardOutput.ReadToEnd());
        process.WaitForExit();
        log.Append(error.Result);
        Assert.True(process.ExitCode == 0, $"dotnet publish ended with code {process.ExitCode}\n{log}");
        return (Path.Combine(output, "hadal"), log.ToString());
    }

    static Outcome Run(params string[] arguments) => HadalProcess.Run(new Setting { Program = Native }, arguments);

    [Fact]
    public void It_publishes_without_a_warning_as_one_small_file()
    {
        (string path, string log) = Build.Value;
        Assert.DoesNotContain("warning", log, StringComparison.OrdinalIgnoreCase);
        Assert.InRange(new FileInfo(path).Length, 1 << 20, LargestBinary);
        Assert.Empty(Directory.EnumerateFiles(Path.GetDirectoryName(path)!, "*.so*"));
        Assert.Empty(Directory.EnumerateFiles(Path.GetDirectoryName(path)!, "*.dll"));
    }

    [Fact]
    public void Doctor_proves_both_backends_and_says_that_it_is_native()
    {
        Outcome outcome = Run("doctor", "--json");
        Assert.True(outcome.Code == 0, outcome.ToString());
        JsonElement report = JsonDocument.Parse(outcome.Output).RootElement;
        Assert.True(report.GetProperty("healthy").GetBoolean(), outcome.Output);
        Assert.Contains("native build", outcome.Output, StringComparison.Ordinal);
        Assert.Contains("backend reference", outcome.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("cpu")]
    [InlineData("reference")]
    public void Conformance_passes(string backend)
    {
        Outcome outcome = Run("conformance", "--backend", backend);
        Assert.True(outcome.Code == 0, outcome.ToString());
        Assert.Contains(" passed, 0 failed", outcome.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Generate_and_inspect_give_the_bits_of_the_portable_build()
    {
        using var scratch = new Scratch();
        foreach (string model in (string[])[HadalProcess.Fixture("base"), HadalProcess.Extra("fp8"), HadalProcess.Extra("v2-groups")])
        {
            string[] generate = ["generate", "--model", model, "--token-ids", "5,17,3", "--max-new-tokens", "12", "--temperature", "0", "--print", "ids", "--ignore-eos"];
            Outcome native = Run(generate), portable = HadalProcess.Run(generate);
            Assert.True(native.Code == 0, native.ToString());
            Assert.Equal(portable.Output, native.Output);

            string[] inspect = ["inspect", "forward", "--model", model, "--tokens", Path.Combine(model, "expected.safetensors"), "--backward", "--out"];
            Assert.Equal(0, Run([.. inspect, scratch["native.safetensors"]]).Code);
            Assert.Equal(0, HadalProcess.Run([.. inspect, scratch["portable.safetensors"]]).Code);
            using SafetensorsFile left = SafetensorsFile.Open(scratch["native.safetensors"]), right = SafetensorsFile.Open(scratch["portable.safetensors"]);
            Assert.Equal(right.Entries.Select(e => e.Name), left.Entries.Select(e => e.Name), StringComparer.Ordinal);
            foreach (TensorEntry entry in right.Entries) Assert.True(right.Read(entry).AsSpan().SequenceEqual(left.Read(left.Find(entry.Name)!)), entry.ToString());
        }
    }

    [Fact]
    public void Train_convert_and_the_tokenizer_run_and_give_the_bits_of_the_portable_build()
    {
        using var scratch = new Scratch();
        File.WriteAllText(scratch["run.json"], """
            {
              "model": { "preset": "tiny" }, "tokenizer": { "vocabulary": 330 }, "data": { "sources": ["arithmetic:60"], "held_out_every": 8, "sequence_length": 32 },
              "batch": { "rows": 2 }, "budget": { "steps": 8 }, "evaluation": { "times": 1, "bytes": 200, "final_bytes": 200 }, "output": "model"
            }
            """);
        foreach ((string name, string? program) in ((string, string?)[])[("native", Native), ("portable", null)])
        {
            var setting = new Setting { Program = program, Environment = new Dictionary<string, string>(StringComparer.Ordinal) { ["HADAL_HOME"] = scratch["home-" + name] } };
            Outcome trained = HadalProcess.Run(setting, "train", scratch["run.json"], "--output", scratch[name]);
            Assert.True(trained.Code == 0, trained.ToString());
            Outcome converted = HadalProcess.Run(setting, "convert", scratch[name], scratch[name + "-fp8"], "--dtype", "fp8", "--config-style", "rope-parameters");
            Assert.True(converted.Code == 0, converted.ToString());
        }

        foreach (string file in (string[])["/model.safetensors", "/tokenizer.json", "/config.json", "-fp8/model.safetensors", "-fp8/config.json"])
            Assert.Equal(File.ReadAllBytes(scratch["portable" + file]), File.ReadAllBytes(scratch["native" + file]));
    }

    [Fact]
    public void Errors_are_those_of_the_portable_build()
    {
        string[] line = ["generate", "--model", HadalProcess.Fixture("base"), "--token-ids", "5,x", "--print", "ids"];
        Outcome native = Run(line), portable = HadalProcess.Run(line);
        Assert.Equal(2, native.Code);
        Assert.Equal(portable.Error, native.Error);
    }
}
