using System.Xml.Linq;

namespace Hadal.Architecture.Tests;

/// <summary>The solution, the projects and their tests belong together.</summary>
public sealed class SolutionTests
{
    [Fact]
    public void Every_project_is_in_the_solution()
    {
        var listed = XDocument.Parse(Repository.Read("Hadal.slnx")).Descendants("Project").Select(project => project.Attribute("Path")!.Value).ToHashSet(StringComparer.Ordinal);
        foreach (string project in Repository.Files.Where(path => path.EndsWith(".csproj", StringComparison.Ordinal)))
            Assert.True(listed.Contains(project), $"{project} is not in Hadal.slnx.");
        foreach (string project in listed)
            Assert.True(File.Exists(Path.Combine(Repository.Root, project)), $"Hadal.slnx lists {project}, which does not exist.");
    }

    [Fact]
    public void Every_project_of_src_has_its_tests()
    {
        foreach (string project in Repository.Files.Where(path => path.StartsWith("src/", StringComparison.Ordinal) && path.EndsWith(".csproj", StringComparison.Ordinal)))
        {
            string tests = $"tests/{Path.GetFileNameWithoutExtension(project)}.Tests/{Path.GetFileNameWithoutExtension(project)}.Tests.csproj";
            Assert.True(Repository.Files.Contains(tests, StringComparer.Ordinal), $"{project} has no {tests}.");
        }
    }

    [Fact]
    public void Package_versions_are_central()
    {
        foreach (string project in Repository.Files.Where(path => path.EndsWith(".csproj", StringComparison.Ordinal)))
        {
            foreach (XElement package in XDocument.Parse(Repository.Read(project)).Descendants("PackageReference"))
                Assert.True(package.Attribute("Version") is null, $"{project} gives {package.Attribute("Include")?.Value} a version of its own; versions live in Directory.Packages.props.");
        }
    }

    [Fact]
    public void Continuous_integration_is_the_test_script_and_nothing_else() =>
        Assert.Equal("#!/usr/bin/env bash\nset -euo pipefail\ncd \"$(dirname \"$0\")/..\"\nexec ./test.sh --yes\n", Repository.Read(".ci/run"));
}
