using Hadal.Kernels.Library;
using Hadal.Model;

namespace Hadal.Kernels.Device;

/// <summary>What a model of a named size multiplies.</summary>
static class ModelStep
{
    /// <summary>The linear layers of a shape, on one rank: all experts are here.</summary>
    public static StepShape Of(TransformerShape model)
    {
        int hidden = model.Hidden, heads = model.Heads, value = heads * model.ValueHeadDim, gated = 2 * model.ExpertIntermediate;
        var linears = new List<LinearShape>();

        // The projections to the compressed query and to the compressed keys and values are one product.
        if (model.QueryLoraRank > 0)
        {
            linears.Add(new LinearShape(model.QueryLoraRank + model.LatentDim, hidden));
            linears.Add(new LinearShape(heads * model.QkHeadDim, model.QueryLoraRank));
        }
        else
        {
            linears.Add(new LinearShape(model.LatentDim, hidden));
            linears.Add(new LinearShape(heads * model.QkHeadDim, hidden));
        }

        linears.Add(new LinearShape(heads * (model.QkNopeHeadDim + model.ValueHeadDim), model.KeyValueLoraRank));
        linears.Add(new LinearShape(hidden, value));
        if (model.DenseLayers > 0) linears.AddRange([new LinearShape(2 * model.DenseIntermediate, hidden), new LinearShape(hidden, model.DenseIntermediate)]);
        if (model.SharedExperts > 0) linears.AddRange([new LinearShape(gated * model.SharedExperts, hidden), new LinearShape(hidden, model.ExpertIntermediate * model.SharedExperts)]);
        if (model.MtpDepth > 0) linears.Add(new LinearShape(hidden, 2 * hidden));
        return new StepShape(
            linears, [new LinearShape(gated, hidden), new LinearShape(hidden, model.ExpertIntermediate)], model.Gate.Experts, model.Gate.TopK,
            [new LinearShape(model.Gate.Experts, hidden), new LinearShape(model.Vocabulary, hidden)], [value], heads,
            [new LinearShape(model.KeyValueLoraRank, model.QkNopeHeadDim), new LinearShape(model.ValueHeadDim, model.KeyValueLoraRank)]);
    }
}
