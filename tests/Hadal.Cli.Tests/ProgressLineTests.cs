using Hadal.Cli.Framework;

namespace Hadal.Cli.Tests;

public sealed class ProgressLineTests
{
    [Theory]
    [InlineData(512, 4096, 10, "learning merges: 512 of 4,096 tokens (13 %), 1:10 left")]
    [InlineData(4096, 4096, 100, "learning merges: 4,096 of 4,096 tokens (100 %), 0:00 left")]
    [InlineData(1, 4096, 10, "learning merges: 1 of 4,096 tokens (0 %)")]
    [InlineData(2048, 4096, 7500, "learning merges: 2,048 of 4,096 tokens (50 %), 2:05:00 left")]
    [InlineData(7, 0, 10, "learning merges: 7 tokens")]
    public void A_report_says_how_far_and_how_long(double done, double total, double seconds, string expected) =>
        Assert.Equal(expected, ProgressLine.Format("learning merges", done, total, "tokens", seconds));

    [Fact]
    public void A_terminal_gets_one_line_that_is_cleared_and_a_log_gets_nothing_for_short_work()
    {
        var screen = new StringWriter();
        using (var line = new ProgressLine(screen, live: true))
        {
            line.Report("reading", 1, 10, "bytes");
            line.Report("reading", 2, 10, "bytes"); // too soon after the first
        }

        string first = "reading: 1 of 10 bytes (10 %)";
        Assert.Equal($"\r{first}\r{new string(' ', first.Length)}\r", screen.ToString());
        var log = new StringWriter();
        using (var line = new ProgressLine(log, live: false)) line.Report("reading", 1, 10, "bytes");
        Assert.Empty(log.ToString());
    }
}
