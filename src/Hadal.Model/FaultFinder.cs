using Hadal.Numerics;
using Hadal.Tensors;

namespace Hadal.Model;

/// <summary>Finds weights that are not finite. For the way out of a run that has failed.</summary>
public static class FaultFinder
{
    /// <summary>The first parameter that is not finite; null when all are. Float32 in host memory.</summary>
    public static Parameter? FindParameter(Transformer model)
    {
        ArgumentNullException.ThrowIfNull(model);
        return model.Parameters.All.FirstOrDefault(p => HasFault(p.Value));
    }

    static bool HasFault(Tensor values)
    {
        for (int row = 0; row < values.Rows; row++)
        {
            bool finite = values.DType == DType.F64
                ? values.Row<double>(row).IndexOfAnyExceptInRange(double.MinValue, double.MaxValue) < 0
                : TileQuantizer.FirstNonFinite(values.Row<float>(row)) < 0;
            if (!finite) return true;
        }

        return false;
    }
}
