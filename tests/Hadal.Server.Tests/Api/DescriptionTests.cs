using System.Text.Json;
using System.Text.RegularExpressions;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace Hadal.Server.Tests.Api;

/// <summary>The description of the API says what the API does.</summary>
public sealed partial class DescriptionTests
{
    [Fact]
    public async Task Every_endpoint_of_the_API_is_described_and_nothing_else()
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiEngine());
        using HttpClient nobody = host.Connect(null);
        using JsonDocument document = JsonDocument.Parse(await nobody.GetStringAsync("/openapi/v1.json"));
        string[] described = [.. document.RootElement.GetProperty("paths").EnumerateObject().SelectMany(path => path.Value.EnumerateObject().Select(method => $"{method.Name.ToUpperInvariant()} {path.Name}")).Order(StringComparer.Ordinal)];
        string[] served = [.. host.App.Services.GetRequiredService<EndpointDataSource>().Endpoints.OfType<RouteEndpoint>()
            .Where(endpoint => endpoint.RoutePattern.RawText!.StartsWith("/v1/", StringComparison.Ordinal))
            .SelectMany(endpoint => endpoint.Metadata.GetMetadata<HttpMethodMetadata>()!.HttpMethods.Select(method => $"{method} {endpoint.RoutePattern.RawText}")).Order(StringComparer.Ordinal)];
        Assert.Equal(served, described);
        Assert.NotEmpty(served);
    }

    [Fact]
    public async Task Every_example_is_answered_and_every_reference_leads_somewhere()
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiEngine());
        JsonElement root = JsonDocument.Parse(await host.Client.GetStringAsync("/openapi/v1.json")).RootElement;
        int examples = 0;
        foreach (JsonProperty path in root.GetProperty("paths").EnumerateObject())
        {
            foreach (JsonProperty method in path.Value.EnumerateObject())
            {
                if (!method.Value.TryGetProperty("requestBody", out JsonElement body)) continue;
                JsonElement content = body.GetProperty("content").GetProperty("application/json");
                JsonElement answer = await host.PostAsync(path.Name, content.GetProperty("example").GetRawText());
                string schema = method.Value.GetProperty("responses").GetProperty("200").GetProperty("content").GetProperty("application/json").GetProperty("schema").GetProperty("$ref").GetString()!.Split('/')[^1];
                JsonElement known = root.GetProperty("components").GetProperty("schemas").GetProperty(schema).GetProperty("properties");
                foreach (JsonProperty field in answer.EnumerateObject()) Assert.True(known.TryGetProperty(field.Name, out _), $"{path.Name} answers with {field.Name}, which {schema} does not describe.");
                examples++;
            }
        }

        Assert.Equal(4, examples);
        foreach (Match reference in Reference().Matches(root.GetRawText()))
        {
            JsonElement target = root;
            foreach (string step in reference.Groups["path"].Value.Split('/')) Assert.True(target.TryGetProperty(step, out target), $"#/{reference.Groups["path"].Value} leads nowhere.");
        }
    }

    // A field of the description with a value of an impossible type is refused by its name: it is read, not overlooked.
    [Theory]
    [InlineData("/v1/chat/completions", "ChatRequest")]
    [InlineData("/v1/completions", "TextRequest")]
    public async Task Every_field_of_a_request_is_read(string path, string schema)
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiEngine());
        JsonElement root = JsonDocument.Parse(await host.Client.GetStringAsync("/openapi/v1.json")).RootElement;
        JsonElement properties = root.GetProperty("components").GetProperty("schemas").GetProperty(schema).GetProperty("properties");
        string example = root.GetProperty("paths").GetProperty(path).GetProperty("post").GetProperty("requestBody").GetProperty("content").GetProperty("application/json").GetProperty("example").GetRawText();
        foreach (JsonProperty property in properties.EnumerateObject())
        {
            if (property.Name is "max_completion_tokens") continue; // read only when max_tokens is absent
            var fields = JsonSerializer.Deserialize<Dictionary<string, JsonElement>>(example)!;
            fields[property.Name] = JsonDocument.Parse("[[true]]").RootElement;
            (System.Net.HttpStatusCode status, string message, string? parameter, HttpResponseMessage response) = await host.RefusedAsync(path, JsonSerializer.Serialize(fields));
            response.Dispose();
            Assert.True((int)status is 400 or 422, $"{property.Name}: {status}");
            Assert.StartsWith(property.Name, parameter ?? "", StringComparison.Ordinal);
            Assert.Contains("expected", message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task The_page_shows_every_operation_and_runs_nothing()
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiEngine());
        using HttpClient nobody = host.Connect(null);
        using HttpResponseMessage response = await nobody.GetAsync("/docs");
        string page = await response.Content.ReadAsStringAsync();
        Assert.Equal("text/html", response.Content.Headers.ContentType?.MediaType);
        Assert.Contains("default-src 'none'", response.Headers.GetValues("Content-Security-Policy").Single(), StringComparison.Ordinal);
        Assert.DoesNotContain("<script", page, StringComparison.OrdinalIgnoreCase);
        foreach (string id in (string[])["chat", "complete", "tokenize", "detokenize", "models", "model", "balance"]) Assert.Contains($"<section id=\"{id}\">", page, StringComparison.Ordinal);
        Assert.Contains("frequency_penalty", page, StringComparison.Ordinal);
        Assert.Contains(".table", await nobody.GetStringAsync("/docs/style.css"), StringComparison.Ordinal);
    }

    [GeneratedRegex("\"#/(?<path>[^\"]+)\"")]
    private static partial Regex Reference();
}
