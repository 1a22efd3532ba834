using System.Globalization;
using Hadal.Model;

namespace Hadal.Training.Tests.Measurement;

public sealed class KeptBytesPageTests
{
    [Fact]
    public void The_table_of_kept_bytes_in_the_page_on_fp8_is_what_the_records_take()
    {
        string page = File.ReadAllText(Path.Combine(Repository.Root, "docs", "fp8.md"));
        (string, TransformerShape)[] shapes = [("nano", ModelLoader.Shape(ModelPresets.Find("nano", 4096))), .. KnownShapes.All];
        foreach ((string name, TransformerShape shape) in shapes)
        {
            RecordMemory[] kept = [.. new[] { Recipe.Fp32, Recipe.Bf16, Recipe.Fp8 }.Select(recipe => RecordMemory.Of(shape, recipe, 4096))];
            string Cell(Func<RecordMemory, double> bytes) => string.Join(" / ", kept.Select(k => bytes(k).ToString("N0", CultureInfo.InvariantCulture)));
            Assert.Contains($"| {name} | {Cell(k => k.DenseBytesPerToken)} | {Cell(k => k.SparseBytesPerToken)} | {Cell(k => k.BytesPerToken(shape))} |", page, StringComparison.Ordinal);
        }
    }
}
