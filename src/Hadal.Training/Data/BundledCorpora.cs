using System.IO.Compression;
using System.Text;

namespace Hadal.Training.Data;

/// <summary>The public-domain texts that ship inside the assembly (Corpora/README.md: sources and licences).</summary>
public static class BundledCorpora
{
    /// <summary>Names <see cref="Load"/> knows.</summary>
    public static IReadOnlyList<string> Names { get; } = ["austen", "kjv"];

    /// <summary>Reads one bundled text; its documents are chapters.</summary>
    /// <exception cref="TrainingDataException">There is no such text.</exception>
    public static Corpus Load(string name)
    {
        using Stream? packed = typeof(BundledCorpora).Assembly.GetManifestResourceStream($"corpora/{name}.txt.br");
        if (packed is null) Throw.Data($"There is no bundled text '{name}'.", $"Use one of: {string.Join(", ", Names)}; or name a file or folder.");
        using var text = new StreamReader(new BrotliStream(packed, CompressionMode.Decompress), Encoding.UTF8);
        string[] documents = text.ReadToEnd().Split('\f');
        return new Corpus(name, [.. documents.Select((document, i) => new Document($"{name}:{i}", document))]);
    }
}
