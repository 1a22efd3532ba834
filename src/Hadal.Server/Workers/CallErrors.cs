using Grpc.Core;
using Hadal.Inference.Serving;
using Hadal.Inference.Serving.Workers;

namespace Hadal.Server.Workers;

/// <summary>Errors of workers as statuses of a call, and back.</summary>
static class CallErrors
{
    /// <summary>The status that tells a router of the error; null for errors that nobody expects.</summary>
    public static Status? StatusOf(Exception exception) => exception switch
    {
        RpcException => null,
        PagesDamagedException => new Status(StatusCode.DataLoss, exception.Message),
        WorkerFailedException => new Status(StatusCode.Unavailable, exception.Message),
        EngineBusyException => new Status(StatusCode.ResourceExhausted, exception.Message),
        RequestRefusedException => new Status(StatusCode.InvalidArgument, exception.Message),
        ArgumentException => new Status(StatusCode.OutOfRange, exception.Message), // not the caller's fault; the library itself never answers this one
        InvalidDataException => new Status(StatusCode.FailedPrecondition, exception.Message),
        OperationCanceledException => new Status(StatusCode.Cancelled, "The request was given up."),
        _ => null,
    };

    /// <summary>The error that a worker had.</summary>
    /// <param name="failed">What the call ended with.</param>
    /// <param name="worker">Address of the worker.</param>
    /// <param name="cancellationToken">Whether the caller gave it up.</param>
    public static Exception Of(RpcException failed, string worker, CancellationToken cancellationToken)
    {
        if (cancellationToken.IsCancellationRequested) return new OperationCanceledException("The request was given up.", failed, cancellationToken);
        string detail = failed.Status.Detail;
        return failed.StatusCode switch
        {
            StatusCode.DataLoss => new PagesDamagedException(detail, failed),
            StatusCode.ResourceExhausted => new EngineBusyException(1, TimeSpan.FromSeconds(1)),
            StatusCode.InvalidArgument => new RequestRefusedException(detail, failed),
            StatusCode.OutOfRange => new ArgumentException(detail, failed),
            StatusCode.FailedPrecondition => new InvalidDataException(detail, failed),
            StatusCode.Unauthenticated => new WorkerFailedException(worker, $"it refused the key; expected the same {WorkerOptions.KeyVariable} for the router and all workers.", failed),
            _ => new WorkerFailedException(worker, detail, failed),
        };
    }
}
