using System.CommandLine;
using System.Text.Json;
using Hadal.Cli.Framework;
using Hadal.Tensors;
using Hadal.Tensors.Conformance;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal conformance</c>: every operation of a backend against its definition.</summary>
static class ConformanceVerb
{
    public static Verb Create(Context context)
    {
        Option<string> backend = Options.Backend();
        Option<ulong> seed = Options.Seed(1);
        Option<bool> json = Options.Json();
        var verb = new Verb("conformance", "Runs every operation of a backend against the reference in double precision, on random shapes.",
            "hadal conformance --backend reference", "hadal conformance --backend reference --seed 7 --json")
        {
            backend, seed, json,
        };
        verb.SetAction(line =>
        {
            using IBackend device = Backends.Create(line.GetRequiredValue(backend), context);
            var results = new List<ConformanceResult>();
            foreach (ConformanceCase one in ConformanceSuite.Cases)
            {
                context.Cancellation.ThrowIfCancellationRequested();
                results.Add(ConformanceSuite.Run(device, one, line.GetValue(seed)));
            }

            int failed = results.Count(result => !result.Passed);
            if (line.GetValue(json))
            {
                context.Terminal.WriteJson(writer =>
                {
                    writer.WriteString("backend", device.Name);
                    writer.WriteNumber("passed", results.Count - failed);
                    writer.WriteNumber("failed", failed);
                    writer.WriteStartArray("cases");
                    foreach (ConformanceResult result in results)
                    {
                        writer.WriteStartObject();
                        writer.WriteString("name", result.Case.Name);
                        writer.WriteBoolean("passed", result.Passed);
                        WriteNumber(writer, "error", result.Error);
                        WriteNumber(writer, "tolerance", result.Tolerance);
                        if (!result.Passed) writer.WriteString("failure", result.Failure);
                        writer.WriteEndObject();
                    }

                    writer.WriteEndArray();
                });
            }
            else
            {
                foreach (ConformanceResult result in results) context.Terminal.Output.WriteLine(result.ToString());
                context.Terminal.Output.WriteLine($"{results.Count - failed} passed, {failed} failed");
            }

            return failed == 0 ? ExitCode.Fine : ExitCode.Failed;
        });
        return verb;
    }

    // JSON has no infinity and no NaN; an operation that threw or gave one has null.
    static void WriteNumber(Utf8JsonWriter writer, string name, double value)
    {
        if (double.IsFinite(value)) writer.WriteNumber(name, value);
        else writer.WriteNull(name);
    }
}
