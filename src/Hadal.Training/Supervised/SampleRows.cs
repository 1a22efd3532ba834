using System.Buffers;
using Hadal.Model;

namespace Hadal.Training.Supervised;

/// <summary>
/// Rows that hold several samples: beside its id every place says whether a sample begins there and whether its token is learned. Both marks lie in the upper bits of the id,
/// where no vocabulary reaches, so that rows of samples are stored, shuffled and read as rows of text are.
/// </summary>
static class SampleRows
{
    const int Begins = 1 << 30, Learned = 1 << 29, Id = Learned - 1;

    /// <summary>Writes a sample with its marks.</summary>
    internal static void Mark(ChatSample sample, Span<int> place)
    {
        for (int t = 0; t < sample.Tokens.Length; t++) place[t] = sample.Tokens[t] | (t >= sample.AnswerStart ? Learned : 0) | (t == 0 ? Begins : 0);
    }

    /// <summary>True for a row of samples, false for one of text; an empty place is neither.</summary>
    internal static bool IsMarked(int first) => first >= 0 && (first & Begins) != 0;

    /// <summary>Targets of a row that count in the loss of a model that reads <paramref name="length"/> tokens of it.</summary>
    internal static int CountTargets(ReadOnlySpan<int> row, int length)
    {
        int count = 0;
        for (int t = 1; t <= length && t < row.Length && row[t] >= 0; t++)
            if ((row[t] & Learned) != 0) count++;
        return count;
    }

    /// <summary>Removes marks; empty places become 0.</summary>
    internal static void Unmark(Span<int> rows)
    {
        for (int i = 0; i < rows.Length; i++) rows[i] = rows[i] < 0 ? 0 : rows[i] & Id;
    }

    /// <summary>
    /// Gives rows to a chunk: samples do not see each other, and only learned tokens are targets, of the main model and of MTP modules alike. The empty rest of a row is a sample
    /// of its own from which nothing is learned.
    /// </summary>
    /// <param name="chunk">The chunk.</param>
    /// <param name="rows">[sequences, width]; changed: marks are removed, −1 becomes 0.</param>
    /// <param name="width">Tokens of a row.</param>
    /// <returns>Targets of the main model.</returns>
    internal static int Set(SequenceChunk chunk, Span<int> rows, int width)
    {
        int[] starts = ArrayPool<int>.Shared.Rent(rows.Length);
        bool[] learned = ArrayPool<bool>.Shared.Rent(rows.Length);
        int samples = 0;
        for (int i = 0; i < rows.Length; i++)
        {
            bool empty = rows[i] < 0;
            if (empty ? i % width > 0 && rows[i - 1] >= 0 : (rows[i] & Begins) != 0) starts[samples++] = i;
            learned[i] = !empty && (rows[i] & Learned) != 0;
        }

        Unmark(rows);
        chunk.SetTokens(rows, width, starts.AsSpan(0, samples));
        int count = 0, length = chunk.Length;
        for (int k = 0; k < chunk.Targets.Count; k++)
        {
            Span<int> targets = chunk.Targets[k].AsSpan<int>();
            for (int t = 0; t < targets.Length; t++)
            {
                if (targets[t] < 0) continue;
                if (!learned[(t / length * width) + (t % length) + k + 1]) targets[t] = -1;
                else if (k == 0) count++;
            }
        }

        ArrayPool<int>.Shared.Return(starts);
        ArrayPool<bool>.Shared.Return(learned);
        return count;
    }
}
