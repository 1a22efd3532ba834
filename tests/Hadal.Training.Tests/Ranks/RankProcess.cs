using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
using Hadal.Parallel.Ranks;

namespace Hadal.Training.Tests.Ranks;

/// <summary>This test program as one rank of MPI: mpirun starts it with <see cref="Variable"/>, and it trains instead of testing. One of its messages may be harmed.</summary>
static class RankProcess
{
    const string Variable = "HADAL_TEST_RANK";

    /// <summary>Before anything of xUnit begins.</summary>
    [ModuleInitializer]
    internal static void Begin()
    {
        if (Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } told) Environment.Exit(Train(told.Split('|')));
    }

    /// <summary>Runs mpirun with as many processes as the layout has ranks.</summary>
    /// <param name="run">With the transport mpi.</param>
    /// <param name="file">Where to write it.</param>
    /// <param name="fault">What happens to one message, of which rank, which; null for nothing.</param>
    /// <returns>Exit code, and both streams.</returns>
    internal static (int Code, string Text) Launch(RunConfiguration run, string file, (MessageFault Fault, int Rank, int Message)? fault)
    {
        File.WriteAllText(file, run.ToJson());
        string[] told = fault is { } one ? [file, one.Fault.ToString(), Number(one.Rank), Number(one.Message)] : [file];
        var start = new ProcessStartInfo("mpirun", ["--oversubscribe", "--bind-to", "none", "-n", Number(run.Parallel.Layout.Ranks), Path.Combine(AppContext.BaseDirectory, "Hadal.Training.Tests")])
        {
            RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false,
            Environment =
            {
                [Variable] = string.Join('|', told), ["OMPI_ALLOW_RUN_AS_ROOT"] = "1", ["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1", ["OMPI_MCA_btl_vader_single_copy_mechanism"] = "none",
                ["HADAL_HOME"] = Path.Combine(Path.GetDirectoryName(file)!, "home"),
            },
        };
        using Process launcher = Process.Start(start)!;
        Task<string> output = launcher.StandardOutput.ReadToEndAsync(), error = launcher.StandardError.ReadToEndAsync();
        if (!launcher.WaitForExit(TimeSpan.FromSeconds(120)))
        {
            launcher.Kill(entireProcessTree: true);
            Assert.Fail($"mpirun was still running after two minutes: {string.Join(' ', told)}");
        }

        Assert.True(Task.WaitAll([output, error], TimeSpan.FromSeconds(30)), "The streams did not end: a process was left.");
        return (launcher.ExitCode, output.Result + error.Result);

        static string Number(int number) => number.ToString(CultureInfo.InvariantCulture);
    }

    static int Train(string[] told)
    {
        try
        {
            RunConfiguration run = RunConfiguration.Load(told[0], []);
            FaultyGroup.Plan? plan = told.Length == 1 ? null : new(Enum.Parse<MessageFault>(told[1]), int.Parse(told[2], CultureInfo.InvariantCulture), int.Parse(told[3], CultureInfo.InvariantCulture));
            TrainingRun.OnRanks(run, prepared: null, RankRuns.Backend, new Recorder(), CancellationToken.None, plan is null ? null : group => new FaultyGroup(group, plan));
            if (plan?.Happened == true) Console.WriteLine($"The message was {plan.Fault}.");
            return 0;
        }
        catch (Exception exception)
        {
            Console.Error.WriteLine($"{exception.GetType().Name}: {exception.Message}");
            return exception is RankLostException ? 3 : 4;
        }
    }
}
