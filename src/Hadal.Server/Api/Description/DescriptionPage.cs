using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Hadal.Server.Api.Description;

/// <summary>An OpenAPI document as a page for people: every operation with its fields, an example to paste, and what may go wrong.</summary>
static class DescriptionPage
{
    const int Deepest = 4; // an object in an object in an array: further inside nobody reads

    /// <summary>The page.</summary>
    /// <param name="document">OpenAPI 3.1, UTF-8 JSON.</param>
    /// <returns>HTML that loads <c>/docs/style.css</c> and nothing else.</returns>
    public static string Render(byte[] document)
    {
        using JsonDocument parsed = JsonDocument.Parse(document);
        JsonElement root = parsed.RootElement, info = root.GetProperty("info");
        var page = new StringBuilder();
        page.Append("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")
            .Append("<title>Hadal: the API</title>\n<link rel=\"stylesheet\" href=\"/docs/style.css\">\n</head>\n<body>\n<header>\n<h1>The API</h1>\n");
        Paragraph(page, Text(info, "description"));
        page.Append("<p><a href=\"/\">Chat</a> · <a href=\"/openapi/v1.json\">OpenAPI document</a></p>\n<nav aria-label=\"Operations\"><ul>\n");
        foreach ((string path, string method, JsonElement operation) in Operations(root))
            page.Append(CultureInfo.InvariantCulture, $"<li><a href=\"#{Escape(Text(operation, "operationId"))}\"><code>{method} {Escape(path)}</code></a> {Escape(Text(operation, "summary"))}</li>\n");
        page.Append("</ul></nav>\n</header>\n<main>\n");
        foreach ((string path, string method, JsonElement operation) in Operations(root)) WriteOperation(page, root, path, method, operation);
        page.Append("<section>\n<h2>Keys</h2>\n");
        Paragraph(page, Text(root.GetProperty("components").GetProperty("securitySchemes").GetProperty("key"), "description") + " Send it as: Authorization: Bearer KEY.");
        return page.Append("</section>\n</main>\n</body>\n</html>\n").ToString();
    }

    static IEnumerable<(string Path, string Method, JsonElement Operation)> Operations(JsonElement root) =>
        from path in root.GetProperty("paths").EnumerateObject()
        from method in path.Value.EnumerateObject()
        select (path.Name, method.Name.ToUpperInvariant(), method.Value);

    static void WriteOperation(StringBuilder page, JsonElement root, string path, string method, JsonElement operation)
    {
        page.Append(CultureInfo.InvariantCulture, $"<section id=\"{Escape(Text(operation, "operationId"))}\">\n<h2>{Escape(Text(operation, "summary"))}</h2>\n<p class=\"path\"><code><b>{method}</b> {Escape(path)}</code></p>\n");
        Paragraph(page, Text(operation, "description"));
        bool hasBody = operation.TryGetProperty("requestBody", out JsonElement body);
        if (hasBody)
        {
            JsonElement content = body.GetProperty("content").GetProperty("application/json");
            page.Append("<h3>Request</h3>\n");
            WriteFields(page, root, content.GetProperty("schema"));
            WriteExample(page, path, content.GetProperty("example"));
        }
        else
        {
            page.Append(CultureInfo.InvariantCulture, $"<pre tabindex=\"0\">curl -H \"Authorization: Bearer $HADAL_API_KEY\" http://127.0.0.1:8080{Escape(path.Replace("{name}", "deepseek-chat", StringComparison.Ordinal))}</pre>\n");
        }

        page.Append("<h3>Answer</h3>\n");
        JsonElement responses = operation.GetProperty("responses");
        JsonElement answers = responses.GetProperty("200").GetProperty("content");
        WriteFields(page, root, answers.GetProperty("application/json").GetProperty("schema"));
        if (answers.TryGetProperty("text/event-stream", out _)) Paragraph(page, "With \"stream\": true the answer comes in events: data: {…}, the last one data: [DONE].");
        page.Append("<h3>Errors</h3>\n<ul>\n");
        foreach (JsonProperty response in responses.EnumerateObject().Where(response => !string.Equals(response.Name, "200", StringComparison.Ordinal)))
            page.Append(CultureInfo.InvariantCulture, $"<li><code>{response.Name}</code> {Escape(Text(Resolve(root, response.Value), "description"))}</li>\n");
        page.Append("</ul>\n</section>\n");
    }

    static void WriteExample(StringBuilder page, string path, JsonElement example)
    {
        string json = JsonSerializer.Serialize(example, CompactJson.Options);
        page.Append(CultureInfo.InvariantCulture, $"<pre tabindex=\"0\">curl http://127.0.0.1:8080{Escape(path)} \\\n  -H \"Authorization: Bearer $HADAL_API_KEY\" -H \"Content-Type: application/json\" \\\n  -d '{Escape(json)}'</pre>\n");
    }

    static void WriteFields(StringBuilder page, JsonElement root, JsonElement schema)
    {
        page.Append("<div class=\"table\" tabindex=\"0\"><table>\n<thead><tr><th scope=\"col\">field</th><th scope=\"col\">type</th><th scope=\"col\">meaning</th></tr></thead>\n<tbody>\n");
        WriteRows(page, root, schema, "", 0);
        page.Append("</tbody></table></div>\n");
    }

    static void WriteRows(StringBuilder page, JsonElement root, JsonElement schema, string before, int depth)
    {
        schema = Resolve(root, schema);
        if (depth == Deepest || !schema.TryGetProperty("properties", out JsonElement properties)) return;
        string[] required = schema.TryGetProperty("required", out JsonElement names) ? [.. names.EnumerateArray().Select(name => name.GetString()!)] : [];
        foreach (JsonProperty property in properties.EnumerateObject())
        {
            JsonElement field = Resolve(root, property.Value);
            bool isArray = field.TryGetProperty("items", out JsonElement items);
            string name = before + property.Name + (isArray ? "[]" : "");
            page.Append(CultureInfo.InvariantCulture, $"<tr><th scope=\"row\"><code>{Escape(name)}</code>{(required.Contains(property.Name, StringComparer.Ordinal) ? " <em>required</em>" : "")}</th><td>{Escape(TypeOf(root, field))}</td>")
                .Append(CultureInfo.InvariantCulture, $"<td>{Escape(Meaning(property.Value, field))}</td></tr>\n");
            WriteRows(page, root, isArray ? items : field, name + ".", depth + 1);
        }
    }

    static string TypeOf(JsonElement root, JsonElement field)
    {
        if (field.TryGetProperty("enum", out JsonElement values)) return string.Join(" | ", values.EnumerateArray().Select(value => value.GetString()));
        if (field.TryGetProperty("oneOf", out JsonElement ways)) return string.Join(" or ", ways.EnumerateArray().Select(way => TypeOf(root, Resolve(root, way))).Distinct(StringComparer.Ordinal));
        if (field.TryGetProperty("items", out JsonElement items)) return "array of " + TypeOf(root, Resolve(root, items));
        JsonElement type = field.GetProperty("type");
        return type.ValueKind == JsonValueKind.Array ? string.Join(" or ", type.EnumerateArray().Select(one => one.GetString())) : type.GetString()!;
    }

    static string Meaning(JsonElement written, JsonElement field)
    {
        var parts = new List<string>();
        if (Text(written, "description") is { Length: > 0 } own) parts.Add(own);
        else if (Text(field, "description") is { Length: > 0 } general) parts.Add(general);
        foreach ((string key, string words) in (ReadOnlySpan<(string, string)>)[("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most"), ("maxItems", "entries at most"), ("default", "default")])
            if (field.TryGetProperty(key, out JsonElement bound)) parts.Add($"{words} {bound.GetRawText()}");
        return string.Join("; ", parts);
    }

    static JsonElement Resolve(JsonElement root, JsonElement element)
    {
        if (!element.TryGetProperty("$ref", out JsonElement reference)) return element;
        JsonElement target = root;
        foreach (string step in reference.GetString()!.Split('/').Skip(1)) target = target.GetProperty(step);
        return target;
    }

    static string Text(JsonElement element, string name) => element.TryGetProperty(name, out JsonElement value) ? value.GetString() ?? "" : "";

    static void Paragraph(StringBuilder page, string text)
    {
        if (text.Length > 0) page.Append(CultureInfo.InvariantCulture, $"<p>{Escape(text)}</p>\n");
    }

    static string Escape(string text) => HtmlEncoder.Default.Encode(text);
}
