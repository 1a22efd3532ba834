using Hadal.Numerics;

namespace Hadal.Training.Data;

/// <summary>
/// Which documents are never trained on. The rule: documents are taken in groups of <paramref name="Every"/> consecutive ones, and of each group one, chosen
/// by the seed, is held out; of a last incomplete group the chosen one may not exist. A corpus of fewer documents than that is one group; a single document
/// is trained on and nothing is held out. It depends on the number of documents and the seed alone.
/// </summary>
/// <param name="Every">One of so many documents is held out; 0 for none.</param>
/// <param name="Seed">The seed of the split: its own, so that runs with different seeds are measured on the same text.</param>
public sealed record HeldOutSplit(int Every, ulong Seed)
{
    /// <summary>Divides a corpus.</summary>
    public (Corpus Training, Corpus HeldOut) Divide(Corpus corpus)
    {
        int count = corpus.Documents.Count;
        var training = new List<Document>(count);
        var heldOut = new List<Document>();
        int every = Every <= 0 || count < 2 ? 0 : Math.Min(Every, count);
        var random = new CounterRandom(Seed, RandomPurpose.Split);
        for (int i = 0; i < count; i++)
        {
            bool held = every > 1 && random.Below((ulong)(i / every), every) == i % every;
            (held ? heldOut : training).Add(corpus.Documents[i]);
        }

        return (corpus with { Documents = training }, corpus with { Documents = heldOut });
    }
}
