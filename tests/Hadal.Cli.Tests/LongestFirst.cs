using Xunit.Sdk;
using Xunit.v3;

[assembly: TestCollectionOrderer(typeof(Hadal.Cli.Tests.LongestFirst))]

namespace Hadal.Cli.Tests;

/// <summary>
/// Classes that take long begin first: tests of one class run one after the other, and a long class that begins last leaves the other processors idle until its end. No test
/// depends on the order.
/// </summary>
public sealed class LongestFirst : ITestCollectionOrderer
{
    static readonly string[] s_long =
    [
        nameof(NativeBuildTests), nameof(TrainingFaultTests), nameof(NanoRanksTests), nameof(MpiTests), nameof(BenchServeVerbTests), nameof(LlamaOracleTests), nameof(RecordVerbTests),
        nameof(PlanServeVerbTests), nameof(HelpTests), nameof(TrainVerbTests), nameof(ServeVerbTests), nameof(ServeRolesTests),
    ];

    public IReadOnlyCollection<TTestCollection> OrderTestCollections<TTestCollection>(IReadOnlyCollection<TTestCollection> testCollections)
        where TTestCollection : ITestCollection => [.. testCollections.OrderBy(Place)];

    static int Place<TTestCollection>(TTestCollection collection)
        where TTestCollection : ITestCollection
    {
        int place = Array.FindIndex(s_long, name => collection.TestCollectionDisplayName.Contains($".{name} ", StringComparison.Ordinal));
        return place < 0 ? s_long.Length : place;
    }
}
