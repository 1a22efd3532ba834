namespace Hadal.Parallel.Ranks;

/// <summary>A rank of the group can take no further part. Every rank that waits, for it or for one that waits for it, gets this and the same name.</summary>
/// <param name="rank">Index of the lost rank in the whole world; −1 when ranks wait for each other in a circle and none is lost.</param>
/// <param name="message">Who was lost, why, and who waited for what.</param>
/// <param name="innerException">What ended the rank, where it is known.</param>
public sealed class RankLostException(int rank, string message, Exception? innerException = null) : Exception(message, innerException)
{
    /// <summary>Index of the lost rank in the whole world, −1 for a circle.</summary>
    public int Rank { get; } = rank;
}
