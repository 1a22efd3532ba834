using System.Globalization;
using System.Text.Json;
using Hadal.Formats;

namespace Hadal.Training.State;

/// <summary><c>manifest.json</c> of a checkpoint: each file with its length and 64-bit checksum. Written last, so a folder without it is not a checkpoint.</summary>
static class CheckpointManifest
{
    const string Name = "manifest.json";
    const int Version = 1;

    /// <summary>Reads back every file of the folder, flushes it and writes the manifest.</summary>
    internal static void Write(string folder)
    {
        using var stream = new FileStream(Path.Combine(folder, Name), FileMode.Create, FileAccess.Write);
        using (var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteNumber("version", Version);
            json.WriteStartObject("files");
            foreach (string path in Directory.EnumerateFiles(folder).Where(p => !IsManifest(p)).Order(StringComparer.Ordinal))
            {
                (long length, ulong checksum) = Measure(path);
                json.WriteStartObject(Path.GetFileName(path));
                json.WriteNumber("bytes", length);
                json.WriteString("checksum", checksum.ToString("x16", CultureInfo.InvariantCulture));
                json.WriteEndObject();
            }

            json.WriteEndObject();
            json.WriteEndObject();
        }

        stream.Flush(flushToDisk: true);
    }

    /// <summary>What is wrong with a checkpoint, or null.</summary>
    internal static string? Verify(string folder)
    {
        try
        {
            string path = Path.Combine(folder, Name);
            if (!File.Exists(path)) return $"{Name} is missing";
            using var json = JsonDocument.Parse(File.ReadAllBytes(path));
            int version = json.RootElement.GetProperty("version").GetInt32();
            if (version != Version) return $"{Name} has version {version}; this program reads {Version}";
            foreach (JsonProperty file in json.RootElement.GetProperty("files").EnumerateObject())
            {
                string name = Path.Combine(folder, file.Name);
                if (!File.Exists(name)) return $"{file.Name} is missing";
                (long length, ulong checksum) = Measure(name);
                long expected = file.Value.GetProperty("bytes").GetInt64();
                if (length != expected) return $"{file.Name} has {length} bytes instead of {expected}";
                if (!string.Equals(checksum.ToString("x16", CultureInfo.InvariantCulture), file.Value.GetProperty("checksum").GetString(), StringComparison.Ordinal))
                    return $"the checksum of {file.Name} does not match";
            }

            return null;
        }
        catch (Exception exception) when (exception is JsonException or KeyNotFoundException or InvalidOperationException or FormatException or IOException)
        {
            return $"{Name} cannot be read: {exception.Message}";
        }
    }

    static bool IsManifest(string path) => string.Equals(Path.GetFileName(path), Name, StringComparison.Ordinal);

    static (long Length, ulong Checksum) Measure(string path)
    {
        using FileStream file = File.OpenRead(path);
        var checksum = new Checksum64();
        byte[] buffer = new byte[1 << 20];
        for (int read; (read = file.Read(buffer)) > 0;) checksum.Append(buffer.AsSpan(0, read));
        return (file.Length, checksum.Value);
    }
}
