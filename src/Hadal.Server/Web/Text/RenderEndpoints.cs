using System.Buffers;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace Hadal.Server.Web.Text;

/// <summary>Texts as trees of elements, for the pages. Nothing is kept.</summary>
static class RenderEndpoints
{
    const int MostTexts = 64;
    const int MostCharacters = 1_000_000;

    public static void Map(RouteGroupBuilder app) => app.MapPost("/render", (HttpContext http, Given given) =>
    {
        Me.Require(http);
        string[] texts = given.Texts ?? [];
        if (texts.Length > MostTexts || texts.Sum(text => (long)(text?.Length ?? 0)) > MostCharacters)
            throw new AppException(StatusCode.BadRequest, $"At most {MostTexts} texts of together {MostCharacters} characters are shown at a time.", "texts");
        return Results.Bytes(Write(texts), "application/json");
    }).WithMetadata(new BodyLimit(BodyLimit.Largest));

    // By hand: a text may be nested more deeply than the serializer goes.
    static byte[] Write(string[] texts)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            writer.WriteStartArray("documents");
            foreach (string text in texts)
            {
                writer.WriteStartArray();
                foreach (TextBlock block in MarkdownTree.Read(text ?? ""))
                {
                    writer.WriteStartObject();
                    writer.WriteNumber("start", block.Start);
                    writer.WritePropertyName("node");
                    block.Node.WriteTo(writer);
                    writer.WriteEndObject();
                }

                writer.WriteEndArray();
            }

            writer.WriteEndArray();
            writer.WriteEndObject();
        }

        return buffer.WrittenSpan.ToArray();
    }

    sealed record Given(string[]? Texts);
}
