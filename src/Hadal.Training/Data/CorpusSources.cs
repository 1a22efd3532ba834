using System.Globalization;

namespace Hadal.Training.Data;

/// <summary>Turns the sources of a run into corpora.</summary>
public static class CorpusSources
{
    const string Bundled = "bundled:", Arithmetic = "arithmetic:";

    /// <summary>True for sources that are no path.</summary>
    public static bool IsGenerated(string source) =>
        source.StartsWith(Bundled, StringComparison.Ordinal) || source.StartsWith(Arithmetic, StringComparison.Ordinal);

    /// <summary>Reads one source: <c>bundled:NAME</c>, <c>arithmetic:N</c>, a file or a folder.</summary>
    /// <param name="source">As in <see cref="DataConfiguration.Sources"/>.</param>
    /// <param name="boundary">Where documents end inside files.</param>
    /// <param name="seed">Seed of generated text.</param>
    /// <exception cref="TrainingDataException">It cannot be read; the message says why and the remedy.</exception>
    public static Corpus Load(string source, DocumentBoundary boundary, ulong seed)
    {
        if (source.StartsWith(Bundled, StringComparison.Ordinal)) return BundledCorpora.Load(source[Bundled.Length..]);
        if (!source.StartsWith(Arithmetic, StringComparison.Ordinal)) return TextFiles.Read(source, boundary);
        if (!int.TryParse(source.AsSpan(Arithmetic.Length), NumberStyles.None, CultureInfo.InvariantCulture, out int count) || count is < 1 or > 10_000_000)
            Throw.Data($"'{source}' names no number of documents.", "Write for example arithmetic:2000.");
        return new ArithmeticDocuments(seed).Corpus(count);
    }
}
