using Hadal.Inference.Serving;
using Hadal.Inference.Serving.Workers;

namespace Hadal.Inference.Tests.Serving;

/// <summary>Nobody fills a line.</summary>
public sealed class LineShareTests
{
    static int Fill(LineShare line, string owner)
    {
        int taken = 0;
        try
        {
            for (; taken < 1000; taken++) line.Enter(owner, 1);
        }
        catch (EngineBusyException)
        {
        }

        return taken;
    }

    [Fact]
    public void One_owner_has_three_quarters_at_most_and_there_is_always_a_place_for_another()
    {
        foreach (int length in (int[])[4, 7, 16, 100, 256])
        {
            var line = new LineShare(length, fair: true);
            int first = Fill(line, "first");
            Assert.InRange(first, length / 2, (length * 3 / 4) + 1);
            int owners = 1;
            for (; line.Waiting < length; owners++) Assert.True(Fill(line, $"owner {owners}") > 0, $"owner {owners}, {line.Waiting} of {length} places taken");
            Assert.True(owners >= Math.Log(length, 4), $"{owners} owners filled {length} places");
            Assert.Equal(length + 1, Assert.Throws<EngineBusyException>(() => line.Enter("late", 1)).PlaceInLine);
            for (int i = 0; i < first; i++) line.Leave("first");
            Assert.Equal(length - first, line.Waiting);
            Assert.True(Fill(line, "first") > 0);
        }
    }

    [Fact]
    public void Without_fairness_the_line_is_filled_by_anybody_and_so_it_is_by_those_who_are_nobodys()
    {
        Assert.Equal(16, Fill(new LineShare(16, fair: true), ""));
        var line = new LineShare(16, fair: false);
        Assert.Equal(16, Fill(line, "first"));
        line.Leave("first");
        line.Leave("nobody"); // who is not there leaves nothing
        Assert.Equal(15, line.Waiting);
        line.Clear();
        Assert.Equal(0, line.Waiting);
    }

    [Fact]
    public void The_refusal_says_what_the_owner_has_and_when_to_come_again()
    {
        var line = new LineShare(8, fair: true);
        int own = Fill(line, "ada");
        EngineBusyException busy = Assert.Throws<EngineBusyException>(() => line.Enter("ada", 2));
        Assert.Contains($"{own} of your requests wait", busy.Message, StringComparison.Ordinal);
        Assert.Equal((own + 1, TimeSpan.FromSeconds(2 * own)), (busy.PlaceInLine, busy.ExpectedWait));
    }

    /// <summary>One person sends more than the line holds; another gets in all the same, and is answered soon.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Whoever_sends_without_end_keeps_nobody_out(bool separate)
    {
        using var model = new TestModel();
        var options = new EngineOptions { QueueLength = 8, MaxRunning = 2 };
        await using IInferenceEngine engine = separate
            ? SeparateWorkers.Start(model.Served, model.Transformer, options, new RouterOptions { QueueLength = 8 })
            : new InferenceEngine(model.Served, model.Transformer, options);
        GenerationRequest Of(string owner, int tokens) => new()
        {
            Prompt = new[] { 5, 6, 7 }, MaxNewTokens = tokens, Sampling = SamplingParameters.Greedy, IgnoreEndTokens = true, Owner = owner,
        };
        using var stop = new CancellationTokenSource();
        async Task<bool> Long()
        {
            try
            {
                await Answer.Read(engine.GenerateAsync(Of("greedy", 200), stop.Token));
                return true;
            }
            catch (OperationCanceledException)
            {
                return true;
            }
            catch (EngineBusyException)
            {
                return false;
            }
        }

        // A request that is refused is over at once.
        var flood = new List<Task<bool>>();
        for (int refused = 0; refused < 3 && flood.Count < 2000; refused += flood[^1].IsCompletedSuccessfully && !await flood[^1] ? 1 : 0) flood.Add(Long());
        Answer other = await Answer.Read(engine.GenerateAsync(Of("other", 3))).WaitAsync(TimeSpan.FromSeconds(60));
        Assert.Equal(3, other.Tokens.Length);
        await stop.CancelAsync();
        bool[] taken = await Task.WhenAll(flood).WaitAsync(TimeSpan.FromSeconds(60));
        Assert.Contains(taken, was => was);
        Assert.Contains(taken, was => !was);
    }
}
