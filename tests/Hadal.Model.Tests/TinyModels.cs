using Hadal.Tensors;
using Hadal.Tensors.Operations;
using Hadal.Tensors.Reference;

namespace Hadal.Model.Tests;

/// <summary>Shapes small enough for finite differences, one for each branch of the architecture.</summary>
static class TinyModels
{
    public static TransformerShape Shape(string variant)
    {
        var shape = new TransformerShape
        {
            Vocabulary = 23, Hidden = 12, Layers = 2, DenseLayers = 1, DenseIntermediate = 14, ExpertIntermediate = 6, Heads = 2, QueryLoraRank = 6,
            KeyValueLoraRank = 5, QkNopeHeadDim = 4, QkRopeHeadDim = 2, ValueHeadDim = 3, SharedExperts = 1,
            Gate = new GateParameters(8, 3, 4, 2, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, RoutedScale: 2.5), GateBias = true,
            MtpDepth = 0, NormEpsilon = 1e-6, RotaryTheta = 10000, MaxPositions = 32,
        };
        return variant switch
        {
            "v3" => shape,
            "noqlora" => shape with { QueryLoraRank = 0, SharedExperts = 2, Gate = shape.Gate with { Groups = 1, TopGroups = 1 } },
            "v2" => shape with { GateBias = false, Gate = new GateParameters(8, 3, 4, 2, GateScoring.Softmax, GroupScoring.Maximum, Normalize: false, RoutedScale: 4) },
            "noshared" => shape with { SharedExperts = 0, DenseLayers = 0 },
            "dense" => shape with { DenseLayers = 2, TiedEmbeddings = true },
            "yarn" => shape with { Yarn = new YarnShape(4, 8, 32, 1, 1, 0.7) },
            "mtp" => shape with { MtpDepth = 1 },
            "mtp2" => shape with { MtpDepth = 2 },
            _ => throw new ArgumentOutOfRangeException(nameof(variant), variant, "Unknown variant."),
        };
    }

    /// <summary>A float64 model on Reference with random weights whose norms are near one.</summary>
    public static Transformer Random(string variant, ulong seed, IBackend? backend = null, DType type = DType.F64) => Random(Shape(variant), seed, backend, type);

    /// <inheritdoc cref="Random(string, ulong, IBackend, DType)"/>
    public static Transformer Random(TransformerShape shape, ulong seed, IBackend? backend = null, DType type = DType.F64)
    {
        var model = new Transformer(backend ?? new ReferenceBackend(), shape, Recipe.Fp32, type);
        var random = new SplitMix(seed);
        foreach (Parameter parameter in model.Parameters.All)
        {
            double center = parameter.Kind == ParameterKind.Norm ? 1 : 0;
            double spread = parameter.Kind is ParameterKind.Norm ? 0.2 : parameter.Kind is ParameterKind.SelectionBias ? 0.1 : 0.5;
            for (int row = 0; row < parameter.Value.Rows; row++)
            {
                for (int column = 0; column < parameter.Value.Columns; column++)
                {
                    double value = center + (spread * ((2 * random.NextDouble()) - 1));
                    if (type == DType.F64) parameter.Value.Row<double>(row)[column] = value;
                    else parameter.Value.Row<float>(row)[column] = (float)value;
                }
            }
        }

        model.Refresh();
        return model;
    }

    public static int[] Tokens(int count, int vocabulary, ulong seed)
    {
        var random = new SplitMix(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (int)(random.Next() % (ulong)vocabulary))];
    }
}

/// <summary>A test's own generator, so that a fault in the product's cannot hide in its test.</summary>
sealed class SplitMix(ulong seed)
{
    ulong _state = seed;

    public ulong Next()
    {
        ulong z = _state += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }

    public double NextDouble() => (Next() >> 11) * (1.0 / (1UL << 53));
}
