using System.Xml.Linq;
using Hadal.Parallel.Drawing;
using Hadal.Parallel.Schedules;

namespace Hadal.Parallel.Tests.Drawing;

/// <summary>The pictures of docs/pipelines.md are those that the program draws.</summary>
public sealed class PictureTests
{
    static string Root
    {
        get
        {
            for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
                if (File.Exists(Path.Combine(folder.FullName, "Hadal.slnx"))) return folder.FullName;
            throw new InvalidOperationException($"Hadal.slnx was not found above {AppContext.BaseDirectory}.");
        }
    }

    static string Draw(ScheduleKind kind, int ranks, int microBatches, StepCosts? costs = null) =>
        new ScheduleDrawing(ScheduleClock.Run(PipelineSchedule.Create(kind, ranks, microBatches), costs ?? StepCosts.Unit)).ToSvg();

    /// <summary>To renew them: <c>hadal plan schedule --kind KIND --ranks N --micro-batches N --format svg --output docs/pictures/ --force</c>.</summary>
    [Theory]
    [InlineData(ScheduleKind.OneForwardOneBackward, 4, 8)]
    [InlineData(ScheduleKind.ZeroBubble, 4, 8)]
    [InlineData(ScheduleKind.DualPipe, 8, 20)]
    [InlineData(ScheduleKind.DualPipeV, 4, 10)]
    public void The_pictures_in_the_documentation_are_true(ScheduleKind kind, int ranks, int microBatches)
    {
        string file = Path.Combine("docs", "pictures", PipelineSchedule.Name(kind) + ".svg");
        Assert.True(string.Equals(File.ReadAllText(Path.Combine(Root, file)), Draw(kind, ranks, microBatches), StringComparison.Ordinal), $"{file} is not what hadal plan schedule draws; renew it as this test says.");
    }

    /// <summary>Boxes of a row never overlap, and their lengths add up to the busy time.</summary>
    [Theory]
    [InlineData(ScheduleKind.DualPipe, 6, 14)]
    [InlineData(ScheduleKind.ZeroBubble, 5, 9)]
    public void Boxes_cover_what_a_rank_does(ScheduleKind kind, int ranks, int microBatches)
    {
        XElement root = XDocument.Parse(Draw(kind, ranks, microBatches)).Root!;
        XNamespace svg = root.Name.Namespace;
        TimedSchedule timed = ScheduleClock.Run(PipelineSchedule.Create(kind, ranks, microBatches), StepCosts.Unit);
        for (int rank = 0; rank < ranks; rank++)
        {
            var boxes = root.Elements(svg + "rect").Where(box => box.Element(svg + "title")?.Value.StartsWith($"rank {rank},", StringComparison.Ordinal) == true)
                .Select(box => (X: (double)box.Attribute("x")!, Width: (double)box.Attribute("width")!)).Distinct().OrderBy(box => box.X).ToArray();
            Assert.All(boxes.Zip(boxes.Skip(1)), pair => Assert.True(pair.First.X + pair.First.Width < pair.Second.X));
            Assert.Equal(timed.Busy(rank) * 21, boxes.Sum(box => box.Width + 1), 1);
        }
    }

    [Fact]
    public void Long_schedules_stay_within_reach_and_hostile_widths_do_no_harm()
    {
        TimedSchedule timed = ScheduleClock.Run(PipelineSchedule.Create(ScheduleKind.DualPipe, 16, 120), new StepCosts(1, 1.3, 0.4, 0.05));
        var drawing = new ScheduleDrawing(timed);
        Assert.InRange(drawing.Width, 760, 4000);
        Assert.All(ScheduleText.Draw(timed, 0).Split('\n')[4..], line => Assert.InRange(line.Length, 0, 60));
        Assert.All(ScheduleText.Draw(timed, 200).Split('\n')[4..], line => Assert.InRange(line.Length, 0, 200));
    }
}
