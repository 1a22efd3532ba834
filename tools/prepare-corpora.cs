// Makes src/Hadal.Training/Corpora/{austen,kjv}.txt.br from the plain texts (their README says where those come from):
//     dotnet run tools/prepare-corpora.cs -- AUSTEN.txt KJV.txt OUT
// AUSTEN.txt: the six novels, one after the other. KJV.txt: one verse a line, each with a prefix such as "Ge1:1 ".
// A document is a chapter; documents are separated by one form feed. Trailing blanks go, several blank lines become one.
using System.IO.Compression;
using System.Text;
using System.Text.RegularExpressions;

if (args.Length != 3)
{
    Console.Error.WriteLine("Usage: dotnet run tools/prepare-corpora.cs -- AUSTEN.txt KJV.txt OUT");
    return 2;
}

Write("austen.txt.br", Chapters(File.ReadAllText(args[0])));
Write("kjv.txt.br", Books(File.ReadAllLines(args[1])));
return 0;

void Write(string name, List<string> documents)
{
    byte[] text = Encoding.UTF8.GetBytes(string.Join('\f', documents));
    byte[] packed = new byte[BrotliEncoder.GetMaxCompressedLength(text.Length)];
    if (!BrotliEncoder.TryCompress(text, packed, out int written, quality: 11, window: 24)) throw new InvalidOperationException("Brotli refused.");
    Directory.CreateDirectory(args[2]);
    File.WriteAllBytes(Path.Combine(args[2], name), packed.AsSpan(0, written).ToArray());
    Console.WriteLine($"{name}: {documents.Count} documents, {text.Length} bytes of UTF-8, {written} compressed");
}

static List<string> Chapters(string text)
{
    // A publisher's note of our century stands at the end of one novel; it is not Austen's.
    text = Regex.Replace(text.ReplaceLineEndings("\n"), @"\n+A NOTE ON THE TEXT\n.*?(?=\nPersuasion\n)", "\n", RegexOptions.Singleline);
    string[] novels = ["EMMA", "MANSFIELD PARK", "NORTHANGER ABBEY", "Persuasion", "PRIDE AND PREJUDICE", "SENSE AND SENSIBILITY"];
    var documents = new List<string>();
    var current = new StringBuilder();
    bool inChapter = false; // a title, a volume and the chapter heading below them open one document
    void End()
    {
        string document = Regex.Replace(current.ToString(), @"\n{3,}", "\n\n").Trim('\n');
        if (document.Length > 0) documents.Add(document + "\n");
        current.Clear();
        inChapter = false;
    }

    foreach (string raw in text.Split('\n'))
    {
        string line = raw.TrimEnd();
        bool title = novels.Contains(line, StringComparer.Ordinal) || Regex.IsMatch(line, "^VOLUME [IVX]+$");
        bool chapter = Regex.IsMatch(line, "^(CHAPTER|Chapter) ([0-9]+|[IVXL]+)$");
        if ((title || chapter) && inChapter) End();
        inChapter |= chapter;
        current.Append(line).Append('\n');
    }

    End();
    return documents;
}

static List<string> Books(string[] verses)
{
    string[] names =
    [
        "Ge Genesis", "Exo Exodus", "Lev Leviticus", "Num Numbers", "Deu Deuteronomy", "Josh Joshua", "Jdgs Judges", "Ruth Ruth", "1Sm 1 Samuel",
        "2Sm 2 Samuel", "1Ki 1 Kings", "2Ki 2 Kings", "1Chr 1 Chronicles", "2Chr 2 Chronicles", "Ezra Ezra", "Neh Nehemiah", "Est Esther", "Job Job",
        "Psa Psalms", "Prv Proverbs", "Eccl Ecclesiastes", "SSol Song of Solomon", "Isa Isaiah", "Jer Jeremiah", "Lam Lamentations", "Eze Ezekiel",
        "Dan Daniel", "Hos Hosea", "Joel Joel", "Amos Amos", "Obad Obadiah", "Jonah Jonah", "Mic Micah", "Nahum Nahum", "Hab Habakkuk", "Zep Zephaniah",
        "Hag Haggai", "Zec Zechariah", "Mal Malachi", "Mat Matthew", "Mark Mark", "Luke Luke", "John John", "Acts Acts", "Rom Romans", "1Cor 1 Corinthians",
        "2Cor 2 Corinthians", "Gal Galatians", "Eph Ephesians", "Phi Philippians", "Col Colossians", "1Th 1 Thessalonians", "2Th 2 Thessalonians",
        "1Tim 1 Timothy", "2Tim 2 Timothy", "Titus Titus", "Phmn Philemon", "Heb Hebrews", "Jas James", "1Pet 1 Peter", "2Pet 2 Peter", "1Jn 1 John",
        "2Jn 2 John", "3Jn 3 John", "Jude Jude", "Rev Revelation",
    ];
    var name = names.ToDictionary(n => n[..n.IndexOf(' ')], n => n[(n.IndexOf(' ') + 1)..], StringComparer.Ordinal);
    var documents = new List<string>();
    var current = new StringBuilder();
    string heading = "";
    foreach (string line in verses)
    {
        if (line.Length == 0) continue;
        Match match = Regex.Match(line, "^([0-9]?[A-Za-z]+)([0-9]+):[0-9]+ (.*)$");
        if (!match.Success) throw new InvalidDataException($"Not a verse: {line}");
        string next = $"{name[match.Groups[1].Value]} {match.Groups[2].Value}";
        if (!string.Equals(next, heading, StringComparison.Ordinal))
        {
            if (current.Length > 0) documents.Add(current.ToString());
            current.Clear().Append(next).Append("\n\n");
            heading = next;
        }

        current.Append(match.Groups[3].Value.Trim()).Append('\n');
    }

    documents.Add(current.ToString());
    return documents;
}
