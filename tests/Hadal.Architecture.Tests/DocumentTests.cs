using System.Text.RegularExpressions;

namespace Hadal.Architecture.Tests;

/// <summary>The pages say what is true of the tree.</summary>
public sealed partial class DocumentTests
{
    [Fact]
    public void Rooms_are_marked_planned_exactly_while_they_do_not_exist()
    {
        MatchCollection rows = RoomRow().Matches(Repository.Read("docs/architecture.md"));
        Assert.True(rows.Count >= 9, "docs/architecture.md has lost its table of rooms.");
        foreach (Match row in rows)
        {
            string room = row.Groups["room"].Value;
            bool exists = File.Exists(Path.Combine(Repository.Root, "src", room, room + ".csproj"));
            bool planned = row.Groups["planned"].Success;
            Assert.True(exists != planned, $"docs/architecture.md marks {room} {(planned ? "planned" : "existing")}, and the project {(exists ? "exists" : "does not exist")}.");
        }
    }

    [Fact]
    public void Every_room_has_its_row()
    {
        string page = Repository.Read("docs/architecture.md");
        foreach (string folder in Directory.EnumerateDirectories(Path.Combine(Repository.Root, "src")))
            Assert.True(page.Contains($"| `{Path.GetFileName(folder)}`", StringComparison.Ordinal), $"docs/architecture.md has no row for {Path.GetFileName(folder)}.");
    }

    [Fact]
    public void The_layout_of_the_README_names_every_room()
    {
        string readme = Repository.Read("README.md");
        foreach (string folder in Directory.EnumerateDirectories(Path.Combine(Repository.Root, "src")))
            Assert.True(readme.Contains($"| [src/{Path.GetFileName(folder)}](", StringComparison.Ordinal), $"README.md has no row for src/{Path.GetFileName(folder)}.");
    }

    [Fact]
    public void Links_between_pages_lead_somewhere()
    {
        foreach (string page in Repository.Files.Where(path => path.EndsWith(".md", StringComparison.Ordinal)))
        {
            string folder = Path.GetDirectoryName(Path.Combine(Repository.Root, page))!;
            foreach (Match link in Link().Matches(Repository.Read(page)))
            {
                string target = link.Groups["target"].Value.Split('#')[0];
                if (target.Length == 0 || target.Contains("://", StringComparison.Ordinal)) continue;
                Assert.True(Path.Exists(Path.Combine(folder, target)), $"{page} links to {target}, which does not exist.");
            }
        }
    }

    [Fact]
    public void Pages_do_not_lead_out_of_the_repository()
    {
        foreach (string page in Repository.Files.Where(path => path.EndsWith(".md", StringComparison.Ordinal)))
        {
            foreach (Match outside in Outside().Matches(Repository.Read(page)))
            {
                string full = Path.GetFullPath(Path.Combine(Repository.Root, Path.GetDirectoryName(page)!, outside.Value));
                Assert.True(full.StartsWith(Repository.Root, StringComparison.Ordinal), $"{page} refers to {outside.Value}, outside the repository.");
            }
        }
    }

    [GeneratedRegex(@"^\| \d \| `(?<room>Hadal\.[\w.]+)`(?<planned> \*\(planned\)\*)? \|", RegexOptions.Multiline)]
    private static partial Regex RoomRow();

    [GeneratedRegex(@"\]\((?<target>[^)\s]+)\)")]
    private static partial Regex Link();

    [GeneratedRegex(@"(?<![\w/.])(\.\./)+[\w.-]+")]
    private static partial Regex Outside();
}
