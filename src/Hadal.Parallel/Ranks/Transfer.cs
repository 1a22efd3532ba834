using Hadal.Tensors;

namespace Hadal.Parallel.Ranks;

/// <summary>One message of a batch: bytes that go to a peer or come from it.</summary>
/// <param name="IsSend">True to send, false to receive.</param>
/// <param name="Peer">The other rank of the group; a rank may write to itself.</param>
/// <param name="Address">First byte, in memory that the transport can read (host memory for in-process ranks and MPI).</param>
/// <param name="Bytes">How many; both sides say the same number.</param>
public readonly record struct Transfer(bool IsSend, int Peer, nint Address, long Bytes)
{
    /// <summary>All elements of a contiguous tensor go to <paramref name="peer"/>.</summary>
    public static Transfer Send(int peer, Tensor data) => new(IsSend: true, peer, Contiguous(data).Address, Size(data));

    /// <summary>All elements of a contiguous tensor come from <paramref name="peer"/>.</summary>
    public static Transfer Receive(int peer, Tensor data) => new(IsSend: false, peer, Contiguous(data).Address, Size(data));

    /// <summary>For messages: <c>send 128 bytes to</c>, <c>receive 128 bytes from</c>.</summary>
    internal string Words => IsSend ? $"send {Bytes} bytes to" : $"receive {Bytes} bytes from";

    static long Size(Tensor data) => data.Length * data.DType.Size();

    static Tensor Contiguous(Tensor data) => data.IsContiguous
        ? data
        : throw new ArgumentException($"{data} has gaps between its rows (stride {data.RowStride}); a message is one block. Copy it into a contiguous tensor first.", nameof(data));
}
