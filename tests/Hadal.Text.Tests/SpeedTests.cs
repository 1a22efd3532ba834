using System.Diagnostics;
using System.Text;

namespace Hadal.Text.Tests;

/// <summary>
/// Measurements, paired with the native tokenizer: <c>artifacts/bin/Hadal.Text.Tests/release/Hadal.Text.Tests --filter-class Hadal.Text.Tests.SpeedTests
/// --show-live-output on</c>. They assert nothing about time.
/// </summary>
[Trait("tier", "soak")]
public sealed class SpeedTests(ITestOutputHelper output)
{
    [Fact]
    public void Encoding_one_thread_against_the_native_tokenizer()
    {
        Tokenizer tokenizer = Tokenizer.Load(TokenizerOracle.DeepSeekPath);
        foreach ((string name, List<TestDocuments.Document> documents) in ((string, List<TestDocuments.Document>)[])
            [("prose", Prose(4_000_000)), ("mixed", [.. TestDocuments.Generate(6_000).Where(document => document.Text is not null)])])
        {
            double[] ours = new double[5];
            double[] native = new double[5];
            long bytes = documents.Sum(document => (long)document.Length);
            Encode(tokenizer, documents);
            for (int i = 0; i < ours.Length; i++)
            {
                long start = Stopwatch.GetTimestamp();
                Encode(tokenizer, documents);
                ours[i] = bytes / 1e6 / Stopwatch.GetElapsedTime(start).TotalSeconds;
                (long nativeBytes, double seconds) = TokenizerOracle.Time(TokenizerOracle.DeepSeekPath, documents);
                native[i] = nativeBytes / 1e6 / seconds;
            }
            Array.Sort(ours);
            Array.Sort(native);
            output.WriteLine($"{name}: {bytes} bytes; ours {ours[2]:F1} MB/s, native through node {native[2]:F2} MB/s (medians of 5, alternating): {ours[2] / native[2]:F1} times.");
        }
    }

    [Fact]
    public void Training_8192_tokens_on_10_megabytes()
    {
        string[] documents = [.. Prose(10_000_000).Select(document => document.Text!)];
        foreach (int threads in (int[])[1, 2, 1, 2])
        {
            long start = Stopwatch.GetTimestamp();
            Tokenizer tokenizer = TokenizerTrainer.Train(documents, new() { Threads = threads });
            output.WriteLine($"{documents.Sum(text => (long)Encoding.UTF8.GetByteCount(text))} bytes, {tokenizer.VocabularySize} tokens, {threads} threads: {Stopwatch.GetElapsedTime(start).TotalSeconds:F2} s");
        }
    }

    static void Encode(Tokenizer tokenizer, List<TestDocuments.Document> documents)
    {
        var ids = new List<int>();
        foreach (TestDocuments.Document document in documents)
        {
            ids.Clear();
            tokenizer.Encode(document.Text, ids, allowSpecial: true);
        }
    }

    /// <summary>Documents of a few thousand characters: the corpora that ship with the project when they are there, otherwise its own sources, repeated.</summary>
    static List<TestDocuments.Document> Prose(int bytes)
    {
        List<TestDocuments.Document> texts = [.. NativeTokenizerTests.RepositoryTexts()];
        var documents = new List<TestDocuments.Document>();
        for (long total = 0; total < bytes; total += documents[^1].Length) documents.Add(texts[documents.Count % texts.Count]);
        return documents;
    }
}
