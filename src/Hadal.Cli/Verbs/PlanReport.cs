using System.Globalization;
using Hadal.Cli.Framework;
using Hadal.Planning;

namespace Hadal.Cli.Verbs;

/// <summary>The planner beside published figures, as lines or JSON.</summary>
static class PlanReport
{
    public static void Write(Context context, PublishedCheck check, bool json)
    {
        if (json)
        {
            context.Terminal.WriteJson(writer =>
            {
                writer.WriteStartArray("lines");
                foreach (CheckLine line in check.Lines())
                {
                    writer.WriteStartObject();
                    writer.WriteString("what", line.What);
                    writer.WriteString("unit", line.Unit);
                    if (line.Published is { } published) writer.WriteNumber("published", published);
                    writer.WriteNumber("planned", line.Planned);
                    if (line.Note.Length > 0) writer.WriteString("note", line.Note);
                    writer.WriteEndObject();
                }

                writer.WriteEndArray();
            });
            return;
        }

        context.Terminal.Output.WriteLine("V3 on 2,048 H800 as published (PP16, EP64, 120 micro-batches, times of chunks from arXiv 2505.09343, Table 4) and as planned; no constant is fitted\n");
        context.Terminal.Output.WriteLine($"  {"",-52} {"published",10} {"planned",10}");
        foreach (CheckLine line in check.Lines())
        {
            string published = line.Published?.ToString("0.###", CultureInfo.InvariantCulture) ?? "–";
            context.Terminal.Output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"  {line.What,-52} {published,10} {line.Planned,10:0.###} {line.Unit,-8}{(line.Note.Length > 0 ? line.Note : "")}").TrimEnd());
        }
    }
}
