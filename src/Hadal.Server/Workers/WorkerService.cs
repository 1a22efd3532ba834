using System.Buffers;
using Google.Protobuf;
using Grpc.Core;
using Hadal.Inference.Serving;
using Hadal.Inference.Serving.Workers;

namespace Hadal.Server.Workers;

/// <summary>Answers a router, over the engine of this process. A call that is given up frees everything at once.</summary>
sealed class WorkerService(WorkerOptions options) : Wire.Worker.WorkerBase
{
    readonly LocalWorker _worker = new(options.Role == WorkerRole.Prefill ? "prefill" : "decode", options.Engine);

    public override Task<Wire.Description> Describe(Wire.DescribeRequest request, ServerCallContext context)
    {
        ServedModel model = options.Engine.Model;
        (int layers, int rowBytes) = options.Engine.PageForm;
        var description = new Wire.Description
        {
            Role = _worker.Name, Fingerprint = model.Fingerprint, MaxPositions = model.MaxPositions, Layers = layers, RowBytes = rowBytes, MostRequests = _worker.MostRequests,
            Statistics = WireForm.Of(options.Engine.Statistics),
        };
        description.EndTokens.AddRange(model.EndTokens);
        return Task.FromResult(description);
    }

    public override async Task ReadTokenizer(Wire.ReadTokenizerRequest request, IServerStreamWriter<Wire.Part> responseStream, ServerCallContext context)
    {
        var json = new ArrayBufferWriter<byte>();
        options.Engine.Model.Tokenizer.Write(json);
        for (int at = 0; at < json.WrittenCount; at += WireForm.PartBytes)
            await responseStream.WriteAsync(new Wire.Part { Bytes = Part(json.WrittenMemory, at) }, context.CancellationToken);
    }

    public override async Task Prefill(Wire.Work request, IServerStreamWriter<Wire.PrefillReply> responseStream, ServerCallContext context)
    {
        try
        {
            Require(WorkerRole.Prefill);
            PrefillResult result = await _worker.PrefillAsync(WireForm.Of(request), context.CancellationToken);
            await responseStream.WriteAsync(new Wire.PrefillReply { CachedTokens = result.CachedTokens }, context.CancellationToken);
            for (int at = 0; at < result.Pages.Length; at += WireForm.PartBytes)
                await responseStream.WriteAsync(new Wire.PrefillReply { Part = Part(result.Pages, at) }, context.CancellationToken);
        }
        catch (Exception exception) when (CallErrors.StatusOf(exception) is Status status)
        {
            throw new RpcException(status);
        }
    }

    public override async Task Decode(IAsyncStreamReader<Wire.DecodeInput> requestStream, IServerStreamWriter<Wire.Event> responseStream, ServerCallContext context)
    {
        try
        {
            Require(WorkerRole.Decode);
            if (!await requestStream.MoveNext(context.CancellationToken) || requestStream.Current.Work is not { } message)
                throw new ArgumentException("The request did not come first. Run the same release on all workers.");
            WorkerRequest work = WireForm.Of(message);
            byte[]? pages = await ReadPages(requestStream, work, context.CancellationToken);
            await foreach (GenerationEvent happened in _worker.DecodeAsync(work, pages, context.CancellationToken)) await responseStream.WriteAsync(WireForm.Of(happened), context.CancellationToken);
        }
        catch (Exception exception) when (CallErrors.StatusOf(exception) is Status status)
        {
            throw new RpcException(status);
        }
    }

    /// <summary>Collects the parts, no more of them than the request can need.</summary>
    async Task<byte[]?> ReadPages(IAsyncStreamReader<Wire.DecodeInput> parts, WorkerRequest work, CancellationToken cancellationToken)
    {
        (int layers, int rowBytes) = options.Engine.PageForm;
        long most = PageTransfer.MostBytes(Math.Min(work.Tokens, options.Engine.Model.MaxPositions), layers, rowBytes);
        MemoryStream? pages = null;
        while (await parts.MoveNext(cancellationToken))
        {
            pages ??= new MemoryStream();
            ByteString part = parts.Current.Part;
            if (pages.Length + part.Length > most) throw new ArgumentException($"More than {most} bytes of pages arrived; a request of {work.Tokens} tokens has no more.");
            pages.Write(part.Span);
        }

        return pages?.ToArray();
    }

    void Require(WorkerRole role)
    {
        if (options.Role != role) throw new ArgumentException($"This is a {_worker.Name} worker, asked for {(role == WorkerRole.Prefill ? "prefill" : "decode")}. Start one with --role {(role == WorkerRole.Prefill ? "prefill" : "decode")}.");
    }

    static ByteString Part(ReadOnlyMemory<byte> all, int at) => UnsafeByteOperations.UnsafeWrap(all.Slice(at, Math.Min(WireForm.PartBytes, all.Length - at)));
}
