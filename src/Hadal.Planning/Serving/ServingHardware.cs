using Hadal.Parallel.Serving;

namespace Hadal.Planning.Serving;

/// <summary>A GPU and its links, as a serving plan counts with them.</summary>
public sealed record ServingHardware
{
    /// <summary>For titles.</summary>
    public required string Name { get; init; }

    /// <summary>GPUs of a node.</summary>
    public required int GpusPerNode { get; init; }

    /// <summary>Bytes of a GPU's memory that weights and cache may fill.</summary>
    public required double UsableBytes { get; init; }

    /// <summary>FP8 operations a second.</summary>
    public required double Fp8Flops { get; init; }

    /// <summary>BF16 operations a second.</summary>
    public required double Bf16Flops { get; init; }

    /// <summary>Bytes a second of the memory.</summary>
    public required double MemoryBandwidth { get; init; }

    /// <summary>Usable bytes a second of a GPU's links, one direction.</summary>
    public required LinkSpeeds Links { get; init; }

    /// <summary>Seconds until a message between nodes arrives, its bytes not counted.</summary>
    public double NetworkLatency { get; init; } = 3.7e-6;

    /// <summary>Part of the operations a second that products reach; 1: the limits of the hardware.</summary>
    public double ComputeEfficiency { get; init; } = 1;

    /// <summary>Multiprocessors of a GPU, and those that the exchange of prefilling takes (132 and 24 in production).</summary>
    public (int All, int Exchange) Multiprocessors { get; init; } = (132, 24);

    /// <summary>
    /// H800 in nodes of 8: 989 and 1,979 TFLOP/s, 3.35 TB/s, 80 GB of which 6 are left for buffers, 160 GB/s inside a node and 50 GB/s between nodes [V3 §3.2.2].
    /// </summary>
    public static ServingHardware H800 { get; } = new()
    {
        Name = "H800", GpusPerNode = 8, UsableBytes = 74e9, Fp8Flops = 1979e12, Bf16Flops = 989.5e12, MemoryBandwidth = 3.35e12, Links = LinkSpeeds.H800,
    };
}
