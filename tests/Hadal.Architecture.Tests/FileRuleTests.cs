using System.Text.RegularExpressions;

namespace Hadal.Architecture.Tests;

/// <summary>What a file in this repository may be and say.</summary>
public sealed partial class FileRuleTests
{
    const long LargestTotal = 24L << 20;
    const int MostLines = 600;

    [Fact]
    public void The_list_of_files_is_not_empty()
    {
        Assert.Contains("Hadal.slnx", Repository.Files, StringComparer.Ordinal);
        Assert.NotEmpty(Repository.CSharp("src/"));
    }

    [Fact]
    public void Tracked_files_together_stay_under_24_MiB()
    {
        long total = Repository.Files.Sum(path => new FileInfo(Path.Combine(Repository.Root, path)).Length);
        Assert.True(total < LargestTotal, $"Tracked files take {total} bytes; the limit is {LargestTotal}. Make the largest smaller, or let a command make them.");
    }

    [Fact]
    public void The_product_is_written_in_CSharp_alone()
    {
        string[] native = [".cu", ".cuh", ".cpp", ".cc", ".cxx", ".hpp", ".c", ".h", ".s", ".asm", ".py", ".so", ".dll"];

        // Python is the language of the oracle that makes fixtures and of the GPU peer; neither is part of the product.
        string[] outside = ["tests/fixtures/", "benchmarks/peers/"];
        None(Repository.Files.Where(path => native.Contains(Path.GetExtension(path), StringComparer.OrdinalIgnoreCase)
            && !(path.EndsWith(".py", StringComparison.Ordinal) && outside.Any(folder => path.StartsWith(folder, StringComparison.Ordinal)))), "not C#");
    }

    [Fact]
    public void Ptx_is_kept_only_as_golden_files() =>
        None(Repository.Files.Where(path => path.EndsWith(".ptx", StringComparison.OrdinalIgnoreCase) && !path.Contains("/Golden/", StringComparison.Ordinal)),
            "PTX outside a folder named Golden");

    [Fact]
    public void Nothing_in_src_is_unfinished()
    {
        string[] words = ["TO" + "DO", "FIX" + "ME", "NotImplemented" + "Exception", "throw new NotSupported" + "Exception()"];
        None(Repository.CSharp("src/").Where(path => words.Any(word => Repository.Read(path).Contains(word, StringComparison.Ordinal))),
            $"with one of {string.Join(", ", words)}");
    }

    [Fact]
    public void Source_files_have_at_most_600_lines() =>
        None(Repository.CSharp("").Where(path => File.ReadLines(Path.Combine(Repository.Root, path)).Count() > MostLines), $"over {MostLines} lines");

    [Fact]
    public void Random_numbers_in_src_are_counter_based() =>
        None(Repository.CSharp("src/").Where(path => SystemRandom().IsMatch(Repository.Read(path))), "that use System.Random (same bits: docs/architecture.md §8)");

    // Keys, codes and the word by which ranks know each other must not be guessable: they alone are made of the operating system's randomness.
    [Fact]
    public void Unguessable_random_numbers_are_made_in_the_server_and_the_watch_of_ranks_alone() =>
        None(Repository.CSharp("src/").Where(path => !path.StartsWith("src/Hadal.Server/", StringComparison.Ordinal) && path is not "src/Hadal.Parallel/Ranks/RankWatch.cs" && Unguessable().IsMatch(Repository.Read(path))),
            "that use RandomNumberGenerator (same bits: docs/architecture.md §8)");

    [Fact]
    public void Documentation_of_public_members_is_enforced_by_the_compiler()
    {
        Assert.Contains("<GenerateDocumentationFile>true", Repository.Read("Directory.Build.props"), StringComparison.Ordinal);
        Assert.Contains("<TreatWarningsAsErrors>true", Repository.Read("Directory.Build.props"), StringComparison.Ordinal);
        None(Repository.Files.Where(path => path.StartsWith("src/", StringComparison.Ordinal)
            && (path.EndsWith(".cs", StringComparison.Ordinal) || path.EndsWith(".csproj", StringComparison.Ordinal))
            && Repository.Read(path).Contains("CS1591", StringComparison.Ordinal)), "that silence CS1591 (missing documentation)");
    }

    [Fact]
    public void Text_files_name_no_machine_and_no_package_registry()
    {
        // Assembled, so that this file does not find itself.
        string[] hosts = ["api.nuget" + ".org", "registry.npmjs" + ".org", "registry.yarnpkg" + ".com", "pypi" + ".org", "files.pythonhosted" + ".org",
            "crates" + ".io", "proxy.golang" + ".org", "deb.debian" + ".org", "pkgs.dev.azure" + ".com", "\"resolved\": \"" + "http"];
        None(Repository.TextFiles.Where(path =>
        {
            string text = Repository.Read(path);
            return MachinePath().IsMatch(text) || hosts.Any(host => text.Contains(host, StringComparison.OrdinalIgnoreCase));
        }), "with a machine's path or a registry's host name");
    }

    [Fact]
    public void Only_tests_that_need_a_GPU_may_be_skipped()
    {
        foreach (string path in Repository.CSharp("tests/"))
        {
            foreach (Match skip in SkippedTest().Matches(Repository.Read(path)))
                Assert.True(skip.Value.Contains("GPU", StringComparison.Ordinal), $"{path} skips a test without naming the GPU it needs: {skip.Value}");
        }
    }

    [Fact]
    public void Every_tier_is_one_that_the_test_script_runs()
    {
        foreach (string path in Repository.CSharp("tests/"))
        {
            foreach (Match trait in TierTrait().Matches(Repository.Read(path)))
                Assert.True(trait.Groups["tier"].Value is "full" or "soak", $"{path} has the tier \"{trait.Groups["tier"].Value}\"; there are full and soak (and fast, which needs no trait).");
        }
    }

    [Fact]
    public void Every_package_has_its_third_party_notice()
    {
        string notices = Repository.Read("THIRD-PARTY-NOTICES.md");
        foreach (Match package in PackageVersion().Matches(Repository.Read("Directory.Packages.props")))
            Assert.True(notices.Contains(package.Groups["name"].Value, StringComparison.Ordinal), $"THIRD-PARTY-NOTICES.md does not name {package.Groups["name"].Value}.");
    }

    static void None(IEnumerable<string> offenders, string what)
    {
        string[] found = [.. offenders];
        Assert.True(found.Length == 0, $"Files {what}: {string.Join(", ", found)}");
    }

    [GeneratedRegex(@"\bnew Random\b|\bRandom\.Shared\b")]
    private static partial Regex SystemRandom();

    [GeneratedRegex(@"\bRandomNumberGenerator\b")]
    private static partial Regex Unguessable();

    [GeneratedRegex(@"(?<![\w.*/~$)}-])/(work|tmp|home|root|Users)/\w")]
    private static partial Regex MachinePath();

    [GeneratedRegex(@"\bSkip(Unless|When|Type)?\s*=\s*[^,\]]+|Assert\.Skip(Unless|When)?\([^;]*;")]
    private static partial Regex SkippedTest();

    [GeneratedRegex("""Trait\("tier",\s*"(?<tier>[^"]*)"\)""")]
    private static partial Regex TierTrait();

    [GeneratedRegex("""PackageVersion Include="(?<name>[^"]+)""")]
    private static partial Regex PackageVersion();
}
