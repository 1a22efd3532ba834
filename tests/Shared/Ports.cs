using System.Net;
using System.Net.Sockets;

namespace Hadal.Tests;

/// <summary>Ports for servers whose port must be known before they start, or that start again at the same one.</summary>
static class Ports
{
    const int First = 20_000, Count = 12_000;

    static int s_next = Environment.ProcessId * 37 % Count;

    /// <summary>
    /// A port of loopback where nobody listens, another one at each call. It lies below the range from which systems take the ports of outgoing connections and of listeners
    /// that let them choose (32,768 and up on Linux), so that nobody takes it by chance before it is used.
    /// </summary>
    internal static int Free()
    {
        for (int round = 0; ; round++)
        {
            int port = First + (Interlocked.Increment(ref s_next) % Count);
            try
            {
                using var listener = new TcpListener(IPAddress.Loopback, port);
                listener.Start();
                return port;
            }
            catch (SocketException) when (round < Count)
            {
                // somebody is there
            }
        }
    }
}
