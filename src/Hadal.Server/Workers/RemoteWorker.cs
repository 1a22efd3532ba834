using System.Runtime.CompilerServices;
using Google.Protobuf;
using Grpc.Core;
using Grpc.Net.Client;
using Hadal.Inference.Serving;
using Hadal.Inference.Serving.Workers;

namespace Hadal.Server.Workers;

/// <summary>
/// A worker in another process. A call that breaks is an error of the worker, told at once to whoever waits; the channel connects again by itself when the worker is back.
/// Safe to call from many threads.
/// </summary>
sealed class RemoteWorker : IPrefillWorker, IDecodeWorker, IDisposable
{
    static readonly TimeSpan DescribeTime = TimeSpan.FromSeconds(10);
    readonly GrpcChannel _channel;
    readonly Wire.Worker.WorkerClient _client;
    readonly Metadata _headers = [];
    volatile Wire.Description? _known;
    volatile bool _reachable;

    /// <summary>Connects at the first call.</summary>
    /// <param name="address">Where the worker listens.</param>
    /// <param name="key">The shared secret, or null.</param>
    public RemoteWorker(Uri address, string? key)
    {
        Name = address.GetLeftPart(UriPartial.Authority);
        if (key is not null) _headers.Add(WorkerServer.KeyHeader, key);
        _channel = GrpcChannel.ForAddress(address, new GrpcChannelOptions
        {
            // A worker that is gone without a word (a frozen machine, a pulled cable) answers no ping.
            HttpHandler = new SocketsHttpHandler
            {
                UseProxy = false, ConnectTimeout = TimeSpan.FromSeconds(5), EnableMultipleHttp2Connections = true, InitialHttp2StreamWindowSize = 4 << 20,
                KeepAlivePingDelay = TimeSpan.FromSeconds(10), KeepAlivePingTimeout = TimeSpan.FromSeconds(20), KeepAlivePingPolicy = HttpKeepAlivePingPolicy.WithActiveRequests,
            },
            DisposeHttpClient = true,
            MaxReceiveMessageSize = 4 * WireForm.PartBytes,
            MaxSendMessageSize = 4 * WireForm.PartBytes,
            InitialReconnectBackoff = TimeSpan.FromMilliseconds(100),
            MaxReconnectBackoff = TimeSpan.FromSeconds(1),
        });
        _client = new Wire.Worker.WorkerClient(_channel);
    }

    /// <inheritdoc/>
    public string Name { get; }

    /// <inheritdoc/>
    public int MostRequests => _known?.MostRequests ?? 1;

    /// <inheritdoc/>
    public bool IsAvailable => _reachable;

    /// <inheritdoc/>
    public EngineStatistics Statistics => WireForm.Of(_known?.Statistics);

    /// <summary>Asks who the worker is.</summary>
    /// <exception cref="WorkerFailedException">It cannot be reached.</exception>
    public async Task<Wire.Description> DescribeAsync(CancellationToken cancellationToken)
    {
        try
        {
            return await _client.DescribeAsync(new Wire.DescribeRequest(), _headers, DateTime.UtcNow + DescribeTime, cancellationToken);
        }
        catch (RpcException failed)
        {
            throw CallErrors.Of(failed, Name, cancellationToken);
        }
    }

    /// <summary>What was heard of the worker last; null: it cannot be reached, or may not be used.</summary>
    public void Hear(Wire.Description? description)
    {
        if (description is not null) _known = description;
        _reachable = description is not null;
    }

    /// <summary>The tokenizer.json of its model.</summary>
    /// <exception cref="WorkerFailedException">It cannot be reached.</exception>
    public async Task<byte[]> ReadTokenizerAsync(int mostBytes, CancellationToken cancellationToken)
    {
        using AsyncServerStreamingCall<Wire.Part> call = _client.ReadTokenizer(new Wire.ReadTokenizerRequest(), _headers, cancellationToken: cancellationToken);
        return await Collect(call.ResponseStream, part => part.Bytes, mostBytes, "its tokenizer", cancellationToken);
    }

    /// <inheritdoc/>
    public async Task<PrefillResult> PrefillAsync(WorkerRequest request, CancellationToken cancellationToken = default)
    {
        Wire.Description known = _known ?? throw new WorkerFailedException(Name, "it was never reached.");
        int cached = 0;
        using AsyncServerStreamingCall<Wire.PrefillReply> call = _client.Prefill(WireForm.Of(request), _headers, cancellationToken: cancellationToken);
        byte[] pages = await Collect(call.ResponseStream, reply =>
        {
            if (reply.KindCase == Wire.PrefillReply.KindOneofCase.CachedTokens) cached = reply.CachedTokens;
            return reply.Part;
        }, PageTransfer.MostBytes(request.Tokens, known.Layers, known.RowBytes), "its pages", cancellationToken);
        return new PrefillResult(pages, cached);
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<GenerationEvent> DecodeAsync(WorkerRequest request, byte[]? pages, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        using AsyncDuplexStreamingCall<Wire.DecodeInput, Wire.Event> call = _client.Decode(_headers, cancellationToken: cancellationToken);
        await SendAsync(call.RequestStream, request, pages, cancellationToken);
        while (await NextAsync(call.ResponseStream, cancellationToken))
            if (WireForm.Of(call.ResponseStream.Current) is GenerationEvent happened) yield return happened;
    }

    /// <inheritdoc/>
    public void Dispose() => _channel.Dispose();

    async Task SendAsync(IClientStreamWriter<Wire.DecodeInput> stream, WorkerRequest request, byte[]? pages, CancellationToken cancellationToken)
    {
        try
        {
            await stream.WriteAsync(new Wire.DecodeInput { Work = WireForm.Of(request) }, cancellationToken);
            for (int at = 0; at < (pages?.Length ?? 0); at += WireForm.PartBytes)
            {
                ReadOnlyMemory<byte> part = pages.AsMemory(at, Math.Min(WireForm.PartBytes, pages!.Length - at));
                await stream.WriteAsync(new Wire.DecodeInput { Part = UnsafeByteOperations.UnsafeWrap(part) }, cancellationToken);
            }

            await stream.CompleteAsync();
        }
        catch (RpcException failed) when (cancellationToken.IsCancellationRequested)
        {
            throw Failed(failed, cancellationToken);
        }
        catch (Exception ended) when (ended is InvalidOperationException or RpcException or IOException)
        {
            // The call was over before all was sent, because the worker refused or died. Writing only learns that it is over; reading the answer says why.
        }
    }

    async ValueTask<bool> NextAsync<T>(IAsyncStreamReader<T> stream, CancellationToken cancellationToken)
    {
        try
        {
            return await stream.MoveNext(cancellationToken);
        }
        catch (RpcException failed)
        {
            throw Failed(failed, cancellationToken);
        }
    }

    async Task<byte[]> Collect<T>(IAsyncStreamReader<T> stream, Func<T, ByteString> part, long mostBytes, string what, CancellationToken cancellationToken)
    {
        using var all = new MemoryStream();
        while (await NextAsync(stream, cancellationToken))
        {
            ByteString bytes = part(stream.Current);
            if (all.Length + bytes.Length > mostBytes) throw new WorkerFailedException(Name, $"{what} have more than the {mostBytes} bytes that were expected.");
            all.Write(bytes.Span);
        }

        return all.ToArray();
    }

    Exception Failed(RpcException failed, CancellationToken cancellationToken)
    {
        Exception error = CallErrors.Of(failed, Name, cancellationToken);
        if (error is WorkerFailedException) _reachable = false; // until it is heard of again
        return error;
    }
}
