using System.Buffers;
using System.Security.Cryptography;
using System.Text;
using Hadal.Numerics;
using Hadal.Text;
using Hadal.Training.Data;

namespace Hadal.Training.Supervised;

/// <summary>The samples of a supervised run and how they share rows: whole samples, as many as fit, none cut.</summary>
static class SupervisedSamples
{
    /// <summary>Draws beside the problems: how many turns a sample has.</summary>
    const uint TurnsStream = 0;

    /// <summary>Sample <paramref name="index"/>: tasks take turns, and inside a task so do the two modes.</summary>
    internal static ChatSample Create(SupervisedConfiguration supervised, Tokenizer tokenizer, ulong seed, int index)
    {
        SupervisedTask[] tasks = [.. supervised.Tasks.Select(SupervisedTask.Find)];
        var random = new CounterRandom(seed, RandomPurpose.PostTraining, TurnsStream);
        SupervisedTask task = tasks[index % tasks.Length];

        // Every run of so many samples of a task has the share of thinking ones exactly, however short it is.
        int own = index / tasks.Length;
        bool thinks = (long)((own + 1) * supervised.ThinkingShare) > (long)(own * supervised.ThinkingShare);
        var turns = new List<TaskProblem>(2);
        if (random.Uniform((ulong)index * 2) < supervised.SecondTurnShare)
            turns.Add(tasks[random.Below(((ulong)index * 2) + 1, tasks.Length)].Training(seed, checked((supervised.Samples / tasks.Length) + 1 + index)));
        turns.Add(task.Training(seed, own));
        return ChatSample.Create(tokenizer, turns, thinks);
    }

    /// <summary>All samples in rows. The result depends on configuration, tokenizer and seed.</summary>
    /// <param name="run">The configuration.</param>
    /// <param name="tokenizer">The model's.</param>
    /// <param name="rowTokens">Tokens of a row, those beyond sequence length + 1 left empty.</param>
    /// <param name="cancel">Ends with an <see cref="OperationCanceledException"/>.</param>
    internal static TokenRows Pack(RunConfiguration run, Tokenizer tokenizer, int rowTokens, CancellationToken cancel)
    {
        SupervisedConfiguration supervised = run.Supervised!;
        int room = run.Data.SequenceLength + 1;
        var samples = new ChatSample[supervised.Samples];
        System.Threading.Tasks.Parallel.For(0, samples.Length, new ParallelOptions { CancellationToken = cancel }, i => samples[i] = Create(supervised, tokenizer, run.Seed, i));
        int[] lengths = [.. samples.Select(s => s.Tokens.Length)];
        if (lengths.Max() > room)
            Throw.Configuration("data.sequence_length", $"{run.Data.SequenceLength}", $"at least {lengths.Max() - 1} for these tasks and this tokenizer: no sample is cut");
        PackedRows packed = BestFitPacker.Pack(lengths, room);
        int[] rows = new int[checked(packed.Count * rowTokens)];
        rows.AsSpan().Fill(-1);
        for (int r = 0; r < packed.Count; r++)
        {
            Span<int> row = rows.AsSpan(r * rowTokens, rowTokens);
            foreach (PackedPiece piece in packed[r])
            {
                SampleRows.Mark(samples[piece.Document], row[..piece.Length]);
                row = row[piece.Length..];
            }
        }

        return new TokenRows(rows, rowTokens);
    }

    /// <summary>Of everything that decides the rows and the model they begin with, hexadecimal.</summary>
    internal static string HashOf(RunConfiguration run, Tokenizer tokenizer, TokenRows rows)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes($"supervised 1|{run.Data.SequenceLength}|{run.Seed}|{rows.RowTokens}\n"));
        var json = new ArrayBufferWriter<byte>(1 << 16);
        tokenizer.Write(json);
        hash.AppendData(json.WrittenSpan);
        Span<int> row = new int[rows.RowTokens];
        for (int r = 0; r < rows.Count; r++)
        {
            rows.Read(r, row);
            hash.AppendData(System.Runtime.InteropServices.MemoryMarshal.AsBytes(row));
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset().AsSpan(0, 16));
    }
}
