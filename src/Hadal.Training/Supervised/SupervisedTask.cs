using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Hadal.Numerics;

namespace Hadal.Training.Supervised;

/// <summary>
/// A kind of generated question with exact answers. Problem i of a seed is a pure function of (task, seed, i). Whether a problem is held out is a function of the problem alone
/// (<see cref="IsHeldOut"/>), so that no seed and no number of samples brings a held-out problem into training, and runs of any seed are measured on problems none has seen.
/// </summary>
public abstract class SupervisedTask
{
    /// <summary>One of so many problems is held out.</summary>
    public const int HeldOutEvery = 10;

    /// <summary>Random numbers a problem may use.</summary>
    private protected const int Draws = 64;

    /// <summary>Every task, in the order of reports.</summary>
    public static IReadOnlyList<SupervisedTask> All { get; } = [new AdditionTask(), new DatesTask(), new SortingTask(), new CountdownTask()];

    /// <summary>Name in run.json and reports.</summary>
    public abstract string Name { get; }

    /// <summary>One line on what is asked, for help and documents.</summary>
    public abstract string Description { get; }

    /// <summary>The task of a name.</summary>
    /// <exception cref="RunConfigurationException">There is none.</exception>
    public static SupervisedTask Find(string name)
    {
        SupervisedTask? found = All.FirstOrDefault(t => string.Equals(t.Name, name, StringComparison.Ordinal));
        if (found is null) Throw.Configuration("supervised.tasks", $"'{name}'", $"some of {string.Join(", ", All.Select(t => t.Name))}");
        return found!;
    }

    /// <summary>A problem of either side of the split.</summary>
    /// <param name="seed">Seed of the problems.</param>
    /// <param name="index">Which.</param>
    public TaskProblem Draw(ulong seed, int index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        return Draw(new CounterRandom(seed, RandomPurpose.PostTraining, (uint)Position + 1), (ulong)index * Draws);
    }

    /// <summary>Whether a problem is never trained on.</summary>
    public static bool IsHeldOut(TaskProblem problem)
    {
        ArgumentNullException.ThrowIfNull(problem);
        byte[] hash = SHA256.HashData(Encoding.UTF8.GetBytes(problem.Key));
        return BitConverter.ToUInt32(hash) % HeldOutEvery == 0; // little endian on every machine we run on
    }

    /// <summary>The first distinct held-out problems of a seed.</summary>
    /// <param name="seed">Seed of the problems.</param>
    /// <param name="count">Most of them; fewer when a task has not so many.</param>
    public IReadOnlyList<TaskProblem> HeldOut(ulong seed, int count)
    {
        var found = new List<TaskProblem>(count);
        var keys = new HashSet<string>(StringComparer.Ordinal);
        for (int i = 0, most = checked((count + 1) * HeldOutEvery * 20); found.Count < count && i < most; i++)
        {
            TaskProblem problem = Draw(seed, i);
            if (IsHeldOut(problem) && keys.Add(problem.Key)) found.Add(problem);
        }

        return found;
    }

    /// <summary>Problem <paramref name="index"/> of the training side: the next one after that many places that is not held out.</summary>
    internal TaskProblem Training(ulong seed, int index)
    {
        // A chain of its own for each index, so that an index can be asked alone.
        for (int attempt = 0; ; attempt++)
        {
            TaskProblem problem = Draw(seed, checked((index * 8) + (attempt % 8) + (attempt / 8 * 1_000_003)));
            if (!IsHeldOut(problem)) return problem;
        }
    }

    int Position => All.ToList().IndexOf(this);

    private protected abstract TaskProblem Draw(CounterRandom random, ulong at);

    private protected static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
