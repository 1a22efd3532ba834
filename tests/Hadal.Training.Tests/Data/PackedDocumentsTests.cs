using Hadal.Model;
using Hadal.Tensors;
using Hadal.Text;
using Hadal.Training.Data;

namespace Hadal.Training.Tests.Data;

/// <summary>Documents that share a row see each other in pre-training [V3 §4.1].</summary>
public sealed class PackedDocumentsTests
{
    [Fact]
    [Implements("V3 §4.1", "No mask between the documents of one row in pre-training")]
    public void A_later_document_of_a_row_sees_the_one_before_it_and_positions_run_on()
    {
        using var folder = new TemporaryFolder();
        string text = folder.File("texts.txt", string.Join("\n\n", Enumerable.Range(1, 60).Select(i => $"Text {i} is {i * 7}.")));
        RunConfiguration run = TinyRuns.Configuration(folder, 1) with { Data = new DataConfiguration { Sources = [text], Boundary = DocumentBoundary.BlankLine, HeldOutEvery = 16, SequenceLength = 48 } };
        PreparedRun data = TinyRuns.Prepare(run);
        var loader = new PackedDataLoader(data.Rows, run.Seed);
        int begin = data.Tokenizer.RequireId(SpecialTokens.BeginOfSentence), width = loader.RowTokens, length = run.Data.SequenceLength;
        var row = new int[width];
        int second = -1;
        for (int index = 0; second < 0; index++)
        {
            loader.Read(index, row);
            second = row.AsSpan(0, length).LastIndexOf(begin);
            if (second < 4 || second > length - 4 || row.Contains(-1)) second = -1;
            Assert.True(index < loader.RowCount, "no row holds two documents");
        }

        using IBackend backend = TinyRuns.Backend("cpu");
        using Transformer model = ModelFiles.Create(run, data.Tokenizer, backend);
        using var chunk = new SequenceChunk(model, 1, length, training: true);
        float[] Losses(int[] tokens)
        {
            ModelRows.Set(chunk, [.. tokens], width);
            chunk.Forward();
            return chunk.Losses[0].AsSpan<float>().ToArray();
        }

        float[] before = Losses(row);
        int[] changed = [.. row];
        changed[second - 2] = changed[second - 2] == 100 ? 101 : 100;
        float[] after = Losses(changed);

        // Every token of the later document is told apart, and none before the change; a mask at its beginning would leave its losses as they were.
        Assert.Equal(before[..(second - 3)], after[..(second - 3)]);
        for (int t = second; t < length; t++) Assert.NotEqual(before[t], after[t]);
        Assert.Equal(Enumerable.Range(0, length), chunk.Context.Positions.AsSpan<int>().ToArray());
    }
}
