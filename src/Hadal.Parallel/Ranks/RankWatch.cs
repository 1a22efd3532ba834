using System.Buffers.Binary;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;

namespace Hadal.Parallel.Ranks;

/// <summary>
/// Notices the loss of a process at once: each holds a connection to rank 0, and the operating system closes it when the process dies. Rank 0 tells the others the name. A rank
/// that ends in order says so first. A machine that loses power or network closes nothing; its connection is probed, and given up after some seconds without an answer.
/// </summary>
sealed class RankWatch(int rank, int size) : IDisposable
{
    const int WordBytes = 16, MostText = 4096, Left = -2;
    const int ProbeAfterSeconds = 3, ProbeEverySeconds = 1, Probes = 4;
    static readonly TimeSpan JoinPatience = TimeSpan.FromSeconds(30);
    readonly Socket?[] _members = new Socket?[size];
    readonly bool[] _left = new bool[size];
    readonly Lock _gate = new();
    readonly List<Thread> _threads = [];
    byte[] _word = [];
    Socket? _listener, _server;
    RankLostException? _loss;
    volatile bool _closing;

    /// <summary>The first loss, which everyone names.</summary>
    public RankLostException? Loss => Volatile.Read(ref _loss);

    /// <summary>Rank 0 begins to listen.</summary>
    /// <param name="loopback">All ranks are on one machine: nobody else can connect.</param>
    /// <returns>What the others need to <see cref="Join"/>.</returns>
    public string Listen(bool loopback)
    {
        _word = RandomNumberGenerator.GetBytes(WordBytes);
        IPAddress[] addresses = loopback ? [IPAddress.Loopback] : [.. Dns.GetHostAddresses(Dns.GetHostName(), AddressFamily.InterNetwork).Where(address => !IPAddress.IsLoopback(address)).Take(6)];
        _listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        _listener.Bind(new IPEndPoint(loopback ? IPAddress.Loopback : IPAddress.Any, 0));
        _listener.Listen(size);
        Start(Accept, "rank watch: accept");
        return string.Join(' ', [((IPEndPoint)_listener.LocalEndPoint!).Port.ToString(CultureInfo.InvariantCulture), Convert.ToHexString(_word), .. addresses.Select(address => address.ToString())]);
    }

    /// <summary>The others connect to rank 0; it waits until all have.</summary>
    /// <exception cref="RankLostException">Not everyone came.</exception>
    public void Join(string place)
    {
        if (rank == 0)
        {
            long until = Environment.TickCount64 + (long)JoinPatience.TotalMilliseconds;
            while (true)
            {
                int missing;
                lock (_gate) missing = Array.FindIndex(_members, 1, member => member is null);
                if (size == 1 || missing < 0) return;
                if (Environment.TickCount64 > until) throw Lose(missing, $"Rank {missing} did not connect to rank 0 within {JoinPatience.TotalSeconds} s: check that the nodes reach each other.");
                Thread.Sleep(5);
            }
        }

        string[] words = place.Split(' ');
        int port = int.Parse(words[0], CultureInfo.InvariantCulture);
        SocketException? problem = null;
        foreach (string address in words[2..])
        {
            var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            try
            {
                socket.Connect(new IPEndPoint(IPAddress.Parse(address), port));
                byte[] hello = new byte[WordBytes + sizeof(int)];
                Convert.FromHexString(words[1]).CopyTo(hello, 0);
                BinaryPrimitives.WriteInt32LittleEndian(hello.AsSpan(WordBytes), rank);
                socket.Send(hello);
                Probe(socket);
                _server = socket;
                Start(() => Listen(socket, 0), "rank watch");
                return;
            }
            catch (SocketException exception)
            {
                problem = exception;
                socket.Dispose();
            }
        }

        throw Lose(0, $"Rank {rank} cannot reach rank 0 at {string.Join(", ", words[2..])} port {port}: {problem?.Message}");
    }

    /// <summary>Throws when a rank was lost.</summary>
    public void Check(ReadOnlySpan<Transfer> batch, ProcessGroup group)
    {
        if (Loss is not { } loss) return;
        string what = batch.Length == 0 ? "" : $" Rank {rank} was waiting to {batch[0].Words} rank {group.WorldRank(batch[0].Peer)}{(batch.Length > 1 ? $", and for {batch.Length - 1} more" : "")}.";
        throw new RankLostException(loss.Rank, loss.Message + what, loss);
    }

    /// <summary>Notes a loss that this rank has seen, and tells the others.</summary>
    public RankLostException Lose(int lost, string reason)
    {
        lock (_gate)
        {
            if (_loss is not null) return _loss;
            Volatile.Write(ref _loss, new RankLostException(lost, reason));
        }

        Tell(lost, reason);
        return Loss!;
    }

    /// <summary>This rank ends in order.</summary>
    public void Leave()
    {
        _closing = true;
        Tell(Left, "");
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _closing = true;
        _listener?.Dispose();
        _server?.Dispose();
        foreach (Socket? member in _members) member?.Dispose();
        foreach (Thread thread in _threads) thread.Join(1000);
    }

    void Start(Action body, string name)
    {
        var thread = new Thread(() => body()) { IsBackground = true, Name = name };
        lock (_gate) _threads.Add(thread);
        thread.Start();
    }

    void Accept()
    {
        for (int connected = 1; connected < size && !_closing;)
        {
            try
            {
                Socket socket = _listener!.Accept();
                socket.NoDelay = true;
                socket.ReceiveTimeout = 5000;
                byte[] hello = new byte[WordBytes + sizeof(int)];
                int who = ReadAll(socket, hello) && CryptographicOperations.FixedTimeEquals(hello.AsSpan(0, WordBytes), _word) ? BinaryPrimitives.ReadInt32LittleEndian(hello.AsSpan(WordBytes)) : -1;
                lock (_gate)
                {
                    if (who < 1 || who >= size || _members[who] is not null)
                    {
                        socket.Dispose(); // not one of us
                        continue;
                    }

                    socket.ReceiveTimeout = 0;
                    Probe(socket);
                    _members[who] = socket;
                }

                connected++;
                Start(() => Listen(socket, who), $"rank watch: {who}");
            }
            catch (SocketException) when (!_closing)
            {
                // One that gave up while it connected.
            }
            catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
            {
                return;
            }
        }
    }

    void Listen(Socket socket, int peer)
    {
        byte[] head = new byte[2 * sizeof(int)];
        while (true)
        {
            if (!ReadAll(socket, head))
            {
                bool left;
                lock (_gate) left = _left[peer];
                if (!left && !_closing) Lose(peer, $"Rank {peer} was lost: its process ended (rank {rank} saw its connection close).");
                return;
            }

            int lost = BinaryPrimitives.ReadInt32LittleEndian(head), length = BinaryPrimitives.ReadInt32LittleEndian(head.AsSpan(sizeof(int)));
            byte[] text = new byte[Math.Clamp(length, 0, MostText)];
            if (length < 0 || length > MostText || !ReadAll(socket, text)) continue;
            if (lost == Left)
            {
                lock (_gate) _left[peer] = true;
                continue;
            }

            Lose(lost, Encoding.UTF8.GetString(text));
        }
    }

    // The kernel of a machine that has vanished acknowledges nothing: the connection then ends with an error.
    static void Probe(Socket socket)
    {
        socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime, ProbeAfterSeconds);
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveInterval, ProbeEverySeconds);
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveRetryCount, Probes);
    }

    // Rank 0 tells all members, a member tells rank 0.
    void Tell(int word, string reason)
    {
        byte[] text = Encoding.UTF8.GetBytes(reason.Length > 1000 ? reason[..1000] : reason), frame = new byte[(2 * sizeof(int)) + text.Length];
        BinaryPrimitives.WriteInt32LittleEndian(frame, word);
        BinaryPrimitives.WriteInt32LittleEndian(frame.AsSpan(sizeof(int)), text.Length);
        text.CopyTo(frame, 2 * sizeof(int));
        foreach (Socket? socket in rank == 0 ? _members : [_server])
        {
            try
            {
                socket?.Send(frame);
            }
            catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
            {
                // The lost one itself, or one that has ended.
            }
        }
    }

    static bool ReadAll(Socket socket, byte[] to)
    {
        try
        {
            for (int at = 0; at < to.Length;)
            {
                int read = socket.Receive(to, at, to.Length - at, SocketFlags.None);
                if (read == 0) return false;
                at += read;
            }

            return true;
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            return false;
        }
    }
}
