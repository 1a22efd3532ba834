using System.IO.Compression;
using System.Text;
using Hadal.Training.Data;

namespace Hadal.Training.Tests.Data;

public sealed class TextFilesTests
{
    [Fact]
    public void A_folder_is_read_in_order_of_names_whatever_the_compression()
    {
        using var folder = new TemporaryFolder();
        folder.File("b.txt", "second");
        folder.File("sub/c.jsonl", "{\"text\": \"third\"}\n\n{\"text\": \"fourth\", \"more\": 1}\n");
        using (var gz = new GZipStream(File.Create(folder.File("a.md.gz")), CompressionLevel.Fastest)) gz.Write("first"u8);
        using (var br = new BrotliStream(File.Create(folder.File("z.txt.br")), CompressionLevel.Fastest)) br.Write("fifth\fsixth"u8);
        folder.File("picture.png", "not text");
        Corpus corpus = TextFiles.Read(folder.Path, DocumentBoundary.File);
        Assert.Equal(["first", "second", "third", "fourth", "fifth", "sixth"], corpus.Documents.Select(d => d.Text), StringComparer.Ordinal);
    }

    [Fact]
    public void Blank_lines_separate_documents_when_asked()
    {
        using var folder = new TemporaryFolder();
        string file = folder.File("a.txt", "one\r\ntwo\r\n\r\n \r\nthree");
        Assert.Equal(["one\ntwo\n", "three\n"], TextFiles.Read(file, DocumentBoundary.BlankLine).Documents.Select(d => d.Text), StringComparer.Ordinal);
    }

    [Fact]
    public void Bytes_that_are_not_utf8_become_replacement_characters()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder.File("a.txt"), [0xEF, 0xBB, 0xBF, (byte)'a', 0xFF, (byte)'b']);
        Assert.Equal("a\uFFFDb", Assert.Single(TextFiles.Read(folder.File("a.txt"), DocumentBoundary.File).Documents).Text);
    }

    [Theory]
    [InlineData("missing", "does not exist")]
    [InlineData("picture.png", "kind that cannot be read")]
    [InlineData("empty.txt", "holds no text")]
    [InlineData("bad.jsonl", "line 2 is not JSON")]
    [InlineData("other.jsonl", "line 1 has no string \"text\"")]
    [InlineData("torn.txt.gz", "cannot be read")]
    [InlineData("nothing", "holds no readable file")]
    public void What_cannot_be_read_is_named_with_a_remedy(string name, string expected)
    {
        using var folder = new TemporaryFolder();
        folder.File("picture.png", "x");
        folder.File("empty.txt", " \n");
        folder.File("bad.jsonl", "{\"text\": \"a\"}\n{nonsense}");
        folder.File("other.jsonl", "{\"txt\": \"a\"}");
        folder.File("torn.txt.gz", "this is no gzip");
        Directory.CreateDirectory(folder.File("nothing"));
        var exception = Assert.Throws<TrainingDataException>(() => TextFiles.Read(folder.File(name), DocumentBoundary.File));
        Assert.Contains(expected, exception.Message, StringComparison.Ordinal);
        Assert.Contains(name, exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Bundled_texts_are_whole()
    {
        Corpus austen = BundledCorpora.Load("austen"), kjv = BundledCorpora.Load("kjv");
        Assert.Equal(269, austen.Documents.Count);
        Assert.Equal(1189, kjv.Documents.Count);
        Assert.StartsWith("EMMA\n\nBy Jane Austen\n\nVOLUME I\n\nCHAPTER I\n", austen.Documents[0].Text, StringComparison.Ordinal);
        Assert.StartsWith("Genesis 1\n\nIn the beginning God created", kjv.Documents[0].Text, StringComparison.Ordinal);
        Assert.EndsWith("be with you all. Amen.\n", kjv.Documents[^1].Text, StringComparison.Ordinal);
        Assert.DoesNotContain("Signet", string.Concat(austen.Documents.Select(d => d.Text)), StringComparison.Ordinal);
        Assert.Equal(4_023_753 - 268, austen.Documents.Sum(d => Encoding.UTF8.GetByteCount(d.Text)));
        Assert.Equal(4_153_206 - 1188, kjv.Documents.Sum(d => Encoding.UTF8.GetByteCount(d.Text)));
        Assert.Throws<TrainingDataException>(() => BundledCorpora.Load("iliad"));
    }
}
