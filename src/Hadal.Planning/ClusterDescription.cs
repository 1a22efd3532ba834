using System.Text;
using System.Text.Json;

namespace Hadal.Planning;

/// <summary>The machines of a plan: nodes of equal GPUs, fast links inside a node, one network port for each GPU between nodes.</summary>
public sealed record ClusterDescription
{
    /// <summary>Name for titles.</summary>
    public required string Name { get; init; }

    /// <summary>Nodes.</summary>
    public required int Nodes { get; init; }

    /// <summary>GPUs of a node.</summary>
    public required int GpusPerNode { get; init; }

    /// <summary>Memory of a GPU, bytes.</summary>
    public required double MemoryBytes { get; init; }

    /// <summary>Of that, what a plan leaves for temporaries, message buffers and the driver, bytes.</summary>
    public double ReservedBytes { get; init; } = 6e9;

    /// <summary>Dense BF16 operations a second of a GPU: what utilisation is measured against.</summary>
    public required double PeakFlops { get; init; }

    /// <summary>Bytes a second of a GPU's memory: the optimizer's update is bound by it.</summary>
    public required double MemoryBandwidth { get; init; }

    /// <summary>Bytes a second that a GPU sends to others of its node.</summary>
    public required double NodeBandwidth { get; init; }

    /// <summary>Bytes a second that a GPU sends to other nodes.</summary>
    public required double NetworkBandwidth { get; init; }

    /// <summary>Seconds until a message inside a node arrives, its bytes not counted.</summary>
    public double NodeLatency { get; init; } = 3.33e-6;

    /// <summary>Seconds until a message between nodes arrives, its bytes not counted.</summary>
    public double NetworkLatency { get; init; } = 3.7e-6;

    /// <summary>GPUs of all nodes.</summary>
    public int Gpus => Nodes * GpusPerNode;

    /// <summary>Bytes that a plan may fill.</summary>
    public double UsableBytes => MemoryBytes - ReservedBytes;

    /// <summary>
    /// The cluster of the report: 256 nodes of 8 H800 [V3 §3.1, §3.2.2]. NVLink carries 160 GB/s and InfiniBand 50 GB/s, the report's own figures; 989 TFLOP/s is the peak its utilisation
    /// was given against, 3.35 TB/s the memory of the H800.
    /// </summary>
    public static ClusterDescription Published { get; } = new()
    {
        Name = "2,048 H800", Nodes = 256, GpusPerNode = 8, MemoryBytes = 80e9, PeakFlops = 989e12, MemoryBandwidth = 3.35e12, NodeBandwidth = 160e9, NetworkBandwidth = 50e9,
    };

    /// <summary>Reads a file, or the built-in one by the name <c>published</c>.</summary>
    /// <exception cref="PlanException">The file is no cluster; the message names the key.</exception>
    public static ClusterDescription Load(string path) =>
        string.Equals(path, "published", StringComparison.Ordinal) ? Published : PlanFile.Read(path, file => Read(file, Path.GetFileNameWithoutExtension(path)));

    /// <summary>As <see cref="Load"/> from text; <paramref name="source"/> is named in messages.</summary>
    public static ClusterDescription Parse(string json, string source) => PlanFile.Parse(json, source, file => Read(file, source));

    internal static ClusterDescription Read(PlanFile file, string name)
    {
        var cluster = new ClusterDescription
        {
            Name = file.Text("name") ?? name,
            Nodes = (int)file.Integer("nodes", 1, 1 << 14),
            GpusPerNode = (int)file.Integer("gpus_per_node", 1, 256),
            MemoryBytes = file.Number("memory_bytes", 1e6, 1e15),
            ReservedBytes = file.Number("reserved_bytes", 0, 1e15, 0),
            PeakFlops = file.Number("peak_flops", 1e6, 1e18),
            MemoryBandwidth = file.Number("memory_bandwidth", 1e6, 1e16),
            NodeBandwidth = file.Number("node_bandwidth", 1e3, 1e16),
            NetworkBandwidth = file.Number("network_bandwidth", 1e3, 1e16),
            NodeLatency = file.Number("node_latency", 0, 10, 3.33e-6),
            NetworkLatency = file.Number("network_latency", 0, 10, 3.7e-6),
        };
        if (cluster.UsableBytes <= 0) throw file.Wrong("reserved_bytes", FormattableString.Invariant($"{cluster.ReservedBytes}"), "less than memory_bytes");
        return cluster;
    }

    /// <summary>The file that <see cref="Parse"/> reads, every value written out.</summary>
    public string ToJson()
    {
        using var memory = new MemoryStream();
        using (var json = new Utf8JsonWriter(memory, new JsonWriterOptions { Indented = true, NewLine = "\n" }))
        {
            json.WriteStartObject();
            Write(json);
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(memory.ToArray());
    }

    internal void Write(Utf8JsonWriter json)
    {
        json.WriteString("name", Name);
        json.WriteNumber("nodes", Nodes);
        json.WriteNumber("gpus_per_node", GpusPerNode);
        json.WriteNumber("memory_bytes", MemoryBytes);
        json.WriteNumber("reserved_bytes", ReservedBytes);
        json.WriteNumber("peak_flops", PeakFlops);
        json.WriteNumber("memory_bandwidth", MemoryBandwidth);
        json.WriteNumber("node_bandwidth", NodeBandwidth);
        json.WriteNumber("network_bandwidth", NetworkBandwidth);
        json.WriteNumber("node_latency", NodeLatency);
        json.WriteNumber("network_latency", NetworkLatency);
    }
}
