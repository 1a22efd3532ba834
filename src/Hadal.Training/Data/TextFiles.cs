using System.IO.Compression;
using System.Text;
using System.Text.Json;

namespace Hadal.Training.Data;

/// <summary>Where a document ends inside a text file. A form feed always ends one.</summary>
public enum DocumentBoundary
{
    /// <summary>A file is one document.</summary>
    File,
    /// <summary>Blank lines separate documents.</summary>
    BlankLine,
}

/// <summary>
/// Reads documents from a file, or from every readable file below a folder (in ordinal order of the relative path, so the order is the same on every
/// machine): <c>.txt</c>, <c>.md</c> and <c>.jsonl</c> (one object with a string "text" a line), each also as <c>.gz</c> or <c>.br</c>.
/// Bytes that are not UTF-8 become U+FFFD.
/// </summary>
public static class TextFiles
{
    static readonly string[] Readable = [".txt", ".md", ".jsonl"];

    /// <summary>What <see cref="Read"/> accepts, for messages.</summary>
    public const string Kinds = ".txt, .md or .jsonl ({\"text\": …} a line), each also as .gz or .br, in UTF-8";

    /// <summary>Reads all documents; empty ones are left out.</summary>
    /// <exception cref="TrainingDataException">The path does not exist, holds no readable file, is damaged, or holds no text.</exception>
    public static Corpus Read(string path, DocumentBoundary boundary)
    {
        string name = Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(path)));
        var documents = new List<Document>();
        if (File.Exists(path))
        {
            if (!IsReadable(path)) Throw.Data($"'{path}' is of a kind that cannot be read.", $"Expected {Kinds}.");
            ReadFile(path, name, boundary, documents);
        }
        else if (Directory.Exists(path))
        {
            string[] files = [.. Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories).Where(IsReadable)
                .OrderBy(f => Path.GetRelativePath(path, f).Replace('\\', '/'), StringComparer.Ordinal)];
            if (files.Length == 0) Throw.Data($"'{path}' holds no readable file.", $"Put text there: {Kinds}.");
            foreach (string file in files) ReadFile(file, Path.GetRelativePath(path, file), boundary, documents);
        }
        else
        {
            Throw.Data($"'{path}' does not exist.", "Name a file or folder with text, or a bundled text such as bundled:austen.");
        }

        if (documents.Count == 0) Throw.Data($"'{path}' holds no text: every document is empty.", "Put text there, or remove it from the data sources.");
        return new Corpus(name, documents);
    }

    static bool IsReadable(string file) => Readable.Contains(InnerExtension(file), StringComparer.OrdinalIgnoreCase);

    static string InnerExtension(string file)
    {
        string extension = Path.GetExtension(file);
        bool packed = extension.Equals(".gz", StringComparison.OrdinalIgnoreCase) || extension.Equals(".br", StringComparison.OrdinalIgnoreCase);
        return packed ? Path.GetExtension(Path.GetFileNameWithoutExtension(file)) : extension;
    }

    static void ReadFile(string file, string source, DocumentBoundary boundary, List<Document> documents)
    {
        string text;
        try
        {
            using Stream raw = File.OpenRead(file);
            using Stream stream = Path.GetExtension(file).ToUpperInvariant() switch
            {
                ".GZ" => new GZipStream(raw, CompressionMode.Decompress),
                ".BR" => new BrotliStream(raw, CompressionMode.Decompress),
                _ => raw,
            };
            using var reader = new StreamReader(stream, Encoding.UTF8, detectEncodingFromByteOrderMarks: false);
            text = reader.ReadToEnd();
        }
        catch (Exception exception) when (exception is IOException or InvalidDataException or InvalidOperationException or UnauthorizedAccessException)
        {
            Throw.Data($"'{file}' cannot be read: {exception.Message}", "Repair or remove the file, or unpack it first.", exception);
            return;
        }

        if (text.StartsWith('\uFEFF')) text = text[1..];
        if (InnerExtension(file).Equals(".jsonl", StringComparison.OrdinalIgnoreCase)) ReadLines(file, source, text, documents);
        else foreach (string part in Split(text, boundary)) documents.Add(new Document(source, part));
    }

    static void ReadLines(string file, string source, string text, List<Document> documents)
    {
        int number = 0;
        foreach (string line in text.Split('\n'))
        {
            number++;
            if (string.IsNullOrWhiteSpace(line)) continue;
            try
            {
                using var json = JsonDocument.Parse(line);
                string? document = json.RootElement.ValueKind == JsonValueKind.Object && json.RootElement.TryGetProperty("text", out JsonElement value)
                    && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
                if (document is null) Throw.Data($"'{file}' line {number} has no string \"text\".", "Every line is one object such as {\"text\": \"…\"}.");
                if (!string.IsNullOrWhiteSpace(document)) documents.Add(new Document($"{source}:{number}", document));
            }
            catch (Exception exception) when (exception is JsonException or InvalidOperationException)
            {
                Throw.Data($"'{file}' line {number} is not JSON: {exception.Message}", "Every line is one object such as {\"text\": \"…\"}.", exception);
            }
        }
    }

    internal static IEnumerable<string> Split(string text, DocumentBoundary boundary)
    {
        foreach (string page in text.Split('\f'))
        {
            if (boundary == DocumentBoundary.File)
            {
                if (!string.IsNullOrWhiteSpace(page)) yield return page;
                continue;
            }

            var current = new StringBuilder();
            foreach (string line in page.ReplaceLineEndings("\n").Split('\n'))
            {
                if (!string.IsNullOrWhiteSpace(line))
                {
                    current.Append(line).Append('\n');
                }
                else if (current.Length > 0)
                {
                    yield return current.ToString();
                    current.Clear();
                }
            }

            if (current.Length > 0) yield return current.ToString();
        }
    }
}
