using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Hadal.Cli.Drawing;
using Hadal.Cli.Framework;
using Hadal.Formats;
using Hadal.Training.Recording;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal inspect diverge</c>: where two recorded runs part.</summary>
static class InspectDivergeVerb
{
    const int Shown = 12, ShownOnPage = 40;

    public static Verb Create(Context context)
    {
        var first = new Argument<string>("RUN_A") { Description = "Output folder of a run that was recorded." };
        var second = new Argument<string>("RUN_B") { Description = "Another one." };
        Option<double?> tolerance = new("--tolerance") { Description = "Tensors differ when their relative difference is above this; left out, when one bit does.", HelpName = "X" };
        tolerance.Validators.Add(result =>
        {
            if (result.Tokens.Count == 1 && result.GetValueOrDefault<double?>() is not (>= 0 and <= 1e9)) result.AddError(OptionError.Message($"--tolerance was given \"{result.Tokens[0].Value}\".", "a number from 0 to 1e9, such as 0.001"));
        });
        Option<string?> output = Options.Text("--out", "FILE.png", "Draw losses and difference by layer into a picture.");
        Option<string?> html = Options.Text("--html", "FILE.html", "Write a page that stands alone: verdict, drawing, tensors.");
        Option<bool> json = Options.Json();
        var verb = new Verb("diverge", "Names the first tensor, layer and step where two recorded runs part, in the order of computation, and says by how much. Exit code 0 when they part or when they are equal; --json has \"equal\".",
            "hadal inspect diverge models/a models/b", "hadal inspect diverge models/bf16 models/fp8 --tolerance 0.05 --out parted.png --html parted.html")
        {
            first, second, tolerance, output, html, json,
        };
        verb.SetAction(line =>
        {
            string a = line.GetRequiredValue(first), b = line.GetRequiredValue(second);
            if (line.GetValue(output) is string png) OutputFile.Require(png, "--out");
            if (line.GetValue(html) is string page) OutputFile.Require(page, "--html");
            using RunRecording left = InspectRecordVerb.Open(a, context), right = InspectRecordVerb.Open(b, context);
            Divergence divergence;
            try
            {
                divergence = Divergence.Between(left, right, line.GetValue(tolerance), Divergence.Losses(a), Divergence.Losses(b), context.Cancellation);
            }
            catch (InvalidDataException exception)
            {
                throw CommandError.Failed(exception.Message, "two recordings of one architecture with common steps", "record both runs with the same --record-interval");
            }

            (string nameA, string nameB) = Names(a, b);
            if (line.GetValue(json)) context.Terminal.WriteJson(writer => Write(writer, divergence));
            else
                foreach (string row in Text(divergence, nameA, nameB)) context.Terminal.Output.WriteLine(row);
            if (line.GetValue(output) is string picture) Draw(divergence, nameA, nameB, picture, context);
            if (line.GetValue(html) is string target)
            {
                AtomicFile.WriteAllText(Path.GetFullPath(target), Page(divergence, nameA, nameB, left.Recipe, right.Recipe));
                context.Terminal.Error.WriteLine($"written to {target}");
            }

            return ExitCode.Fine;
        });
        return verb;
    }

    /// <summary>The last parts of the paths, or the whole ones when those are the same.</summary>
    static (string A, string B) Names(string a, string b)
    {
        string left = Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(a))), right = Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(b)));
        return string.Equals(left, right, StringComparison.Ordinal) ? (a, b) : (left, right);
    }

    static void Draw(Divergence divergence, string a, string b, string path, Context context)
    {
        var drawing = new DivergenceDrawing(divergence, a, b, ChartPalette.Light, 900);
        byte[] picture = Picture.TryDraw(drawing.Width, drawing.Height, drawing.Draw) ?? throw CommandError.Failed("This build has no drawing library for png.", "--html", "use --html, which every browser shows");
        AtomicFile.WriteAllBytes(Path.GetFullPath(path), picture);
        context.Terminal.Error.WriteLine($"written to {path}");
    }

    /// <summary>The verdict in a sentence or two.</summary>
    internal static string Verdict(Divergence d)
    {
        if (d.IsEqual) return string.Create(CultureInfo.InvariantCulture, $"The runs are equal in every tensor of the {d.Steps.Count} steps that both recorded ({d.Steps[0]} to {d.Steps[^1]}).");
        TensorDifference at = d.Differences[0];
        string micro = at.MicroBatch > 0 ? string.Create(CultureInfo.InvariantCulture, $", micro-batch {at.MicroBatch}") : "";
        string first = string.Create(CultureInfo.InvariantCulture, $"The runs part in step {d.Step}{micro}, first in the {at.Tensor.KindName} {at.Tensor.Title}, by {Amount(at.Difference)}.");
        return first + Between(d);
    }

    static string Between(Divergence d)
    {
        TensorDifference at = d.Differences[0];
        int weights = d.Differences.Count(x => x.Tensor.Kind == TensorKind.Weight);
        if (at.Tensor.Kind != TensorKind.Weight) return "";
        string before = d.LastEqualStep is long equal
            ? string.Create(CultureInfo.InvariantCulture, $" Step {equal} is equal throughout, so the change came after its tensors were computed and before step {d.Step}")
            : string.Create(CultureInfo.InvariantCulture, $" It is the first common recorded step");
        string which = string.Create(CultureInfo.InvariantCulture, $"; {weights} weights differ");
        string finer = d.LossStep is long loss && d.LastEqualStep is long last && loss > last && loss < d.Step
            ? string.Create(CultureInfo.InvariantCulture, $". The losses differ from step {loss} on: record both runs from there with --record-interval 1 to see the first tensor")
            : "";
        return $"{before}{which}{finer}.";
    }

    static string Amount(double difference) => double.IsPositiveInfinity(difference) ? "something that is no number" : difference == 0 ? "less than 1e-7 of its size (bits differ)"
        : string.Create(CultureInfo.InvariantCulture, $"{(difference < 1e-3 ? difference.ToString("0.##E+0", CultureInfo.InvariantCulture) : difference.ToString("0.####", CultureInfo.InvariantCulture))} of its size");

    static IEnumerable<string> Text(Divergence d, string a, string b)
    {
        yield return Verdict(d);
        yield return string.Create(CultureInfo.InvariantCulture, $"compared: {d.Steps.Count} recorded steps, {d.Tensors.Both} tensors{(d.Tensors.OnlyA + d.Tensors.OnlyB > 0 ? $" ({d.Tensors.OnlyA} only in {a}, {d.Tensors.OnlyB} only in {b})" : "")}");
        if (d.LossStep is long loss) yield return string.Create(CultureInfo.InvariantCulture, $"losses differ from step {loss} on");
        if (d.IsEqual) yield break;
        yield return "";
        yield return string.Create(CultureInfo.InvariantCulture, $"in step {d.Step}, in the order of computation ({d.Differences.Count} tensors differ):");
        yield return $"{"difference",12} {"largest A",11} {"largest B",11}  tensor";
        foreach (TensorDifference each in d.Differences.Take(Shown)) yield return string.Create(CultureInfo.InvariantCulture, $"{Short(each.Difference),12} {each.A.Largest,11:G4} {each.B.Largest,11:G4}  {each.Tensor.KindName}: {each.Tensor.Title}");
        if (d.Differences.Count > Shown) yield return $"{"…",12}";
    }

    static string Short(double difference) => difference == 0 ? "< 1e-7" : double.IsPositiveInfinity(difference) ? "other" : difference.ToString("0.##E+0", CultureInfo.InvariantCulture);

    internal static string Page(Divergence d, string a, string b, string recipeA, string recipeB)
    {
        HtmlPage page = new HtmlPage($"{a} and {b}: {(d.IsEqual ? "equal" : "where they part")}").Paragraph(Verdict(d), "lead");
        page.Table(
        [
            ["", a, b],
            ["recipe", recipeA, recipeB],
            ["last loss", Loss(d.LossesA), Loss(d.LossesB)],
            ["recorded steps in common", d.Steps.Count.ToString(CultureInfo.InvariantCulture), ""],
            ["tensors in common", d.Tensors.Both.ToString(CultureInfo.InvariantCulture), ""],
            ["losses differ from step", d.LossStep?.ToString(CultureInfo.InvariantCulture) ?? "none", ""],
        ], 1);
        page.Heading("Losses, and difference by layer").Drawing(width => new DivergenceDrawing(d, a, b, ChartPalette.Page, width).ToSvg());
        if (!d.IsEqual)
        {
            page.Heading(string.Create(CultureInfo.InvariantCulture, $"Step {d.Step} in the order of computation"));
            page.Table(
                [
                    ["tensor", "kind", "format A", "format B", "difference", "largest A", "largest B", "underflow A", "underflow B"],
                    .. d.Differences.Take(ShownOnPage).Select(x => new[]
                    {
                        x.Tensor.Title, x.Tensor.KindName, x.Tensor.Format, x.FormatB, Short(x.Difference), x.A.Largest.ToString("G4", CultureInfo.InvariantCulture), x.B.Largest.ToString("G4", CultureInfo.InvariantCulture),
                        Share(x.A.UnderflowShare), Share(x.B.UnderflowShare),
                    }),
                ], 4);
            if (d.Differences.Count > ShownOnPage) page.Paragraph(string.Create(CultureInfo.InvariantCulture, $"{d.Differences.Count - ShownOnPage} more tensors differ in that step."), "note");
        }

        return page.Paragraph("A difference is ‖a − b‖ / ‖·‖, estimated from sketches of both tensors and good to about a fifth; that a tensor differs at all is exact, from a hash of its bits. "
            + "Order of computation: the weights before the step, then for each micro-batch its tokens, forward and backward, then the gradients of the weights.", "note").ToString();
    }

    static string Share(double share) => share == 0 ? "0" : string.Create(CultureInfo.InvariantCulture, $"{100 * share:0.###} %");

    static string Loss(IReadOnlyList<(long Step, double Loss)> losses) => losses.Count == 0 ? "" : string.Create(CultureInfo.InvariantCulture, $"{losses[^1].Loss:0.####} (step {losses[^1].Step})");

    static void Write(Utf8JsonWriter json, Divergence d)
    {
        json.WriteBoolean("equal", d.IsEqual);
        json.WriteNumber("steps_compared", d.Steps.Count);
        json.WriteNumber("tensors_compared", d.Tensors.Both);
        if (d.LossStep is long loss) json.WriteNumber("loss_step", loss);
        if (d.LastEqualStep is long equal) json.WriteNumber("last_equal_step", equal);
        if (d.Step is not long step) return;
        json.WriteNumber("step", step);
        json.WriteStartArray("differences");
        foreach (TensorDifference each in d.Differences)
        {
            json.WriteStartObject();
            json.WriteString("kind", each.Tensor.KindName);
            json.WriteNumber("layer", each.Tensor.Layer);
            json.WriteString("name", each.Tensor.Name);
            if (each.MicroBatch >= 0) json.WriteNumber("micro_batch", each.MicroBatch);
            InspectRecordVerb.Number(json, "difference", each.Difference);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }
}
