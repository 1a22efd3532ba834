using Hadal.Model;

namespace Hadal.Training.Optimization;

/// <summary>
/// A stretch of the flat gradient that is always owned as a whole or in blocks of <see cref="Block"/>: a parameter, or one expert of a parameter of all experts. Sums
/// over the gradient go segment by segment, so ranks that own some of the experts arrive at the bits of one that owns all.
/// </summary>
/// <param name="Parameter">The parameter.</param>
/// <param name="Expert">The expert; −1 for a parameter that is not cut.</param>
/// <param name="Start">First element in flat buffers.</param>
/// <param name="Length">Elements.</param>
readonly record struct GradientSegment(Parameter Parameter, int Expert, int Start, int Length)
{
    /// <summary>Elements whose squares are added in one chain: what sums of squares use on every backend that trains over ranks.</summary>
    internal const int Block = 4096;

    /// <summary>Blocks of the segment.</summary>
    internal int Blocks => (Length + Block - 1) / Block;

    /// <summary>All segments of a model, in flat order.</summary>
    internal static GradientSegment[] Of(ParameterSet parameters)
    {
        var segments = new List<GradientSegment>();
        foreach (Parameter parameter in parameters.All)
        {
            int parts = parameter.Shape.Count == 3 ? parameter.Shape[0] : 1, length = parameter.Length / parts;
            for (int e = 0; e < parts; e++) segments.Add(new(parameter, parts > 1 || parameter.Shape.Count == 3 ? e : -1, checked((int)parameter.Offset + (e * length)), length));
        }

        return [.. segments];
    }
}
