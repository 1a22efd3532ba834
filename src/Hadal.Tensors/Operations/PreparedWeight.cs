namespace Hadal.Tensors.Operations;

/// <summary>Which products a weight takes part in; the backend packs it for those.</summary>
[Flags]
public enum ProductUses
{
    /// <summary>y = x·Wᵀ.</summary>
    Forward = 1,
    /// <summary>dx = dy·W.</summary>
    BackwardInput = 2,
    /// <summary>Both.</summary>
    Training = Forward | BackwardInput,
}

/// <summary>
/// A weight, or a group of equally shaped weights (experts, heads), in the form a backend multiplies fastest. The values stay in the tensors
/// given to <see cref="IMatrixOperations.Prepare"/>; after they changed, <see cref="IMatrixOperations.Refresh"/> brings the prepared form up to date.
/// </summary>
public abstract class PreparedWeight : IDisposable
{
    readonly Tensor[] _groups;

    /// <summary>Keeps the views. All have the same shape [outputs, inputs].</summary>
    protected PreparedWeight(ReadOnlySpan<Tensor> groups, ProductUses uses)
    {
        if (groups.IsEmpty) throw new ArgumentException("A weight has at least one group.", nameof(groups));
        foreach (Tensor group in groups)
            if (group.Rank != 2 || group[0] != groups[0][0] || group[1] != groups[0][1] || group.DType != groups[0].DType)
                throw new ArgumentException($"Groups of one weight are matrices of one shape; {group} and {groups[0]} were given.", nameof(groups));
        _groups = groups.ToArray();
        Uses = uses;
    }

    /// <summary>The values, one [outputs, inputs] matrix a group.</summary>
    public ReadOnlySpan<Tensor> Groups => _groups;

    /// <summary>Products this weight was prepared for.</summary>
    public ProductUses Uses { get; }

    /// <summary>Rows of each matrix: the N of y = x·Wᵀ.</summary>
    public int Outputs => _groups[0][0];

    /// <summary>Columns of each matrix: the K of y = x·Wᵀ.</summary>
    public int Inputs => _groups[0][1];

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Frees packed copies.</summary>
    protected abstract void Dispose(bool disposing);
}
