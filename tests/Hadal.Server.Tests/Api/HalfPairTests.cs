using System.Text.RegularExpressions;

namespace Hadal.Server.Tests.Api;

/// <summary>Half of a surrogate pair in place of every text of a request, names of fields included: JSON that can be parsed and not be read.</summary>
public sealed partial class HalfPairTests
{
    [Fact]
    public async Task Half_of_a_pair_is_refused_or_overlooked_wherever_it_stands()
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiEngine());
        int refused = 0, asked = 0;
        for (int seed = 0; seed < FuzzTests.Seeds.Length; seed++)
        {
            string body = FuzzTests.Seeds[seed];
            foreach (Match text in Texts().Matches(body))
            {
                foreach (string path in seed < 2 ? (string[])["/v1/chat/completions", "/v1/tokenize"] : ["/v1/completions", "/v1/detokenize"])
                {
                    string broken = body[..text.Index] + "\"\\ud800\"" + body[(text.Index + text.Length)..];
                    using HttpResponseMessage response = await host.SendAsync(path, broken);
                    string answer = await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);
                    Assert.True((int)response.StatusCode < 500 && !answer.Contains("server_error", StringComparison.Ordinal), $"{path}: {(int)response.StatusCode} {answer}\n{broken}");
                    asked++;
                    if (answer.Contains("half of a surrogate pair", StringComparison.Ordinal)) refused++;
                }
            }
        }

        Assert.True(asked > 150 && refused > 20, $"{refused} of {asked} were refused for the half pair.");
    }

    [GeneratedRegex("\"[^\"]*\"")]
    private static partial Regex Texts();
}
