using Hadal.Numerics;
using Hadal.Tensors;

namespace Hadal.Model;

/// <summary>Fresh weights: N(0, σ) for everything learnable, 1 for norms, 0 for selection biases [V3 §4.2: σ = 0.006].</summary>
public static class Initialization
{
    /// <summary>σ of the report.</summary>
    public const double ReportDeviation = 0.006;

    /// <summary>
    /// Draws all weights. Each public tensor has its own stream, named by its public name, so values depend on seed and name alone, not on how
    /// layers are laid out or split.
    /// </summary>
    public static void Normal(Transformer model, ulong seed, double deviation = ReportDeviation)
    {
        foreach (Parameter parameter in model.Parameters.All)
        {
            foreach (PublicRegion region in parameter.Regions)
            {
                Tensor view = parameter.View(parameter.Value, region);
                switch (parameter.Kind)
                {
                    case ParameterKind.Norm:
                        model.Backend.Operations.Elementwise.Fill(view, 1);
                        break;
                    case ParameterKind.SelectionBias:
                        model.Backend.Operations.Elementwise.Fill(view, 0);
                        break;
                    default:
                        Draw(view, new CounterRandom(seed, RandomPurpose.Initialization, Stream(region.Name)), deviation);
                        break;
                }
            }
        }

        model.Refresh();
    }

    static void Draw(Tensor view, CounterRandom random, double deviation)
    {
        for (int row = 0; row < view.Rows; row++)
        {
            ulong first = (ulong)row * (ulong)view.Columns;
            if (view.DType == DType.F64) random.FillNormal(view.Row<double>(row), deviation, first);
            else random.FillNormal(view.Row<float>(row), deviation, first);
        }
    }

    /// <summary>FNV-1a of the name.</summary>
    static uint Stream(string name)
    {
        uint hash = 2166136261;
        foreach (char c in name) hash = (hash ^ c) * 16777619;
        return hash;
    }
}
