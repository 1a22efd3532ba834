using Hadal.Tensors;

namespace Hadal.Parallel.Ranks;

/// <summary>
/// A group that proves every message: before it goes a head with its number, length and checksum, and the receiver compares. A message that came twice, was cut, changed or
/// overtaken is found and its sender named, where the transport itself would deliver wrong bytes. A slow one only takes longer.
/// </summary>
public sealed unsafe class CheckedGroup : ProcessGroup
{
    const int Words = 4;
    const ulong Mark = 0x4C414441_48434B44;
    readonly ProcessGroup _inner;
    readonly bool _ownsInner;
    readonly ulong[] _sent, _received;
    HostMemory _heads = new(Words * sizeof(ulong) * 16);
    Transfer[] _batch = new Transfer[32];

    /// <summary>Over another group; all of its ranks make one.</summary>
    /// <param name="inner">Moves the bytes. They must be in memory of the host.</param>
    /// <param name="ownsInner">It is disposed with this.</param>
    public CheckedGroup(ProcessGroup inner, bool ownsInner = false)
        : base(inner.Rank, inner.Size) => (_inner, _ownsInner, _sent, _received) = (inner, ownsInner, new ulong[inner.Size], new ulong[inner.Size]);

    /// <inheritdoc/>
    public override string Transport => $"{_inner.Transport}, checked";

    /// <inheritdoc/>
    public override int WorldRank(int rank) => _inner.WorldRank(rank);

    internal override RankLostException? Loss => _inner.Loss;

    internal override RankLostException Lose(int rank, string reason) => _inner.Lose(rank, reason);

    /// <inheritdoc/>
    protected override void Run(ReadOnlySpan<Transfer> batch)
    {
        if (_heads.Bytes < (long)batch.Length * Words * sizeof(ulong))
        {
            _heads.Dispose();
            _heads = new HostMemory((long)batch.Length * Words * sizeof(ulong) * 2);
        }

        if (_batch.Length < 2 * batch.Length) _batch = new Transfer[4 * batch.Length];
        for (int i = 0; i < batch.Length; i++)
        {
            ulong* head = Head(i);
            if (batch[i].IsSend)
            {
                head[0] = Mark;
                head[1] = _sent[batch[i].Peer]++;
                head[2] = (ulong)batch[i].Bytes;
                head[3] = Checksum(batch[i]);
            }

            _batch[2 * i] = new(batch[i].IsSend, batch[i].Peer, (nint)head, Words * sizeof(ulong));
            _batch[(2 * i) + 1] = batch[i];
        }

        _inner.Exchange(_batch.AsSpan(0, 2 * batch.Length));
        for (int i = 0; i < batch.Length; i++)
        {
            if (batch[i].IsSend) continue;
            ulong* head = Head(i);
            ulong expected = _received[batch[i].Peer]++;
            if (head[0] != Mark) Refuse(batch[i], expected, "its head is no head: a message before it came twice, was cut or was lost");
            if (head[1] != expected) Refuse(batch[i], expected, head[1] < expected ? $"message {head[1]} came again" : $"message {head[1]} came, those between were lost");
            if (head[2] != (ulong)batch[i].Bytes) Refuse(batch[i], expected, $"{head[2]} bytes were sent");
            if (head[3] != Checksum(batch[i])) Refuse(batch[i], expected, "its bytes are not those that were sent");
        }
    }

    /// <inheritdoc/>
    protected override ProcessGroup CreatePart(int split, int color, int[] members) => new CheckedGroup(_inner.Split(color, Array.IndexOf(members, Rank))!, ownsInner: true);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _heads.Dispose();
        if (_ownsInner) _inner.Dispose();
    }

    ulong* Head(int i) => (ulong*)_heads.Address + ((long)i * Words);

    void Refuse(Transfer transfer, ulong number, string why)
    {
        int peer = WorldRank(transfer.Peer);
        throw new RankLostException(peer, $"Rank {peer} was lost: rank {WorldRank(Rank)} was told to {transfer.Words} it, message {number} of theirs, and {why}.");
    }

    // Words are mixed one after the other, so neither order nor place can change unseen.
    static ulong Checksum(Transfer transfer)
    {
        ulong sum = 0xCBF29CE484222325 ^ (ulong)transfer.Bytes;
        byte* first = (byte*)transfer.Address;
        long at = 0;
        for (; at + 8 <= transfer.Bytes; at += 8) sum = Mix(sum, *(ulong*)(first + at));
        ulong rest = 0;
        for (; at < transfer.Bytes; at++) rest = (rest << 8) | first[at];
        return Mix(sum, rest);

        static ulong Mix(ulong sum, ulong word)
        {
            sum = (sum ^ word) * 0x9E3779B97F4A7C15;
            return sum ^ (sum >> 32);
        }
    }
}
