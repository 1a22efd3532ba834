using Hadal.Tensors.Operations;

namespace Hadal.Model.Tests;

/// <summary>A recipe is a value: presets, files, and refusals that give the reason.</summary>
public sealed class RecipeTests
{
    [Fact]
    public void Every_named_recipe_can_work_and_is_found_by_its_name()
    {
        foreach (Recipe recipe in Recipe.All)
        {
            recipe.Validate();
            Assert.Same(recipe, Recipe.Find(recipe.Name));
        }

        Assert.Equal(Recipe.All.Count, Recipe.All.Select(r => r.Name).Distinct(StringComparer.Ordinal).Count());
        Assert.All(Recipe.All, recipe => Assert.Equal(recipe, Recipe.Parse(recipe.ToJson(), "r.json")));
        Assert.Contains("fp8", Assert.Throws<ArgumentException>(() => Recipe.Find("fp9")).Message, StringComparison.Ordinal);
    }

    [Fact]
    [Implements("V3 §3.3.1", "The products of projections run in FP8 in forward, input gradient and weight gradient, near the result of FP32")]
    [Implements("V3 §3.3.2", "E4M3 for all operands, gradients included")]
    [Implements("V3 §3.3.3", "Inputs of the experts are kept and dispatched in FP8 with power-of-two scales")]
    public void The_fp8_recipe_is_the_reports()
    {
        Recipe fp8 = Recipe.Fp8;
        Assert.Equal(new QuantizationFormat(NumberFormat.E4M3, Granularity.Tile), fp8.Forward.Left);
        Assert.Equal(new QuantizationFormat(NumberFormat.E4M3, Granularity.Block), fp8.Forward.Right);
        Assert.Equal(fp8.Forward, fp8.InputGradient);
        Assert.Equal(new QuantizationFormat(NumberFormat.E4M3, Granularity.Tile), fp8.WeightGradient.Left);
        Assert.Equal(fp8.WeightGradient.Left, fp8.WeightGradient.Right);
        Assert.All(new[] { fp8.Forward, fp8.InputGradient, fp8.WeightGradient }, p => Assert.Equal(Accumulation.Promoted, p.Accumulation));
        Assert.Equal(NumberFormat.F32, fp8.WeightGradient.Output);
        Assert.Equal(NumberFormat.BF16, fp8.Forward.Output);
        Assert.Equal(QuantizationFormat.E5M6, fp8.AttentionOutput);
        Assert.Equal(Numerics.ScaleKind.PowerOfTwo, fp8.AttentionOutputScale);
        Assert.Equal(QuantizationFormat.Tiles(Numerics.ScaleKind.PowerOfTwo), fp8.ExpertInput);
        Assert.Equal(QuantizationFormat.Tiles(Numerics.ScaleKind.PowerOfTwo), fp8.ExpertGradient);
        Assert.Equal(QuantizationFormat.Tiles(), fp8.SwiGluInput);
    }

    [Fact]
    public void A_file_changes_what_it_names_and_keeps_the_rest_of_its_base()
    {
        Recipe recipe = Recipe.Parse("""
            {
              "name": "mine", "base": "fp8", "summary": "blocks for gradients",
              "inputGradient": { "gradient": "e4m3 128x128 power-of-two" },
              "weightGradient": { "gradient": "e4m3 128x1", "input": "e4m3 128x128" },
              "cache": { "attentionOutput": "bf16" }
            }
            """, "mine.json");
        Assert.Equal("mine", recipe.Name);
        Assert.Equal(QuantizationFormat.Blocks(Numerics.ScaleKind.PowerOfTwo), recipe.InputGradient.Left);
        Assert.Equal(QuantizationFormat.Blocks(), recipe.WeightGradient.Right);
        Assert.Equal(QuantizationFormat.BF16, recipe.AttentionOutput);
        Assert.Equal(Recipe.Fp8.Forward, recipe.Forward);
    }

    [Theory]
    [InlineData("""{ "base": "fp8", "forward": { "input": "e4m3 128x1" } }""", "wrong dimension")]
    [InlineData("""{ "base": "fp8", "weightGradient": { "input": "e4m3 1x128" } }""", "wrong dimension")]
    [InlineData("""{ "base": "fp8", "forward": { "input": "e4m3 1x96" } }""", "only groups of 128")]
    [InlineData("""{ "base": "fp8", "forward": { "input": "e4m3 1x64" } }""", "covers 64 of the contraction; only groups of 128")]
    [InlineData("""{ "base": "fp8", "weightGradient": { "gradient": "e4m3 256x1" } }""", "covers 256 of the contraction; only groups of 128")]
    [InlineData("""{ "base": "fp8", "forward": { "input": "e4m3" } }""", "needs scales")]
    [InlineData("""{ "base": "fp8", "forward": { "input": "bf16 1x128" } }""", "no scales")]
    [InlineData("""{ "base": "fp8", "forward": { "input": "bf16" } }""", "FP8 multiplies with FP8 only")]
    [InlineData("""{ "base": "fp8", "forward": { "accumulation": "tensor-core" } }""", "promoted every 128")]
    [InlineData("""{ "base": "fp8", "forward": { "weight": "e4m3 1x128" }, "inputGradient": { "weight": "e4m3 1x128" } }""", "across the contraction")]
    [InlineData("""{ "base": "fp8", "inputGradient": { "weight": "e4m3 tensor" } }""", "quantised once")]
    [InlineData("""{ "base": "fp8", "weightGradient": { "output": "bf16" } }""", "are F32")]
    [InlineData("""{ "base": "fp8", "activations": "e4m3 1x128" }""", "activations are F32 or BF16")]
    [InlineData("""{ "base": "fp8", "forward": { "input": "e5m6 1x128" } }""", "storage format")]
    [InlineData("""{ "base": "fp8", "cache": { "swiGluInput": "e4m3" } }""", "needs scales")]
    [InlineData("""{ "base": "bf16", "forward": { "accumulation": "promoted" } }""", "takes one chain")]
    [InlineData("""{ "base": "fp32", "attentionOutputScale": "power-of-two" }""", "has no scales")]
    [InlineData("""{ "base": "fp8", "forward": { "input": "e4m3 1x128 delayed" } }""", "only a whole tensor is the same thing in the next step")]
    [InlineData("""{ "base": "bf16", "forward": { "input": "bf16 delayed" } }""", "only a whole tensor is the same thing in the next step")]
    [InlineData("""{ "base": "fp8-per-tensor", "inputGradient": { "weight": "e4m3 tensor delayed" } }""", "quantised once")]
    [InlineData("""{ "base": "fp8", "cache": { "swiGluInput": "e4m3 tensor delayed" } }""", "takes the scale of those")]
    [InlineData("""{ "base": "fp8-per-tensor-delayed", "delayedSteps": 0 }""", "1 to 4096")]
    [InlineData("""{ "base": "fp8-per-tensor-delayed", "delayedSteps": "many" }""", "a whole number of steps")]
    [InlineData("""{ "base": "fp8", "forwards": {} }""", "forwards")]
    [InlineData("""{ "base": 8 }""", "a string")]
    [InlineData("""[ 1 ]""", "an object")]
    [InlineData("""{ "base": """, "not JSON")]
    [InlineData("""{ "forward": { "input": "e4m3 9999999999x1" } }""", "expected")]
    public void A_recipe_that_cannot_work_is_refused_with_the_reason(string json, string reason) =>
        Assert.Contains(reason, Assert.Throws<ArgumentException>(() => Recipe.Parse(json, "r.json")).Message, StringComparison.Ordinal);
}
